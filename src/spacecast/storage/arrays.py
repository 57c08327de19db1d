"""Opens zarr stores so that every number is what the data say it is, for whoever reads it."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numcodecs import registry
from xarray.backends import BackendArray
from xarray.core import indexing

from spacecast.core.errors import UserError
from spacecast.core.text import first_line
from spacecast.storage.absences import stored_chunks
from spacecast.storage.encoding import ATTRIBUTES, Encoding, encoding_of
from spacecast.storage.times import DEVIATION, decode_times

# A store names its codecs, and this one would run whatever the chunks say.
registry.codec_registry.pop("pickle", None)

FAILURES = (Exception,)
"""What codecs raise on damaged files: anything."""


def open_group(path: Path, label: str, advice: str) -> zarr.Group:
    """Open a zarr store of format 2 or 3 by the metadata of its arrays.

    Args:
        path: folder of the store.
        label: what it is, for the error.
        advice: what to do when it cannot be opened, for the error.

    Raises:
        UserError: when it is no zarr store, or its consolidated metadata contradict those of an array.

    """
    if path.is_file():
        raise UserError(f"{label}: {path} is {kind_of_file(path)}")
    if path.is_symlink() and not path.exists():
        raise UserError(f"{label}: {path} is a link to {path.readlink()}, which does not exist; correct the link")
    if not path.is_dir():
        raise UserError(f"{label}: {path} does not exist; {advice}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            group = zarr.open_group(path, mode="r", use_consolidated=False)
            _check_consolidated(path, group, label)
            return group
    except UserError:
        raise
    except FAILURES as error:
        raise UserError(f"{label}: {path} is no complete zarr store ({first_line(error)}); {advice}") from error


def kind_of_file(path: Path) -> str:
    """What a file is that lies where a folder is expected, and what to do with it."""
    if zipfile.is_zipfile(path):
        moved = f"{path.stem}.zip"
        return f"a zip file, not a folder; unpack it: mv {path.name} {moved} && unzip {moved} -d {path.name}"
    start = path.read_bytes()[:8] if path.stat().st_size else b""
    if start[:3] == b"CDF" or start[1:4] == b"HDF":
        return "a NetCDF or HDF5 file; convert it with xarray.open_dataset(...).to_zarr(...)"
    return "a file, not the folder of a zarr store; give a zarr store"


def _check_consolidated(path: Path, group: zarr.Group, label: str) -> None:
    """Readers differ in which metadata they take, so that a contradiction must be solved by who made it."""
    collected = zarr.open_group(path, mode="r").metadata.consolidated_metadata
    if collected is None:
        return
    own = dict(group.members())
    for name, metadata in collected.metadata.items():
        if "/" in name or not hasattr(metadata, "shape"):
            continue
        if name not in own:
            raise UserError(f"{label}: {path} lists an array {name!r} that is not there; download or write it again")
        if _plain(metadata) != _plain(own[name].metadata):
            raise UserError(
                f"{label}: the consolidated metadata of {path} contradict those of its array {name!r}; "
                "correct one, then run zarr.consolidate_metadata on it"
            )


def _plain(metadata: Any) -> str:
    """Metadata as text that can be compared (NaN does not equal itself)."""
    values = metadata.to_dict()
    values.pop("consolidated_metadata", None)
    return json.dumps(values, sort_keys=True, default=str)


def open_dataset(path: Path, label: str, advice: str) -> xr.Dataset:
    """Open a zarr store lazily and without dask, decoded as the data say of themselves.

    Scale, offset, missing values and valid ranges are applied when values are read (see `encoding_of`); `time` holds
    datetime64[ns]. Nothing else is decoded.

    Args:
        path: folder of the store.
        label: what it is, for the error.
        advice: what to do when it cannot be opened, for the error.

    Raises:
        UserError: when it cannot be opened, or what it says of a variable makes no sense.

    """
    group = open_group(path, label, advice)
    try:
        arrays = dict(group.arrays())
        variables = {name: _variable(array, f"{label}: {name}") for name, array in arrays.items()}
        if "time" in variables and variables["time"].dims == ("time",):
            variables["time"] = _time(arrays["time"], label)
        dataset = xr.Dataset(variables, attrs=dict(group.attrs))
        told = [dataset.attrs, *(variable.attrs for variable in variables.values())]
        named = {name for attrs in told for name in str(attrs.get("coordinates", "")).split()}
        return dataset.set_coords([name for name in named if name in dataset])
    except UserError:
        raise
    except FAILURES as error:
        raise UserError(f"{label}: {path} is no complete zarr store ({first_line(error)}); {advice}") from error


def axis_names(array: zarr.Array) -> tuple[str, ...]:
    """Names of the axes: `dimension_names` in format 3, the attribute `_ARRAY_DIMENSIONS` in format 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return tuple(str(name) for name in names) if names else ()


class _Decoded(BackendArray):
    """A zarr array whose values are decoded when they are read."""

    def __init__(self, array: zarr.Array, encoding: Encoding) -> None:
        self.array, self.encoding = array, encoding
        self.shape, self.dtype = array.shape, encoding.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return self.encoding.decode(np.asarray(self.array.oindex[key] if key else self.array[()]))


def _variable(array: zarr.Array, label: str) -> xr.Variable:
    """One array with its axes; text is read at once."""
    names = axis_names(array)
    if len(names) != array.ndim:
        raise UserError(
            f"{label} has {array.ndim} axes and {len(names)} names of axes; write it with xarray, or give "
            "dimension_names (zarr format 3) or _ARRAY_DIMENSIONS (format 2)"
        )
    attrs = {key: value for key, value in array.attrs.items() if key not in (*ATTRIBUTES, "_ARRAY_DIMENSIONS")}
    encoding = encoding_of(array, label)
    if encoding.dtype.kind not in "biufcmM":
        text = [v.decode() if isinstance(v, bytes) else str(v) for v in np.ravel(array[...])]
        return xr.Variable(names, np.array(text, dtype=object).reshape(array.shape), attrs)
    chunks = {"preferred_chunks": dict(zip(names, stored_chunks(array), strict=True))}
    return xr.Variable(names, indexing.LazilyIndexedArray(_Decoded(array, encoding)), attrs, chunks)


def _time(array: zarr.Array, label: str) -> xr.Variable:
    """The time axis as dates."""
    encoding = encoding_of(array, f"{label}: time")
    numbers = np.ascontiguousarray(array[...]) if encoding.stored.kind in "iufM" else np.asarray(array[...])
    missing = encoding.absent(numbers) if encoding.stored.kind in "iuf" else np.zeros(numbers.shape, bool)
    if encoding.stored.kind in "iuf":
        numbers = encoding.unpack(numbers)
    dates, deviation = decode_times(numbers, missing, dict(array.attrs), label)
    return xr.Variable(("time",), dates, encoding={DEVIATION: deviation})
