"""Windows have all their targets, and their order is a pure function of (seed, epoch)."""

import multiprocessing
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from data_fixtures import SPACE
from hypothesis import given
from hypothesis import strategies as st
from test_store import truth

from spacecast.core.errors import UserError
from spacecast.core.shards import ShardGroup
from spacecast.data import datamodule
from spacecast.data.datamodule import EpochSampler, WindowDataModule
from spacecast.data.datastore import RunDatastore
from spacecast.data.windows import WindowDataset, window_starts


@pytest.fixture(scope="module")
def data(prepared_root):
    return RunDatastore(prepared_root, [1, 2], holdout=[3])


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 5), st.integers(0, 5))
def test_window_starts_are_all_that_fit(frames, steps, past, future):
    """Brute force: every frame a window touches lies in the split, and no window that fits is left out."""
    fits = [s for s in range(frames) if s + 2 - past >= 0 and s + 1 + steps + future <= frames - 1]
    assert list(window_starts(frames, steps, past, future)) == fits


def test_no_window_is_lost_without_forcing():
    """A split of 8 frames holds 3 windows of 2 + 4 frames (the reference finds 2)."""
    assert len(window_starts(8, 4)) == 3


@pytest.mark.parametrize("steps", [1, 3, 19])
def test_windows_are_consecutive_frames(data, steps):
    windows = WindowDataset(data, ["1", "2"], "train", steps)
    assert len(windows) == 2 * (21 - 1 - steps)
    for number in {0, len(windows) // 2, len(windows) - 1}:
        item = windows[number]
        run, first = item.window.tolist()
        frames = truth(run + 1)[first : first + 2 + steps]
        np.testing.assert_array_equal(torch.cat([item.initial, item.target]).numpy(), frames)
        assert item.forcing.shape == (steps, SPACE.sum(), 0)
        assert item.initial.dtype == torch.float32


def test_windows_of_a_held_out_run_carry_its_number_and_time(data):
    windows = WindowDataset(data, [3], "test", 2, limit=1)
    assert len(windows) == 1
    assert windows[0].window.tolist() == [2, 26]
    assert windows.initial_time(0) == data.times(3, "test")[1]


def test_limit_counts_initial_times_of_each_run(data):
    windows = WindowDataset(data, [1, 2], "train", 1, limit=3)
    assert [windows[i].window.tolist() for i in range(len(windows))] == [[r, s] for r in (0, 1) for s in range(3)]


@pytest.mark.parametrize(("steps", "limit"), [(0, None), (1, 0)])
def test_bad_numbers_are_refused(data, steps, limit):
    with pytest.raises(UserError):
        WindowDataset(data, [1], "train", steps, limit)


def orders(module, epochs):
    """Windows of some epochs as the loader hands them out."""
    result = []
    for epoch in epochs:
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        result.append([tuple(w) for batch in loader for w in batch.window.tolist()])
    return result


def test_order_is_a_function_of_seed_and_epoch(data):
    one = orders(WindowDataModule(data, 4, seed=5), [0, 1, 2])
    two = orders(WindowDataModule(data, 4, seed=5), [2, 0])
    assert two == [one[2], one[0]]
    assert one[0] != one[1]
    assert sorted(one[0]) == sorted(one[1]) == [(r, s) for r in (0, 1) for s in range(19)]
    assert orders(WindowDataModule(data, 4, seed=6), [0]) != one[:1]


def test_batch_shapes_and_rollout(data):
    module = WindowDataModule(data, 3, rollout_steps=2)
    batch = next(iter(module.train_dataloader()))
    nodes = SPACE.sum()
    assert batch.initial.shape == (3, 2, nodes, 12)
    assert batch.target.shape == (3, 2, nodes, 12)
    assert batch.forcing.shape == (3, 2, nodes, 0)
    module = WindowDataModule(data, 3, rollout_steps=5)
    assert next(iter(module.train_dataloader())).target.shape[1] == 5
    assert len(module.train_dataloader().dataset) == 2 * (21 - 6)
    module = WindowDataModule(data, 3, rollout_steps=lambda epoch: 4 + epoch)
    assert next(iter(module.train_dataloader())).target.shape[1] == 4


class Recorder(pl.LightningModule):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, batch.target.shape[1], batch.window.tolist()))
        return self.weight * 0

    def validation_step(self, batch, _):
        self.validated += [tuple(w) for w in batch.window.tolist()]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(module, epochs, **options):
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        **options,
    )
    trainer.fit(recorder, datamodule=module)
    return recorder


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore")
def test_curriculum_under_lightning(prepared_root, workers):
    """Every batch has the roll-out of its epoch, with workers too, and each valid window comes exactly once."""
    data = RunDatastore(prepared_root, [1, 2])
    module = WindowDataModule(data, 7, workers, seed=1, rollout_steps=lambda epoch: 1 + 2 * epoch, val_steps=2)
    recorder = fit(module, 3, num_sanity_val_steps=0)
    for epoch in range(3):
        steps = 1 + 2 * epoch
        seen = [s for s in recorder.seen if s[0] == epoch]
        assert {s[1] for s in seen} == {steps}
        windows = sorted(tuple(w) for s in seen for w in s[2])
        assert windows == [(r, s) for r in (0, 1) for s in range(21 - 1 - steps)]
    assert recorder.validated == 3 * [(r, s) for r in (0, 1) for s in (21, 22)]


