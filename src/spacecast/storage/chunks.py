"""Chunks of plain local arrays, decoded by their codec at once: the way through zarr takes several times as long."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import blosc

from spacecast.storage.absences import BLOSC_HEADER, stored_chunks


def frame_blocks(array: zarr.Array, folder: Path, axis: int, start: int, stop: int) -> Iterator[np.ndarray]:
    """Stored numbers of [start, stop) along an axis, as blocks that follow one another along it.

    Plain chunks are decoded straight from their files; all else is left to zarr: other codecs and stores, chunks that
    are absent or are not what their array says. A block may lie in the memory of the one before.

    Args:
        array: an array of a local store.
        folder: the folder of the array.
        axis: along which frames are counted.
        start, stop: the frames.

    Raises:
        Exception: as zarr and its codecs raise it, where a chunk cannot be decoded.

    """
    chunks = _plain_chunks(array, folder, axis)
    if chunks is None:
        yield _of_zarr(array, axis, start, stop)
        return
    length, memory = chunks.shape[axis], np.empty(chunks.shape, dtype=chunks.dtype)
    stored = np.empty(memory.nbytes + BLOSC_HEADER + 1, dtype=np.uint8)  # no buffer of such a chunk fills it
    for first in range(start // length * length, stop, length):
        begin, end = max(start, first), min(stop, first + length)
        if chunks.decode(first // length, stored, memory):
            yield memory[(slice(None),) * axis + (slice(begin - first, end - first),)]
        else:
            yield _of_zarr(array, axis, begin, end)


def _of_zarr(array: zarr.Array, axis: int, start: int, stop: int) -> np.ndarray:
    """[start, stop) along an axis."""
    return np.asarray(array[(slice(None),) * axis + (slice(start, stop),)])


@dataclass(frozen=True)
class _Chunks:
    """Files with one Blosc buffer each, which follow one another along one axis.

    Attributes:
        array: to which they belong.
        folder: where they are.
        axis: along which they lie.
        shape: of each.
        dtype: of the stored numbers.

    """

    array: zarr.Array
    folder: Path
    axis: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def decode(self, number: int, stored: np.ndarray, memory: np.ndarray) -> bool:
        """Decode a chunk into an array of its shape; False where the file is not exactly one such chunk.

        `stored` is memory for the bytes of the file, one more than there may be.
        """
        place = tuple(number * (axis == self.axis) for axis in range(len(self.shape)))
        try:
            with (self.folder / self.array.metadata.encode_chunk_key(place)).open("rb") as file:
                buffer = stored[: file.readinto(stored)]
        except OSError:
            return False
        header = buffer[:BLOSC_HEADER].tobytes()
        sizes = int.from_bytes(header[4:8], "little"), int.from_bytes(header[12:], "little")
        if sizes != (memory.nbytes, buffer.nbytes):
            return False
        blosc.decompress(buffer, memory)
        return True


def _plain_chunks(array: zarr.Array, folder: Path, axis: int) -> _Chunks | None:
    """The chunks of an array of real numbers, where each holds all of the other axes and Blosc is their only codec."""
    shape, whole, dtype = stored_chunks(array), array.shape, array.dtype
    others = [size == chunk for size, chunk in zip(whole, shape, strict=True)]
    plain = isinstance(dtype, np.dtype) and dtype.kind in "iuf" and _only_blosc(array.metadata, dtype)
    if not plain or not all(others[:axis] + others[axis + 1 :]):
        return None
    return _Chunks(array, folder, axis, shape, dtype)


def _only_blosc(metadata: Any, dtype: np.dtype) -> bool:
    """Whether stored bytes are those of numbers of a type, one after the other, compressed by Blosc."""
    if metadata.zarr_format == 2:
        blosc_alone = getattr(metadata.compressor, "codec_id", "") == "blosc" and not metadata.filters
        return blosc_alone and metadata.order == "C"
    names = [type(codec).__name__ for codec in metadata.codecs]
    endian = getattr(getattr(metadata.codecs[0], "endian", None), "value", None)
    return names == ["BytesCodec", "BloscCodec"] and endian in (None, sys.byteorder) and dtype.isnative
