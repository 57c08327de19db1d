"""Chunks that are not there: faults of a download, or values equal to the fill value, which zarr does not write."""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import zarr

from spacecast.core.errors import UserError
from spacecast.storage.encoding import Encoding

logger = logging.getLogger(__name__)
BLOSC_HEADER = 16  # bytes; the last four hold the size of the whole buffer


def stored_chunks(array: zarr.Array) -> tuple[int, ...]:
    """Shape of what one file holds: a shard where there are shards, else a chunk."""
    return tuple(getattr(array, "shards", None) or array.chunks)


def missing_chunks(array: zarr.Array, folder: Path, label: str) -> np.ndarray:
    """True for each chunk whose file is absent or empty, which zarr silently reads as the fill value.

    Args:
        array: an array of a local store.
        folder: the folder of the array.
        label: what it belongs to, for the error.

    Returns:
        One flag per chunk, as many axes as the array has.

    Raises:
        UserError: when a file is cut off, which Blosc does not notice: it reads on beyond the end.

    """
    chunks = stored_chunks(array)
    counts = [math.ceil(size / chunk) for size, chunk in zip(array.shape, chunks, strict=True)]
    missing, blosc = np.zeros(counts, dtype=bool), _is_blosc(array)
    for place in itertools.product(*map(range, counts)):
        file = folder / array.metadata.encode_chunk_key(place)
        try:
            size = file.stat().st_size
        except OSError:
            size = 0
        missing[place] = not size
        if size and blosc and (whole := _blosc_size(file)) != size:
            raise UserError(f"{label}: {file} is damaged: it has {size} bytes, not {whole}; download or write it again")
    return missing


def _is_blosc(array: zarr.Array) -> bool:
    """True when every file is one Blosc buffer."""
    if array.metadata.zarr_format == 2:
        return getattr(array.metadata.compressor, "codec_id", "") == "blosc"
    return bool(array.metadata.codecs) and type(array.metadata.codecs[-1]).__name__ == "BloscCodec"


def _blosc_size(file: Path) -> int:
    """Bytes that a Blosc buffer says it has."""
    with file.open("rb") as handle:
        return int.from_bytes(handle.read(BLOSC_HEADER)[12:], "little")


def per_frame(missing: np.ndarray, array: zarr.Array, axes: Sequence[str]) -> np.ndarray:
    """Flags of chunks as (place, frame), one row for each place in the other axes; without time one frame.

    Args:
        missing: flags of the chunks of an array, or of some of them.
        array: the array.
        axes: names of its axes.

    """
    if "time" not in axes:
        return missing.reshape(-1, 1)
    time = axes.index("time")
    frames = array.shape[time]
    flags = np.repeat(np.moveaxis(missing, time, 0), stored_chunks(array)[time], axis=0)
    return flags[:frames].reshape(frames, -1).T


def fill_of(array: zarr.Array, encoding: Encoding) -> float | None:
    """What absent chunks read as; None where that means missing: no fill value, NaN or a mark of missing values."""
    fill = array.metadata.fill_value
    if fill is None or (encoding.stored.kind in "iuf" and encoding.absent(np.full(1, fill, dtype=array.dtype))[0]):
        return None
    return float(fill)


def check_absent(
    absent: Mapping[str, np.ndarray], fill: float | Mapping[str, float] | None, label: str, *, earth: bool = False
) -> np.ndarray:
    """Judge absent chunks of the variables of a store.

    Where the fill value is a value, mostly 0, zarr does not write chunks that equal it: a variable may well be 0 in the
    first frames. Other absent chunks are odd and named in a warning. Where all of at least two variables have none,
    they were lost, for no plasma is all 0.

    Args:
        absent: flags (place, frame) by name of all variables; without time one frame.
        fill: what absent chunks read as, of each variable where they differ; None for missing values.
        label: what the variables belong to, for the warning.
        earth: places without any chunk at any time may lie inside Earth.

    Returns:
        Frames with chunks that are missing, a fault.

    """
    if fill is None:
        return np.any([places.any(axis=0) for places in absent.values()], axis=0)
    gone = np.full(next(iter(absent.values())).shape[1], len(absent) > 1)
    for places in absent.values():
        inside = places.all(axis=1, keepdims=True) & earth
        gone &= (places & ~inside).any(axis=0) | places.all(axis=0)
    for name, places in absent.items():
        first = np.logical_and.accumulate(places, axis=1) & ~places.all(axis=1, keepdims=True)
        odd = (places & ~first).any(axis=0)
        if odd.any() and not gone.any():
            logger.warning(
                "%s: chunks of %s are not stored in %d of %d frames, first in frame %d, and read as the fill value %g; "
                "unless it is that there, download or write the data again",
                *(label, name, odd.sum(), odd.size, np.argmax(odd), fill[name] if isinstance(fill, Mapping) else fill),
            )
    return gone
