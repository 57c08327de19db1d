"""What a stored array says of its own numbers: scale, offset, missing values, valid range (CF conventions)."""

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from spacecast.core.errors import UserError

ATTRIBUTES = (
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "_Unsigned",
    "valid_min",
    "valid_max",
    "valid_range",
)
"""Attributes that say how numbers are stored, not what they mean."""


@dataclass(frozen=True)
class Encoding:
    """How the stored numbers of one array become values: `decode` does it.

    Attributes:
        dtype: of the values.
        stored: of the stored numbers, unlike that of the array where `_Unsigned` says so.
        scale, offset: value = number * scale + offset.
        missing: stored numbers that mark missing values, of type `stored`.
        valid: least and largest stored number that counts.
        valid_values: the same for values, for limits that are given in units of the values.
        plain: the stored numbers are the values; nothing is to be done.

    """

    dtype: np.dtype
    stored: np.dtype
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[Any, ...] = ()
    valid: tuple[float, float] = (-np.inf, np.inf)
    valid_values: tuple[float, float] = (-np.inf, np.inf)
    plain: bool = True

    @property
    def scaled(self) -> bool:
        """True when numbers are multiplied or shifted."""
        return (self.scale, self.offset) != (1.0, 0.0)

    def absent(self, numbers: np.ndarray) -> np.ndarray:
        """True where stored numbers mark missing values or lie outside the valid range, NaN included."""
        numbers = numbers.view(self.stored)
        bad = np.isnan(numbers) if self.stored.kind == "f" else np.zeros(numbers.shape, dtype=bool)
        for number in self.missing:
            bad |= numbers == number
        for (low, high), values in ((self.valid, numbers), (self.valid_values, self.unpack(numbers))):
            if np.isfinite(low) or np.isfinite(high):
                bad |= (values < low) | (values > high)
        return bad

    def unpack(self, numbers: np.ndarray) -> np.ndarray:
        """Stored numbers scaled and shifted, float64; without scale and offset as they are."""
        numbers = numbers.view(self.stored)
        return numbers.astype(np.float64) * self.scale + self.offset if self.scaled else numbers

    def decode(self, numbers: np.ndarray) -> np.ndarray:
        """The values of stored numbers; NaN where they are missing."""
        if self.plain:
            return numbers
        numbers = np.ascontiguousarray(numbers)
        values = self.unpack(numbers).astype(self.dtype)
        if self.dtype.kind == "f":
            values[self.absent(numbers)] = np.nan
        return values

    def describe(self) -> str:
        """What counts as missing, in words, "" where only NaN does."""
        told = [f"{number:g}" for number in dict.fromkeys(self.missing) if not np.isnan(number)]
        parts = [f"stored values of {' and '.join(told)} count as missing (fill value)"] if told else []
        for low, high in (self.valid, self.valid_values):
            if np.isfinite(low) or np.isfinite(high):
                parts.append(f"values outside the valid range {low:g} to {high:g} count as missing")
        return " and ".join(parts)


def encoding_of(array: zarr.Array, label: str) -> Encoding:
    """What an array says of its numbers.

    The fill value of a zarr array stands for what was never written. xarray keeps `_FillValue` there in format 2, so
    that a fill value may mark missing values as well. 0, which is zarr's default, and 1, which fills masks, are taken
    as values, any other one as a mark. In packed arrays of format 2 without a mark of their own 0 is a mark, too:
    whether it is one cannot be known there, and a hole must never be taken as a value.

    Args:
        array: an array of a local store.
        label: what it is, for the error.

    Raises:
        UserError: an attribute makes no sense, naming it.

    """
    dtype = np.dtype(array.dtype) if isinstance(array.dtype, np.dtype) else np.dtype(object)
    if dtype.kind not in "iuf":
        return Encoding(dtype, dtype)
    attrs = {name: array.attrs[name] for name in ATTRIBUTES if name in array.attrs}
    stored = _stored_type(attrs, dtype, label)
    scale, offset = (_number(attrs, name, default, label) for name, default in (("scale_factor", 1), ("add_offset", 0)))
    if scale == 0:
        raise UserError(f"{label} has scale_factor 0, which leaves no values; correct the attribute")
    packed = "scale_factor" in attrs or "add_offset" in attrs
    marks = [(name, mark) for name in ("_FillValue", "missing_value") for mark in np.ravel(attrs.get(name, ()))]
    fill = array.metadata.fill_value
    if fill is not None and (fill not in (0, 1) or (fill == 0 and packed and not marks and _format(array) == 2)):
        marks.append(("fill_value", fill))
    missing = tuple(m for name, mark in marks if (m := _mark(name, mark, dtype, stored, label)) is not None)
    valid, valid_values = valid_range(attrs, dtype, packed, label)
    told = (*valid, *valid_values)
    masked = any(not np.isnan(m) for m in missing) or np.isfinite(told).any()
    plain = not masked and stored == dtype and (scale, offset) == (1.0, 0.0)
    small = dtype.itemsize <= (4 if dtype.kind == "f" else 2)
    values = np.dtype(np.float32 if small and array.ndim > 1 else np.float64)
    if plain or (stored.kind == "f" and (scale, offset) == (1.0, 0.0)):
        values = stored
    return Encoding(values, stored, scale, offset, missing, valid, valid_values, plain)


