"""Which frames an evaluation takes, by its keys and by the runs that there are."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.selection import select

LENGTHS = {"train": 112, "val": 24, "test": 24, "all": 160}


def source(holdout: tuple[str, ...] = ("unseen",), unseen: int = 120) -> SimpleNamespace:
    """A store of two runs of 160 frames, and some of another length that are held out."""

    def num_frames(run: str, split: str) -> int:
        return unseen if run in holdout and split == "all" else LENGTHS[split]

    return SimpleNamespace(train_runs=("1", "2"), holdout_runs=holdout, num_frames=num_frames)


def test_of_runs_that_nobody_has_seen_all_frames_are_scored() -> None:
    found = select(source(), "auto", None, None, 12)
    assert found == (("unseen",), "all", 100, True)
    assert str(found) == "run unseen (held out), all frames"


@pytest.mark.parametrize(
    ("holdout", "split"), [((), None), (("unseen",), "test")], ids=["none is held out", "a split is asked for"]
)
def test_else_the_test_split_of_the_training_runs(holdout, split) -> None:
    found = select(source(holdout), "auto", split, None, 12)
    assert found == (("1", "2"), "test", 11, False)
    assert str(found) == "runs 1, 2, split test"


@pytest.mark.parametrize("refusal", [UserError, KeyError, ValueError])
def test_a_store_without_whole_runs_is_scored_on_the_test_split(refusal) -> None:
    def num_frames(run: str, split: str) -> int:
        if split == "all":
            raise refusal(split)
        return LENGTHS[split]

    for holdout, runs in ((("unseen",), ("unseen",)), ((), ("1", "2"))):
        store = SimpleNamespace(train_runs=("1", "2"), holdout_runs=holdout, num_frames=num_frames)
        assert select(store, "auto", None, None, 12) == (runs, "test", 11, bool(holdout))


def test_what_is_typed_is_what_is_scored() -> None:
    assert select(source(), None, "val", 3, None) == (("1", "2"), "val", 3, False)
    assert select(source(), "holdout", "test", 500, None) == (("unseen",), "test", 500, True)
    assert select(source(), ["unseen", 1], "all", 5, 2).runs == ("unseen", "1")


@pytest.mark.parametrize(
    ("frames", "windows", "expected"),
    [(500, 12, 100), (113, 12, 100), (112, 12, 99), (24, 12, 11), (14, 12, 6), (24, None, 11), (3, 12, 1), (2, 1, 1)],
)
def test_leads_are_as_many_as_leave_the_initial_times(frames, windows, expected) -> None:
    """Up to 100; half of a run that is too short for so many initial times."""
    store = source(unseen=frames)
    assert select(store, "auto", None, None, windows).steps == expected
    store.forcing_past, store.forcing_future = 3, 2
    assert select(store, "auto", None, None, windows).steps <= expected


def test_runs_seen_and_unseen_have_no_split_in_common_by_themselves() -> None:
    with pytest.raises(UserError, match="some of the runs are trained on, some held out; give test or all"):
        select(source(), "all", None, None, 12)
    assert select(source(), "all", "all", None, 12) == (("1", "2", "unseen"), "all", 100, False)


def test_runs_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match="no such run"):
        select(source(()), "holdout", None, None, 12)
    with pytest.raises(UserError, match=r"no run 'unsen'; did you mean 'unseen'"):
        select(source(), "unsen", None, None, 12)


@pytest.mark.parametrize(
    ("limit", "spread", "expected"),
    [(3, True, [0, 2, 5]), (3, False, [0, 1, 2]), (1, True, [0]), (None, True, [*range(6)]), (9, True, [*range(6)])],
)
def test_initial_times_are_spread_or_the_first_ones(store, limit, spread, expected) -> None:
    data = WindowDataset(store, ["1"], "test", 2, limit, spread=spread)
    assert [data.place(number)[1] for number in range(len(data))] == expected


def test_scores_say_what_was_scored(store, fakes) -> None:
    scores = evaluate(fakes.Persist(), store, split=None, runs="auto", steps=None, windows=3, spread=True)
    assert (scores.scored, scores.windows) == ("run 2 (held out), all frames", 3)
    assert len(scores.lead_seconds) == 5
    assert (scores.dataset.attrs["split"], scores.dataset.attrs["scored"]) == ("all", scores.scored)
    times = scores.dataset["init_time"].values
    np.testing.assert_array_equal(times, store.times("2", "all")[1:4])
