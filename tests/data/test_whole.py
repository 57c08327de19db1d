"""The whole run of a datastore that knows splits alone: each frame once, in time order, and where its gaps are."""

from dataclasses import replace

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.data.contract import offers, split_range, unbroken
from spacecast.data.datastore import RunDatastore
from spacecast.data.fit import FittedDatastore
from spacecast.data.inspection import inspect
from spacecast.data.whole import WholeRuns
from spacecast.forecast.starts import find_starts


class Splits:
    """The documented minimum of a datastore: splits cut out of a whole run, wherever a test wants them."""

    def __init__(self, runs: RunDatastore, **splits: tuple[int, int]) -> None:
        self._runs, self._splits = runs, splits
        self.spec, self.train_runs, self.holdout_runs = runs.spec, ("1",), ()

    def num_frames(self, run, split):
        start, stop = self._splits[split]
        return stop - start

    def read_state(self, run, split, start, stop):
        return self._runs.read_state(run, "all", *(self._splits[split][0] + at for at in (start, stop)))

    def read_forcing(self, run, split, start, stop):
        return self._runs.read_forcing(run, "all", *(self._splits[split][0] + at for at in (start, stop)))

    def times(self, run, split):
        return self._runs.times(run, "all")[slice(*self._splits[split])]


@pytest.fixture(scope="module")
def runs(prepared_root):
    return RunDatastore(prepared_root, [1])


@pytest.mark.parametrize(
    "splits",
    [
        {"train": (0, 12), "val": (12, 20), "test": (20, 30)},
        {"test": (0, 10), "train": (10, 30)},  # of another order, and without val
        {"train": (0, 15), "val": (14, 20), "test": (19, 30)},  # a step is in two
    ],
)
def test_splits_that_follow_each_other_are_the_whole_run(runs, splits):
    store = FittedDatastore(WholeRuns(Splits(runs, **splits)), runs.spec)
    np.testing.assert_array_equal(store.times("1", "all"), runs.times("1", "all"))
    for start, stop in ((0, 30), (9, 13), (18, 23), (29, 30)):
        np.testing.assert_array_equal(
            store.read_state("1", "all", start, stop), runs.read_state("1", "all", start, stop)
        )
        assert store.read_forcing("1", "all", start, stop).shape == (stop - start, runs.grid.num_nodes, 0)
    assert unbroken(store, "1", 14) == (0, 30) == split_range(store, "1", "all")
    assert store.num_frames("1", "train") == np.ptp(splits["train"])
    test = Splits(runs, **splits).read_state("1", "test", 1, 3)
    np.testing.assert_array_equal(store.read_state("1", "test", 1, 3), test)


def test_a_forecast_starts_and_stays_between_gaps(runs):
    store = WholeRuns(Splits(runs, train=(0, 10), test=(15, 30)))
    assert offers(store, "1", "all")
    assert [unbroken(store, "1", frame) for frame in (0, 9, 10, 24)] == [(0, 10), (0, 10), (10, 25), (10, 25)]
    times = runs.times("1", "all")
    assert find_starts(store, None, str(times[16]), 3)[0].frame == 11
    assert find_starts(store, None, None, 3)[0].frame == 24
    for given in (str(times[12]), str(times[15]), 0, 10):  # the first of a piece has none before it
        with pytest.raises(UserError, match=r"frame [19]\)") as caught:
            find_starts(store, None, given, 3)
        assert "\n" not in str(caught.value)
    wanted = r"can start from .*\(frame 1\) to .*\(frame 9\), or from .*\(frame 11\) to .*\(frame 24\)$"
    with pytest.raises(UserError, match=wanted):
        find_starts(store, None, 10, 3)


def test_forcing_and_a_driven_boundary_end_with_the_piece(runs):
    store = WholeRuns(Splits(runs, train=(0, 10), test=(15, 30)))
    one = FeatureSpec(("n",), ("1/cm3",), np.zeros(1), np.ones(1))
    store.spec = replace(runs.spec, forcing=one)
    assert find_starts(store, None, None, 10)[0].frame == 14
    with pytest.raises(UserError, match=r"from .*\(frame 1\) to .*\(frame 5\), or"):
        find_starts(store, None, 6, 4)
    store.spec = replace(runs.spec, boundary=np.ones_like(runs.spec.boundary))
    assert find_starts(store, None, None, 12)[0].frame == 12


def test_forcing_of_steps_around_is_read_within_a_split(runs):
    parts = Splits(runs, train=(0, 10), val=(10, 30))
    parts.forcing_past = 1
    parts.spec = replace(runs.spec, forcing=FeatureSpec(("n[-1]", "n[0]"), ("", ""), np.zeros(2), np.ones(2)))
    assert unbroken(WholeRuns(parts), "1", 12) == (10, 30)
    parts.spec = runs.spec  # takes none
    assert unbroken(WholeRuns(parts), "1", 12) == (0, 30)


def test_what_holds_no_frame_is_refused(runs):
    with pytest.raises(UserError, match="run 1 has no frame in train, val, test"):
        WholeRuns(Splits(runs)).times("1", "all")
    every_other = WholeRuns(Splits(runs, train=(0, 1), val=(5, 6), test=(9, 10)))
    with pytest.raises(UserError, match="has 3 frames, none of them one step after another"):
        find_starts(every_other, None, None, 1)
    with pytest.raises(IndexError):
        WholeRuns(Splits(runs, train=(0, 9))).read_state("1", "all", 5, 10)


def test_splits_that_a_datastore_is_without_are_findings_of_an_inspection(runs):
    report = inspect(Splits(runs, train=(0, 20), test=(20, 30)), frames=2)
    assert report.ok
    assert any("split 'val' has 0 frames" in text for text in report.warnings)