def _format(array: zarr.Array) -> int:
    return int(array.metadata.zarr_format)


def _stored_type(attrs: Mapping[str, Any], dtype: np.dtype, label: str) -> np.dtype:
    """The type of the numbers; `_Unsigned` turns signed integers into unsigned ones and back."""
    if "_Unsigned" not in attrs or dtype.kind == "f":
        return dtype
    text = str(attrs["_Unsigned"]).lower()
    if text not in ("true", "false"):
        raise UserError(f"{label} has _Unsigned {attrs['_Unsigned']!r}, expected 'true' or 'false'")
    return np.dtype(f"{dtype.byteorder}{'u' if text == 'true' else 'i'}{dtype.itemsize}")


def _number(attrs: Mapping[str, Any], name: str, default: float, label: str) -> float:
    """A finite number that an attribute gives, as a number, as text or as a list of one."""
    found = np.ravel(attrs.get(name, default))
    value = _float(found[0]) if found.size == 1 else None
    if value is None or not np.isfinite(value):
        raise UserError(f"{label} has {name} {attrs[name]!r}, expected one finite number; correct the attribute")
    return value


def _float(value: Any) -> float | None:
    """A number or the number that a text spells, else None."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _mark(name: str, mark: Any, dtype: np.dtype, stored: np.dtype, label: str) -> Any:
    """A mark of missing values as a stored number; None for one that no stored number can equal (NaN of integers)."""
    if isinstance(mark, str) and _float(mark) is None and name == "_FillValue":
        mark = _unwrapped(mark, dtype)
    if isinstance(mark, str) or not np.isreal(mark):
        mark = _float(mark)
    if mark is None:
        raise UserError(f"{label} has a {name} that is no number; correct the attribute")
    if stored.kind == "f":
        with np.errstate(over="ignore"):
            number = stored.type(mark)
        fits = np.isnan(mark) or np.isinf(number) == np.isinf(mark)
    elif np.isnan(mark):
        return None
    else:
        whole = int(mark) if np.isfinite(mark) else 0
        limits = [np.iinfo(kind) for kind in (dtype, stored)]
        fits = whole == mark and any(limit.min <= whole <= limit.max for limit in limits)
        bits = np.array(whole % 2 ** (8 * stored.itemsize), dtype=f"u{stored.itemsize}")
        number = bits.view(stored.newbyteorder("="))[()]
    if not fits:
        raise UserError(
            f"{label} has {name} {mark:g}, which its type {dtype} cannot hold; correct the attribute or the type"
        )
    return number


def _unwrapped(text: str, dtype: np.dtype) -> float | str:
    """The number that xarray hides in base64 for floats of format 3, else the text."""
    try:
        raw = base64.standard_b64decode(text)
        return float(struct.unpack("<d", raw)[0]) if dtype.kind == "f" else text
    except (binascii.Error, struct.error, ValueError):
        return text


def valid_range(
    attrs: Mapping[str, Any], dtype: np.dtype, packed: bool, label: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Valid range of stored numbers, and of values: limits given as fractions for packed integers mean the values.

    Args:
        attrs: attributes of an array.
        dtype: of what is stored.
        packed: whether stored numbers are scaled or shifted.
        label: what it is, for the error.

    Raises:
        UserError: the range makes no sense, or may be meant in two ways.

    """
    given = [attrs.get("valid_min", -np.inf), attrs.get("valid_max", np.inf)]
    if "valid_range" in attrs:
        given = list(np.ravel(np.asarray(attrs["valid_range"], dtype=object)))
    limits = [_float(limit) for limit in given]
    if len(limits) != 2 or any(limit is None or np.isnan(limit) for limit in limits):
        raise UserError(f"{label} has a valid range of {given}, expected two numbers; correct the attribute")
    low, high = (float(limit) for limit in limits if limit is not None)
    none = (-np.inf, np.inf)
    if not packed or (low, high) == none:
        return (low, high), none
    if dtype.kind == "f":
        raise UserError(
            f"{label} holds packed floats with a valid range, which may be meant before or after scaling; "
            "remove scale_factor or the range"
        )
    of_values = any(isinstance(limit, float) and np.isfinite(limit) for limit in given)
    return (none, (low, high)) if of_values else ((low, high), none)