@pytest.mark.filterwarnings("ignore")
def test_limited_windows_are_drawn_anew(data):
    module = WindowDataModule(data, 2, val_steps=1, limit_windows=4, limit_val_windows=1)
    recorder = fit(module, 2, num_sanity_val_steps=0)
    first, second = ([w for e, _, w in recorder.seen if e == epoch] for epoch in (0, 1))
    assert len(first) == len(second) == 2
    assert first != second


@given(st.integers(1, 60), st.integers(1, 5), st.booleans(), st.integers(0, 3))
def test_ranks_share_the_windows(num, world, shuffle, epoch):
    """No window twice; equally many per rank when shuffled, all of them when in order."""
    parts = [EpochSampler(num, 3, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    for part in parts:
        part.set_epoch(epoch)
    drawn = [list(part) for part in parts]
    together = [n for part in drawn for n in part]
    assert len(set(together)) == len(together)
    assert [len(part) for part in parts] == [len(d) for d in drawn]
    if not shuffle:
        assert sorted(together) == list(range(num))
    elif num >= world:
        assert len({len(d) for d in drawn}) == 1
        assert len(together) > num - world


def test_sampler_resumes_inside_an_epoch():
    whole = EpochSampler(20, 1)
    whole.set_epoch(4)
    expected = list(whole)
    resumed = EpochSampler(20, 1)
    resumed.load_state_dict({"epoch": 4, "consumed": 8})
    resumed.set_epoch(4)
    assert list(resumed) == expected[8:]
    assert len(resumed) == 20
    resumed.set_epoch(5)
    assert len(list(resumed)) == 20


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -1}, {"limit_windows": 0}])
def test_bad_loader_options_are_refused(data, options):
    with pytest.raises(UserError, match=f"data.{next(iter(options))} must be at least"):
        WindowDataModule(data, **options)


def test_a_reading_process_ends_with_the_one_that_it_reads_for():
    """Also where that was killed before the reading process has begun, so that another one is above it."""

    def read() -> None:
        datamodule._begin(-1, 0)
        time.sleep(600)

    reader = multiprocessing.get_context("fork").Process(target=read)
    reader.start()
    reader.join(60)
    assert reader.exitcode == 1


def half_of(number, values):
    return values.chunk(2, dim=-2)[number]


def test_processes_that_share_a_sample_read_the_same_windows_each_its_own_nodes(data):
    """Of four processes with two parts of the grid, the first two have one half of the windows."""
    found = {}
    for rank in range(4):
        module = WindowDataModule(data, batch_size=2, seed=3, rollout_steps=2)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=4, current_epoch=0)
        module.part = SimpleNamespace(group=ShardGroup(rank % 2, 2), cut=partial(half_of, rank % 2))
        found[rank] = list(module.train_dataloader())
        assert module.load_state_dict({"epoch": 0, "consumed": 4, "per_batch": 4}) is None
    alone = WindowDataModule(data, batch_size=2, seed=3, rollout_steps=2)
    for half in (0, 1):
        alone.trainer = SimpleNamespace(global_rank=half, world_size=2, current_epoch=0)
        for whole, one, other in zip(alone.train_dataloader(), found[2 * half], found[2 * half + 1], strict=True):
            assert torch.equal(one.window, whole.window)
            assert torch.equal(other.window, whole.window)
            assert torch.equal(torch.cat([one.target, other.target], dim=2), whole.target)
            assert torch.equal(torch.cat([one.initial, other.initial], dim=2), whole.initial)
