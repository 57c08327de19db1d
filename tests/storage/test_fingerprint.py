"""The hash of a store sees every edit, whatever the compressor, and no place or time of a copy."""

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from data_fixtures import FRAMES

from spacecast.data.datastore import RunDatastore
from spacecast.data.prepare import prepare
from spacecast.storage import fingerprint
from spacecast.storage.fingerprint import content_hash, same_kind

CODECS = {
    "zstd": (3, {}),
    "uncompressed": (3, {"compressors": None}),
    "shuffled": (3, {"compressors": [zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle")]}),
    "format 2": (2, {"compressors": None}),
}


def copy_of(source: Path, target: Path, codec: str) -> Path:
    """The prepared run with other compressors, one frame per chunk."""
    zarr_format, encoding = CODECS[codec]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = xr.open_zarr(source, chunks=None).load().drop_encoding()
        chunks = tuple(1 if axis == "time" else size for axis, size in data["state"].sizes.items())
        data.to_zarr(target, zarr_format=zarr_format, encoding={"state": {"chunks": chunks, **encoding}})
    return target


def scaled(factor: float):
    """A change of one variable in inner frames, where neither the first nor the last frame shows it."""

    def change(store: Path) -> None:
        state = zarr.open_group(store, mode="r+")["state"]
        values = state[..., 9]
        values[1 : FRAMES // 2 - 1] *= factor
        state[..., 9] = values

    return change


def chunks_of(store: Path) -> list[Path]:
    """Files of the frames in time order."""
    files = [path for path in (store / "state").rglob("*") if path.is_file() and path.suffix != ".json"]
    files = [path for path in files if not path.name.startswith(".")]
    return sorted(files, key=lambda path: [int(number) for number in re.findall(r"\d+", str(path.relative_to(store)))])


def swapped(store: Path) -> None:
    first, second = chunks_of(store)[3], chunks_of(store)[7]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def one_byte(store: Path) -> None:
    chunk = chunks_of(store)[4]
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)


def attribute(**values):
    return lambda store: zarr.open_group(store, mode="r+")["state"].attrs.update(values)


def array(name: str, change):
    def edit(store: Path) -> None:
        target = zarr.open_group(store, mode="r+")[name]
        target[...] = change(target[...])

    return edit


EDITS = {
    "times two": scaled(2.0),
    "times 1.37": scaled(1.37),
    "sign": scaled(-1.0),
    "two chunks swapped": swapped,
    "one byte": one_byte,
    "scale factor": attribute(scale_factor=2.0),
    "offset": attribute(add_offset=1.0),
    "unit of the times": lambda store: zarr.open_group(store, mode="r+")["time"].attrs.update(units="x"),
    "times": array("time", lambda values: values * 2),
    "a coordinate": array("x", lambda values: -values),
    "a static feature": array("static", lambda values: values + 1),
    "the mask": array("mask", lambda values: 1 - values),
    "units of variables": array("state_feature_units", lambda values: values[::-1]),
    "order of variables": array("state_feature", lambda values: values[::-1]),
    "bounds of the splits": array("splits", lambda values: values[::-1]),
    "a chunk taken away": lambda store: chunks_of(store)[5].unlink(),
}


@pytest.mark.parametrize("codec", CODECS)
def test_every_edit_is_seen_and_none_is_taken_for_another(prepared_root, tmp_path, codec):
    sound = copy_of(prepared_root / "vlasiator_run_1.zarr", tmp_path / "sound.zarr", codec)
    hashes = {"sound": content_hash(sound)}
    for name, edit in EDITS.items():
        store = Path(shutil.copytree(sound, tmp_path / "edited.zarr"))
        assert content_hash(store) == hashes["sound"]
        edit(store)
        hashes[name] = content_hash(store)
        shutil.rmtree(store)
    assert len(set(hashes.values())) == len(hashes), hashes


def test_a_copy_and_a_second_preparation_have_the_same_hash(raw_root, tmp_path):
    store = raw_root / "vlasiator_run_1.zarr"
    before = content_hash(store)
    assert content_hash(Path(shutil.copytree(store, tmp_path / "other" / "name.zarr"))) == before
    (store / ".DS_Store").write_bytes(b"of a file manager")
    assert content_hash(store) == before
    prepare(raw_root, [1], overwrite=True)
    assert content_hash(store) == before


@pytest.fixture
def readings(monkeypatch):
    """Stores whose bytes were read, one entry each time; files count as settled at once."""
    seen, read = [], fingerprint._hash
    monkeypatch.setattr(fingerprint, "_hash", lambda store, files: (seen.append(store.name), read(store, files))[1])
    monkeypatch.setattr(fingerprint, "SETTLED", -10.0)
    return seen


def test_bytes_are_read_once_until_a_file_changes(root, readings):
    store = root / "vlasiator_run_1.zarr"
    first = content_hash(store)
    assert content_hash(store) == first
    assert readings == [store.name]
    one_byte(store)
    assert content_hash(store) != first
    one_byte(store)
    assert content_hash(store) == first
    assert len(readings) == 3


def test_an_edit_with_the_old_size_and_time_of_the_file_is_seen(root, readings):
    store = root / "vlasiator_run_1.zarr"
    first, chunk = content_hash(store), chunks_of(store)[4]
    status = chunk.stat()
    one_byte(store)
    os.utime(chunk, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (chunk.stat().st_size, chunk.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert content_hash(store) != first


def test_a_hash_of_files_that_were_just_written_is_not_remembered(root, readings, monkeypatch):
    """A second write within the resolution of file times would go unseen."""
    monkeypatch.setattr(fingerprint, "SETTLED", 1e9)
    content_hash(root / "vlasiator_run_1.zarr")
    assert not list((root / fingerprint.CACHE).glob("vlasiator*"))


def test_what_is_remembered_may_be_damaged_or_in_a_folder_without_write_permission(root, readings):
    store = root / "vlasiator_run_1.zarr"
    first = content_hash(store)
    (memory,) = (root / fingerprint.CACHE).glob("vlasiator_run_1.zarr*")
    for text in ("", "[]", "{}", json.dumps({"signature": "x", "hash": "y"})):
        memory.write_text(text)
        assert content_hash(store) == first
    shutil.rmtree(root / fingerprint.CACHE)
    root.chmod(0o555)
    try:
        assert content_hash(store) == first
        assert not (root / fingerprint.CACHE).exists()
    finally:
        root.chmod(0o755)


def test_statistics_follow_an_edit(root, tmp_path):
    """Cached statistics of an uncompressed store, one variable times two."""
    folder = tmp_path / "plain"
    folder.mkdir()
    store = copy_of(root / "vlasiator_run_1.zarr", folder / "vlasiator_run_1.zarr", "uncompressed")
    before = RunDatastore(folder, [1])
    scaled(2.0)(store)
    after = RunDatastore(folder, [1])
    truth = after.read_state(1, "train", 0, after.num_frames(1, "train")).astype(np.float64)
    np.testing.assert_allclose(after.spec.state.std, truth.reshape(-1, 12).std(axis=0), rtol=1e-5)
    assert abs(after.spec.state.std[9] / before.spec.state.std[9] - 1) > 0.1
    assert same_kind(after.spec.data_hash, before.spec.data_hash)
    assert after.spec.data_hash != before.spec.data_hash


def test_hashes_of_different_kinds_cannot_be_compared():
    assert same_kind("v2:a", "v2:b")
    assert same_kind("a", "b")
    assert not same_kind("0123456789abcdef", "v2:0123456789abcdef")
    assert not same_kind("", "v2:a")
    assert not same_kind("", "")
