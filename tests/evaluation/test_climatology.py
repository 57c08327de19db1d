"""The climatology is the mean over the training split, node by node."""

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.evaluation.climatology import climatology


def test_it_is_the_mean_over_time_and_runs(store) -> None:
    store.train_runs = ("1", "2")
    store.num_frames = lambda run, split: {"1": 9, "2": 4}[run]
    expected = (store.states[0].mean(axis=0, dtype=float) + store.states[1, :4].mean(axis=0, dtype=float)) / 2
    np.testing.assert_allclose(climatology(store), expected, rtol=1e-12)


def test_of_many_frames_it_takes_some_evenly_spaced_one_at_a_time(store) -> None:
    read, seen = store.read_state, []

    def read_state(run: str, split: str, start: int, stop: int) -> np.ndarray:
        seen.append((run, split, start, stop))
        return read(run, split, start, stop)

    store.read_state = read_state
    found = climatology(store, frames=3)
    assert seen == [("1", "train", frame, frame + 1) for frame in (0, 4, 8)]
    np.testing.assert_allclose(found, store.states[0, [0, 4, 8]].mean(axis=0, dtype=float), rtol=1e-12)


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
    assert caplog.messages == [f"no anomaly correlation, which takes the climatology of the training split: {expected}"]
