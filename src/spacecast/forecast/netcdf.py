"""A zarr store of forecasts as one NetCDF file, copied chunk by chunk.

HDF5 ends the process that it cannot write a file for, and loses data without an error where it writes late. So the file
is written by a process of its own, this module, and counts only where nothing at all went wrong in it.
"""

import errno
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import zarr

BROKEN = "HDF5 could not write all of it, perhaps for want of space"


def write_netcdf(store: Path, path: Path) -> None:
    """Copy a store of `forecast.layout` into a NetCDF file (HDF5); memory is that of one chunk.

    Args:
        store: complete, with its attributes.
        path: of the file, replaced where there is one.

    Raises:
        OSError: it cannot be written, with the reason.

    """
    words = [sys.executable, "-m", "spacecast.forecast.netcdf", str(store), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise OSError(errno.EIO, lines[-1] if ended.returncode == 1 and lines else BROKEN)


def copy(store: Path, path: Path) -> None:
    """Do it in this process."""
    import h5netcdf

    group = zarr.open_group(store, mode="r")
    arrays = dict(sorted(group.arrays()))
    with h5netcdf.File(path, "w", rdcc_nbytes=0) as file:  # chunks are written at once
        for array in arrays.values():
            for name, size in zip(array.metadata.dimension_names, array.shape, strict=True):
                if name not in file.dimensions:
                    file.dimensions[name] = size
        for name, array in arrays.items():
            options = {"chunks": array.chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
            field = {"fillvalue": array.dtype.type(math.nan), **options} if "_FillValue" in array.attrs else {}
            target = file.create_variable(name, array.metadata.dimension_names, array.dtype, **field)
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


def main() -> None:
    """Copy the store of the first argument to the second, or end with the reason."""
    unheard: list[object] = []
    sys.unraisablehook = unheard.append
    reason = ""
    try:
        copy(*map(Path, sys.argv[1:]))
    except (OSError, RuntimeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    if reason or unheard:
        sys.stderr.write(f"{reason or BROKEN}\n")
        sys.stderr.flush()
        os._exit(1)  # what HDF5 does at the end would end in a fault


if __name__ == "__main__":
    main()
