"""However frames are kept, what is read is the same, to the bit; half precision within its bound."""

import errno
import hashlib
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import zarr
from data_fixtures import FRAMES
from test_store import truth

from spacecast.core.errors import UserError
from spacecast.data.cache import FrameCache
from spacecast.data.datamodule import WindowDataModule
from spacecast.data.datastore import RunDatastore
from spacecast.data.packed import PackedFrames, pack_half, unpack_half
from spacecast.data.store import RunStore

CACHES = ("none", "memory", "packed", "auto")


def files(root):
    return sorted((root / ".spacecast" / "packed").glob("*.npy"))


@pytest.fixture
def store(root):
    return RunStore(root / "vlasiator_run_1.zarr", "1")


def batches(datastore, *, epochs=(0, 1), consumed=0, **options):
    """All training and validation batches of some epochs, the first of them from a batch on."""
    module = WindowDataModule(datastore, 2, seed=3, rollout_steps=2, val_steps=2, **options)
    found = []
    for epoch in epochs:
        module.load_state_dict({"epoch": epoch, "consumed": 2 * consumed if epoch == epochs[0] else 0, "per_batch": 2})
        type(module)._epoch = property(lambda _, epoch=epoch: epoch)
        found += [*module.train_dataloader(), *module.val_dataloader()]
    return found


def same(one, two):
    return all(map(torch.equal, one, two))


@pytest.fixture
def at_epoch(monkeypatch):
    monkeypatch.setattr(WindowDataModule, "_epoch", WindowDataModule._epoch)  # put back after the test


@pytest.mark.parametrize("workers", [0, 2])
def test_all_caches_give_the_same_bits_in_the_same_order(root, at_epoch, workers):
    """Also after a resume within an epoch, and where memory is too small for a run."""
    epochs = (0, 1) if workers == 0 else (1,)
    plain = batches(RunDatastore(root, [1, 2], statistics="stored"), cache="none", epochs=epochs)
    assert len(plain) == len(epochs) * (18 + 2)
    for cache, memory in (("memory", 4.0), ("memory", 1.2e-4), ("packed", 0.0), ("auto", 4.0)):
        data = RunDatastore(root, [1, 2], statistics="stored", cache_gb=memory)
        found = batches(data, cache=cache, workers=workers, epochs=epochs, consumed=5)
        assert len(found) == len(plain) - 5
        assert all(map(same, found, plain[5:]))


def test_a_batch_of_one_window_is_as_any_other(root):
    single = next(iter(WindowDataModule(RunDatastore(root, [1]), 1, seed=3).train_dataloader()))
    double = next(iter(WindowDataModule(RunDatastore(root, [1]), 2, seed=3).train_dataloader()))
    assert same(single, [each[:1] for each in double])


class Counting(RunStore):
    """Writes each frame that is decoded, in whatever process, to a file."""

    def read(self, category, start, stop, *, check=True):
        with (self.path.parent / "decoded").open("a") as file:
            file.write("".join(f"{number} " for number in range(start, stop)))
        return super().read(category, start, stop, check=check)


def test_each_frame_is_decoded_once_by_all_processes_and_epochs_together(root, at_epoch):
    data = RunDatastore(root, [1], statistics="stored")
    data._stores["1"] = Counting(root / "vlasiator_run_1.zarr", "1")
    (root / "decoded").unlink(missing_ok=True)
    batches(data, cache="memory", workers=1)
    decoded = (root / "decoded").read_text().split()
    assert len(decoded) == len(set(decoded)) > 20


def test_what_is_read_may_be_changed(root):
    for cache in CACHES:
        data = RunDatastore(root, [1]).keeping(cache)
        data.read_state("1", "train", 0, 3)[:] = 0
        np.testing.assert_array_equal(data.read_state("1", "train", 0, 3), truth(1)[:3])


def test_memory_is_bounded_by_what_is_free(monkeypatch):
    monkeypatch.setattr("spacecast.data.cache.free_memory", lambda: 1000)
    assert FrameCache(1.0).budget == 500
    assert FrameCache(1e-7).budget == 100


def test_the_log_says_what_is_taken(root, caplog):
    caplog.set_level(logging.INFO)
    for cache, memory, words in (
        ("auto", 4.0, "data.cache=memory: 0.00"),
        ("auto", 2e-4, "data.cache=memory: 0.0002 GB of the 0.00"),
        ("packed", 2e-4, "writing 0.00"),
        ("auto", 2e-4, "mapped from"),
        ("auto", 4.0, "mapped from"),
        ("memory", 4.0, "data.cache=memory: 0.00"),
    ):
        caplog.clear()
        before = files(root)
        RunDatastore(root, [1, 2], cache_gb=memory).keeping(cache)
        assert words in caplog.text
        assert (files(root) == before) == (cache != "packed")


