"""A zarr store of forecasts as one NetCDF file, copied chunk by chunk."""

import itertools
import math
from pathlib import Path

import numpy as np
import zarr


def write_netcdf(store: Path, path: Path) -> None:
    """Copy a store of `forecast.layout` into a NetCDF file (HDF5); memory is that of one chunk.

    Args:
        store: complete, with its attributes.
        path: of the file, replaced where there is one.

    """
    import h5netcdf

    group = zarr.open_group(store, mode="r")
    arrays = dict(sorted(group.arrays()))
    with h5netcdf.File(path, "w") as file:
        for array in arrays.values():
            for name, size in zip(array.metadata.dimension_names, array.shape, strict=True):
                if name not in file.dimensions:
                    file.dimensions[name] = size
        for name, array in arrays.items():
            field = "_FillValue" in array.attrs
            options = {"chunks": array.chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
            target = file.create_variable(
                name,
                array.metadata.dimension_names,
                array.dtype,
                **({"fillvalue": array.dtype.type(math.nan), **options} if field else {}),
            )
            for key, value in array.attrs.items():
                if key != "_FillValue":
                    target.attrs[key] = value
            for place in itertools.product(*map(_slices, array.shape, array.chunks)):
                target[place] = np.asarray(array[place])
        for key, value in group.attrs.items():
            file.attrs[key] = value


def _slices(size: int, chunk: int) -> list[slice]:
    """The chunks along one dimension."""
    return [slice(first, min(first + chunk, size)) for first in range(0, size, chunk)]
