"""What is asked of a datastore is what `core.protocols.Datastore` says, and its defaults are used in one place."""

import numpy as np
import pytest
from data_fixtures import FRAMES

from spacecast.core.protocols import Datastore, SharedDatastore
from spacecast.data.contract import check_datastore, forcing_reach, members, split_range
from spacecast.data.datamodule import WindowDataModule
from spacecast.data.datastore import RunDatastore
from spacecast.data.fit import FittedDatastore
from spacecast.data.inspection import inspect
from spacecast.data.windows import WindowDataset

OPTIONAL = {"forcing_past", "forcing_future", "split_range", "warm_up", "share_memory", "keeping"}


class Bare:
    """A datastore with the members of the interface and nothing else; remembers what else it was asked for."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore, self.asked = datastore, set()

    def __getattr__(self, name):
        if name in members():
            return getattr(self._datastore, name)
        self.asked.add(name)
        raise AttributeError(name)


@pytest.fixture
def runs(prepared_root):
    return RunDatastore(prepared_root, [1, 2], [3])


@pytest.fixture
def bare(runs):
    return Bare(runs)


def test_the_members_of_the_interface_are_enough(bare, runs):
    check_datastore(bare)
    windows, same = (WindowDataset(store, ["2", "3"], "test", 1) for store in (bare, runs))
    for name in ("initial", "target", "forcing"):
        np.testing.assert_array_equal(getattr(windows[1], name), getattr(same[1], name))
    assert windows.initial_time(0) == same.initial_time(0)
    module = WindowDataModule(bare, 2, val_steps=1)
    assert next(iter(module.train_dataloader())).initial.shape[:2] == (2, 2)
    fitted, held_out = FittedDatastore(bare, runs.spec), WindowDataset(runs, ["3"], "val", 1)[0].target
    np.testing.assert_array_equal(WindowDataset(fitted, ["3"], "val", 1)[0].target, held_out)
    assert inspect(bare, frames=2).ok
    assert bare.asked <= OPTIONAL


def test_windows_are_numbered_within_the_run_or_within_the_split(bare, runs):
    assert split_range(runs, "1", "all") == (0, FRAMES)
    start, stop = split_range(runs, "1", "val")
    assert split_range(bare, "1", "val") == (0, stop - start)
    numbers = [WindowDataset(store, ["2"], "val", 1)[0].window.tolist() for store in (runs, bare)]
    assert numbers == [[1, start], [1, 0]]


def test_a_datastore_in_a_models_variables_has_the_optional_members_of_its_own(bare, runs):
    assert forcing_reach(bare) == forcing_reach(FittedDatastore(bare, runs.spec)) == (0, 0)
    runs.forcing_past, runs.forcing_future = 3, 1
    fitted = FittedDatastore(runs, runs.spec)
    assert forcing_reach(fitted) == forcing_reach(runs) == (3, 1)
    assert split_range(fitted, "1", "test") == split_range(runs, "1", "test")
    assert (fitted.train_runs, fitted.holdout_runs) == (runs.train_runs, runs.holdout_runs)


class Shared(Bare):
    """A datastore that says when worker processes are about to be forked."""

    def __init__(self, datastore, told):
        super().__init__(datastore)
        self._told = told

    def warm_up(self, split):
        self._told.append(split)

    def share_memory(self, workers):
        raise AssertionError("called in a worker alone")


def test_a_datastore_with_memory_is_told_before_workers_are_forked(runs):
    told = []
    shared = Shared(runs, told)
    assert isinstance(shared, SharedDatastore)
    assert isinstance(runs, SharedDatastore)
    assert not isinstance(Bare(runs), SharedDatastore)
    WindowDataModule(shared, workers=0).train_dataloader()
    assert told == []
    WindowDataModule(shared, workers=2).train_dataloader()
    assert told == ["train"]


def test_workers_divide_what_is_left_of_the_memory(prepared_root):
    runs = RunDatastore(prepared_root, [1, 2], cache_gb=1e-3)
    runs.warm_up("val")
    used = runs.cache.used
    assert used > 0
    runs.share_memory(4)
    assert runs.cache.budget == used + (1_000_000 - used) // 4
    runs.share_memory(10**9)
    assert runs.cache.budget == used


def test_what_does_not_fit_into_half_of_the_memory_is_not_warmed_up(prepared_root):
    runs = RunDatastore(prepared_root, [1, 2], statistics="stored", cache_gb=0)
    runs.warm_up("train")
    assert runs.cache.used == 0
