"""What an opened `xarray.Dataset` says of its numbers, beyond what xarray has applied."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.grid import DIRECTIONS
from spacecast.core.text import first_line
from spacecast.storage.arrays import axis_names, open_group
from spacecast.storage.encoding import valid_range

UNDECODED = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
VALID = ("valid_min", "valid_max", "valid_range")
ADVICE = "download or write it again"


def stored_in(data: xr.Dataset, names: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The folder of a zarr store that a dataset was opened from, and which variables are still those of the store."""
    path = Path(str(data.encoding.get("source", "")))
    if "source" not in data.encoding or not path.is_dir():
        return None, []
    group = open_group(path, str(path), ADVICE)
    arrays = {name: group[name] for name in names if name in group}
    sizes = {name: dict(zip(axis_names(array), array.shape, strict=False)) for name, array in arrays.items()}
    kept = [name for name, size in sizes.items() if {**size, "time": 0} == {**data[name].sizes, "time": 0}]
    return path, kept


def of_numbers(variable: xr.Variable, label: str) -> xr.Variable:
    """A variable of real numbers, decoded."""
    if variable.dtype.kind not in "biuf":
        raise UserError(f"{label} holds {variable.dtype}, expected real numbers; convert it")
    if undecoded := [name for name in UNDECODED if name in variable.attrs]:
        way = "open it without mask_and_scale=False, or apply xarray.decode_cf"
        raise UserError(f"{label} holds numbers as they are stored, not yet decoded by its {undecoded[0]}; {way}")
    if variable.encoding.get("scale_factor") == 0:
        raise UserError(f"{label} was stored with scale_factor 0, which leaves no values; correct the attribute")
    return variable


def limits_of(variable: xr.Variable, label: str) -> tuple[float, float]:
    """The range of values that count, which xarray does not apply."""
    if not any(name in variable.attrs for name in VALID):
        return -math.inf, math.inf
    if {"scale_factor", "add_offset"} & variable.encoding.keys():
        raise UserError(f"{label} was stored packed and has a valid range, which xarray leaves alone; give its path")
    valid, _ = valid_range(variable.attrs, variable.dtype, packed=False, label=label)
    return valid


def within_limits(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Values, NaN where they lie outside of a range."""
    if not np.isfinite(limits).any():
        return values
    return np.where((values < limits[0]) | (values > limits[1]), np.nan, values)


def marks_of(variable: xr.Variable, limits: tuple[float, float]) -> str:
    """What counts as missing, in words, "" where only NaN does."""
    fill, told = variable.encoding.get("_FillValue"), []
    if fill is not None and np.isfinite(fill):
        told.append(f"xarray takes stored values of {fill:g} (fill value) for missing")
        if fill in (0, 1):
            told[0] += ", give the path of the data instead if they are not"
    if np.isfinite(limits).any():
        told.append(f"values outside the valid range {limits[0]:g} to {limits[1]:g} count as missing")
    return " and ".join(told)


def check_places(data: xr.Dataset, label: str) -> None:
    """Refuse times and coordinates of which xarray has taken some for missing that are 0, as in zarr format 2."""
    for name in ("time", *DIRECTIONS):
        if name in data.variables and data[name].encoding.get("_FillValue") in (0, 1) and data[name].isnull().any():
            fill = data[name].encoding["_FillValue"]
            why = f"xarray takes {fill:g} in {name} (its fill value) for missing"
            raise UserError(f"{label}: {why}; give the path of the data instead of the Dataset")


def filled_mask(mask: xr.DataArray) -> xr.DataArray:
    """A mask of which xarray has taken the zeros for missing, as it does where the fill value is 0."""
    return mask.fillna(0) if mask.encoding.get("_FillValue") == 0 else mask


def loaded(variable: xr.Variable, label: str) -> xr.Variable:
    """A variable in memory.

    Raises:
        UserError: it cannot be read.

    """
    try:
        return variable.load()
    except MemoryError:
        raise
    except Exception as error:  # (codecs raise anything)
        raise UserError(f"{label} cannot be read ({first_line(error)}); {ADVICE}") from error