def test_packed_frames_are_written_once_and_those_of_other_data_go(root, store, caplog):
    caplog.set_level(logging.INFO)
    packed = PackedFrames(root)
    packed.write([store])
    [first] = files(root)
    assert 0 < first.stat().st_size - store.num_bytes("state") < 200  # the header
    before = first.stat()
    PackedFrames(root).write([store])
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    array = zarr.open_group(store.path, mode="r+")["state"]
    array[7, :, 2] = array[7, :, 2][::-1] * 1.37
    changed = RunStore(store.path, "1")
    caplog.clear()
    PackedFrames(root).write([changed])
    assert "the data have changed since" in caplog.text
    assert first not in files(root)
    assert len(files(root)) == 1
    again = PackedFrames(root)
    np.testing.assert_array_equal(again.read(changed, "state", 5, 9), changed.read("state", 5, 9))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: np.save(path, np.zeros(3)),
        lambda path: path.unlink(),
    ],
)
def test_a_copy_that_is_not_whole_is_written_again(root, store, damage):
    PackedFrames(root).write([store])
    damage(files(root)[0])
    packed = PackedFrames(root)
    assert not packed.has([store])
    packed.write([store])
    np.testing.assert_array_equal(packed.read(store, "state", 0, FRAMES), truth(1))


def test_a_full_disk_is_one_line_and_leaves_nothing(root, store, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"packed: .* GB are needed in .*, 1e-06 GB are free; free some space"):
        PackedFrames(root).write([store])
    monkeypatch.undo()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("spacecast.data.packed._place", full)
    with pytest.raises(UserError, match=r"No space left on device; free some space or take") as caught:
        PackedFrames(root).write([store])
    assert "\n" not in str(caught.value)
    assert [path.name for path in (root / ".spacecast" / "packed").iterdir()] == []


def test_what_a_killed_process_left_goes(root, store):
    folder = root / ".spacecast" / "packed"
    folder.mkdir(parents=True)
    (folder / ".x.npy.partial-0123.npy").write_bytes(b"half")
    PackedFrames(root).write([store])
    assert [path.suffix for path in folder.iterdir()] == [".npy"]
    assert not list(folder.glob(".x*"))


def test_a_folder_that_cannot_be_written_to_is_named(root, store):
    root.chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"cannot be written to; change its permissions or take data\.cache=memory"):
            PackedFrames(root).write([store])
    finally:
        root.chmod(0o755)


def test_values_that_are_not_finite_are_refused_as_when_they_are_read(root):
    array = zarr.open_group(root / "vlasiator_run_1.zarr", mode="r+")["state"]
    array[20, :, 3] = np.nan
    broken = RunStore(root / "vlasiator_run_1.zarr", "1")
    with pytest.raises(UserError, match="run 1: "):
        PackedFrames(root).write([broken])
    assert files(root) == []


SCRIPT = """
import hashlib
import sys
from pathlib import Path
from spacecast.data.packed import PackedFrames
from spacecast.data.store import RunStore
root = Path(sys.argv[1])
store = RunStore(root / "vlasiator_run_1.zarr", "1")
sys.stdin.read()
packed = PackedFrames(root)
packed.write([store])
print(hashlib.sha256(packed.read(store, "state", 0, 30).tobytes()).hexdigest())
"""


def test_processes_that_pack_at_once_get_the_same(root):
    command = [sys.executable, "-c", SCRIPT, str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    several = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in several:
        process.stdin.close()  # go
    found = {process.stdout.read().strip() for process in several}
    assert [process.wait() for process in several] == [0, 0]
    assert found == {hashlib.sha256(truth(1).tobytes()).hexdigest()}
    assert len(files(root)) == 1


def test_half_precision_is_within_its_bound(root, at_epoch):
    rng = np.random.default_rng(1)
    scale = np.array([1e-30, 1e-3, 1.0, 7e4, 1e30, 0.0], dtype=np.float32)
    frames = (scale * rng.standard_normal((3, 500, 6)) * 10 ** rng.uniform(-12, 0, (3, 500, 6))).astype(np.float32)
    kind = np.dtype([("scale", "<f4", (6,)), ("values", "<f2", (500, 6))])
    error = np.abs(unpack_half(pack_half(frames, kind)).astype(np.float64) - frames)
    largest = np.abs(frames).max(axis=1, keepdims=True).astype(np.float64)
    assert (error <= np.maximum(2.0**-11 * np.abs(frames), 2.0**-39 * largest)).all()
    data = RunDatastore(root, [1, 2])
    half = batches(data, epochs=(0,), cache="packed", packed="float16")
    full = batches(data, epochs=(0,), cache="none")
    for one, two in zip(half, full, strict=True):
        torch.testing.assert_close(one.target, two.target, rtol=2**-11, atol=1e-9)
        assert not torch.equal(one.target, two.target)
    whole = sum(path.stat().st_size for path in files(root))
    assert whole < 0.51 * sum(data.store(run).num_bytes("state") for run in (1, 2)) + 2000
    np.testing.assert_array_equal(data.read_state("1", "train", 0, 3), truth(1)[:3])  # scores see the data as they are


def test_words_are_checked_before_anything_is_read(root):
    data = RunDatastore(root, [1])
    with pytest.raises(UserError, match=r"data\.cache=pack is unknown; did you mean 'packed'"):
        WindowDataModule(data, cache="pack")
    with pytest.raises(UserError, match=r"data\.packed=float61 is unknown"):
        WindowDataModule(data, packed="float61")

    with pytest.raises(UserError, match=r"data\.packed=float16 changes the numbers"):
        WindowDataModule(data, packed="float16")

    class Own:
        train_runs = ()

    with pytest.raises(UserError, match=r"data\.cache=packed: Own keeps its frames itself"):
        WindowDataModule(Own(), cache="packed")
    assert files(root) == []
