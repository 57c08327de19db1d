"""Blocks of frames are what zarr reads, however an array is stored; plain ones are read without it."""

import contextlib

import numpy as np
import pytest
import zarr
from numcodecs import Blosc, Delta

from spacecast.storage.chunks import frame_blocks

FRAMES, OTHER = 7, (3, 5)
ZSTD = {2: Blosc(cname="zstd", clevel=3), 3: zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")}


def stored(root, axis, *, dtype="f4", time=1, other=OTHER, zarr_format=3, **how):
    """An array with frames along an axis, opened for reading, its folder and its numbers."""
    shape, chunks = list(OTHER), list(other)
    shape.insert(axis, FRAMES)
    chunks.insert(axis, time)
    values = (100 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    group = zarr.open_group(root, mode="w", zarr_format=zarr_format)
    how = {"compressors": ZSTD[zarr_format]} | how
    group.create_array("state", shape=tuple(shape), dtype=dtype, chunks=tuple(chunks), **how)[...] = values
    return zarr.open_group(root, mode="r")["state"], root / "state", values


def read(array, folder, axis, start=0, stop=FRAMES):
    """Blocks put together; each may lie in the memory of the one before."""
    return np.concatenate([block.copy() for block in frame_blocks(array, folder, axis, start, stop)], axis)


@pytest.fixture
def by_zarr(monkeypatch):
    """The number of times that zarr reads."""
    times, read = [], zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda *given: times.append(1) or read(*given))
    return times


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("time", [1, 3, FRAMES, 9])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u1", ">f4"])
def test_plain_chunks_are_read_without_zarr(tmp_path, by_zarr, zarr_format, axis, time, dtype):
    array, folder, values = stored(tmp_path, axis, dtype=dtype, time=time, zarr_format=zarr_format)
    for start, stop in ((0, FRAMES), (2, 3), (2, 6), (FRAMES - 1, FRAMES)):
        found = read(array, folder, axis, start, stop)
        assert np.array_equal(found, values.take(range(start, stop), axis))
    assert not by_zarr


@pytest.mark.parametrize(
    "how",
    [
        {"compressors": None},
        {"compressors": zarr.codecs.ZstdCodec()},
        {"compressors": (ZSTD[3], zarr.codecs.GzipCodec())},
        {"filters": zarr.codecs.TransposeCodec(order=(1, 0, 2))},
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
        {"other": (2, 5)},
        {"other": (3, 2)},
        {"time": 2, "shards": (4, 3, 5)},
        {"zarr_format": 2, "compressors": None},
        {"zarr_format": 2, "order": "F"},
        {"zarr_format": 2, "filters": [Delta("f4")]},
    ],
    ids=str,
)
def test_all_else_is_left_to_zarr(tmp_path, by_zarr, how):
    array, folder, values = stored(tmp_path, 0, **how)
    assert np.array_equal(read(array, folder, 0, 1, 6), array[1:6])
    assert len(by_zarr) == 2
    assert "filters" in how or np.array_equal(array[...], values)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_absent_chunk_reads_as_the_fill_value(tmp_path, zarr_format):
    array, folder, values = stored(tmp_path, 0, zarr_format=zarr_format, fill_value=-9.0)
    (folder / array.metadata.encode_chunk_key((4, 0, 0))).unlink()
    values[4] = -9
    assert np.array_equal(read(array, folder, 0), values)


def chunk_file(array, folder):
    """The file of a chunk."""
    return folder / array.metadata.encode_chunk_key((2, 0, 0))


@pytest.mark.parametrize("keep", [3, 12, 40, -1])
def test_a_chunk_that_is_cut_is_left_to_zarr(tmp_path, by_zarr, keep):
    array, folder, _ = stored(tmp_path, 0)
    file = chunk_file(array, folder)
    file.write_bytes(file.read_bytes()[:keep])
    with contextlib.suppress(Exception):  # (zarr reads on beyond the end of some)
        read(array, folder, 0)
    assert by_zarr


def test_a_chunk_of_another_size_is_left_to_zarr(tmp_path, by_zarr):
    array, folder, _ = stored(tmp_path, 0)
    chunk_file(array, folder).write_bytes(ZSTD[2].encode(np.zeros(4, dtype="f4")))
    with pytest.raises(ValueError, match=r"\w"):
        read(array, folder, 0)
    assert by_zarr


def test_what_blosc_cannot_know_to_be_damaged_reads_as_zarr_reads_it(tmp_path):
    """It keeps a small chunk of noise as it is."""
    array, folder, values = stored(tmp_path, 0)
    file = chunk_file(array, folder)
    content = bytearray(file.read_bytes())
    content[-4:] = b"\0\0\x80\x3f"
    file.write_bytes(bytes(content))
    found = read(array, folder, 0)
    assert np.array_equal(found, array[...])
    assert not np.array_equal(found, values)
