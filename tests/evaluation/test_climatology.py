"""The climatology is the mean over the training split, node by node; each run is held against the nearest one."""

from dataclasses import replace

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.evaluation.climatology import climatology, nearest_wind, wind_nodes
from spacecast.evaluation.evaluator import evaluate


def test_it_is_the_mean_over_time_and_runs(store) -> None:
    store.train_runs = ("1", "2")
    store.num_frames = lambda run, split: {"1": 9, "2": 4}[run]
    one, two = store.states[0].mean(axis=0, dtype=float), store.states[1, :4].mean(axis=0, dtype=float)
    found = climatology(store, ["2", "1"])
    np.testing.assert_allclose(found.mean, (one + two) / 2, rtol=1e-12)
    np.testing.assert_allclose(found.of("2"), two, rtol=1e-12)
    np.testing.assert_allclose(found.of("1"), one, rtol=1e-12)
    assert str(found) == "run 2, run 1"


def test_of_many_frames_it_takes_some_evenly_spaced_one_at_a_time(store) -> None:
    read, seen = store.read_state, []

    def read_state(run: str, split: str, start: int, stop: int) -> np.ndarray:
        seen.append((run, split, start, stop))
        return read(run, split, start, stop)

    store.read_state = read_state
    found = climatology(store, frames=3)
    assert seen == [("1", "train", frame, frame + 1) for frame in (0, 4, 8)]
    np.testing.assert_allclose(found.mean, store.states[0, [0, 4, 8]].mean(axis=0, dtype=float), rtol=1e-12)


@pytest.mark.parametrize("fault", ["no such split", "no frame"])
def test_without_a_training_split_there_is_none_and_the_log_says_why(store, caplog, fault: str) -> None:
    def num_frames(run: str, split: str) -> int:
        if fault == "no frame":
            return 0
        raise UserError(f"run {run} has no split {split!r}")

    store.num_frames = num_frames
    with caplog.at_level("INFO"):
        assert climatology(store) is None
    expected = "run 1 has no split 'train'" if fault == "no such split" else "it holds no frame"
    assert caplog.messages == [f"no scores of the climatology, which is of the training split: {expected}"]


def test_a_run_that_was_not_trained_on_has_that_of_the_run_with_the_nearest_wind(store) -> None:
    """The wind is read at the driven nodes; the rest of the plane, which is what is forecast, has no say."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(3, *store.states.shape[1:])).astype(np.float32)
    driven = store.spec.boundary
    states[0][:, driven] += 3.0
    states[2][:, driven] += 2.9
    states[2][:, ~driven] -= 50.0
    states[1][:, ~driven] -= 50.0
    store.train_runs, store.holdout_runs, store.runs, store.states = ("1", "2"), ("3",), ("1", "2", "3"), states
    found = climatology(store, ["3"], "all")
    assert found.nearest == {"3": "1"}
    assert str(found) == "run 1 for run 3"


def test_a_steady_wind_is_told_by_what_differs_for_certain(tiny_spec) -> None:
    """Winds that never change would be infinitely far apart in units of their variation."""
    steady = np.ones((4, 3, 12)) * tiny_spec.state.std
    denser, rounded = steady.copy(), steady.copy()
    denser[..., 9] *= 1.5
    rounded[..., 0] *= 1 + 1e-7
    assert nearest_wind(rounded, {"a": denser, "b": steady}, tiny_spec) == "b"
    assert nearest_wind(1.4 * denser - 0.4 * steady, {"a": denser, "b": steady}, tiny_spec) == "a"


def test_the_wind_is_where_it_is_driven_or_next_to_the_sunward_edge(tiny_spec) -> None:
    np.testing.assert_array_equal(wind_nodes(tiny_spec), np.flatnonzero(tiny_spec.boundary))
    free = replace(tiny_spec, boundary=np.zeros_like(tiny_spec.boundary))
    x = free.grid.positions[:, 0]
    np.testing.assert_array_equal(wind_nodes(free), np.flatnonzero(x == x.max()))


def test_it_is_a_reference_in_every_score(store, fakes) -> None:
    """Its RMSE is that of the mean of the run's own training frames, or of the run nearest to one that is held out."""
    inside = store.spec.interior
    for runs, number in (("train", 0), ("holdout", 1)):
        scores = evaluate(fakes.Persist(), store, runs=runs, steps=3)
        mean = store.states[0].mean(axis=0, dtype=float)
        truth = np.stack([store.states[number, 4 + start] for start in range(5)])
        expected = np.sqrt(((truth - mean)[:, inside] ** 2).mean(axis=(0, 1)))
        found = [scores.series("climatology_rmse", name)[1][2] for name in scores.variables]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert "climatology, mean" in scores.table()
        said = "run 1" if runs == "train" else "run 1 for run 2"
        assert scores.dataset.attrs["climatology"] == said
        assert f"climatology: mean of {said}, over its frames for training" in scores.table()


def test_data_without_a_training_split_have_scores_without_it(store, fakes) -> None:
    count = store.num_frames

    def num_frames(run: str, split: str) -> int:
        if split == "train":
            raise UserError("there is no split 'train'")
        return count(run, split)

    store.num_frames = num_frames
    scores = evaluate(fakes.Persist(), store, steps=2)
    assert "climatology_rmse" not in scores.metrics
    assert "climatology" not in scores.table()
    assert scores.dataset.attrs["climatology"] == "none"
