"""Which windows the places of a pool visit: trajectories without gaps, whatever epoch, process or interruption."""

import numpy as np
import pytest

from spacecast.core.types import OwnStates
from spacecast.data.own_states import with_own_states

RUNS = (40, 7, 90)  # windows of each
LEFT = np.concatenate([np.arange(count, 0, -1) for count in RUNS])


def rows(plan: OwnStates, epoch: int, items: int = 100, *, seed: int = 3, rank: int = 0) -> np.ndarray:
    windows = np.random.default_rng(epoch).permutation(len(LEFT))[:items]
    return with_own_states(windows, LEFT, plan, epoch=epoch, seed=seed, rank=rank)


def visits(plan: OwnStates, epochs: int, **options) -> np.ndarray:
    """All visits of a training in their order."""
    taken = np.concatenate([rows(plan, epoch, **options) for epoch in range(plan.since, plan.since + epochs)])
    return taken[taken[:, 1] >= 0]


@pytest.mark.parametrize("since", [0, 2])
def test_places_are_visited_in_turn_and_each_follows_its_run_until_it_begins_anew(since):
    plan = OwnStates(since=since, size=5, max_age=12)
    found = visits(plan, epochs=40)
    assert (found[:, 1] == np.arange(len(found)) % 5).all()
    for place in range(5):
        window, _, age, _ = found[found[:, 1] == place].T
        anew = age == 0
        assert anew[0]
        assert (window[1:] == window[:-1] + 1)[~anew[1:]].all()
        assert (age[1:] == age[:-1] + 1)[~anew[1:]].all()
        assert (LEFT[window[:-1]] > 1)[~anew[1:]].all()  # none goes on into the next run
    assert found[:, 2].max() == 11


def test_lengths_are_log_uniform():
    """As many trajectories end between 1 and 2 as between 3 and 6 and between 7 and 14; a run may end before."""
    plan = OwnStates(size=4, max_age=14, fresh=0)
    left = np.full(1000, 1000)
    taken = np.concatenate([with_own_states(np.arange(500), left, plan, epoch=e, seed=1, rank=0) for e in range(40)])
    lengths = []
    for place in range(4):
        age = taken[taken[:, 1] == place][:, 2]
        lengths += (age[:-1][age[1:] == 0] + 1).tolist()
    shares = np.histogram(lengths, [1, 3, 7, 15])[0] / len(lengths)
    assert shares == pytest.approx(np.diff(np.log([1, 3, 7, 15])) / np.log(15), abs=0.04)


def test_the_share_of_true_states_and_that_of_trajectories_with_the_state_before():
    plan = OwnStates(size=6, max_age=30, fresh=0.3, previous=0.5)
    for epoch in range(3):
        taken = rows(plan, epoch)
        fresh = taken[taken[:, 1] < 0]
        assert len(fresh) == 30
        assert (fresh[:, 2:] == [0, 1]).all()
        assert len(set(fresh[:, 0])) == 30  # each of them once
    found = visits(plan, epochs=60)
    assert found[found[:, 2] == 0][:, 3].mean() == pytest.approx(0.5, abs=0.06)
    assert not found[found[:, 2] > 2][:, 3].any()
    assert found[found[:, 2] == 1][:, 3].any()


def test_an_epoch_is_a_function_of_seed_process_and_number_alone():
    plan = OwnStates(since=1)
    late = rows(plan, 30)
    rows(plan, 2)
    assert (rows(plan, 30) == late).all()
    for other in ({"seed": 4}, {"rank": 1}):
        assert not (rows(plan, 30, **other) == late).all()


@pytest.mark.parametrize(("fresh", "count"), [(0.0, 0), (1.0, 100)])
def test_all_or_none(fresh, count):
    assert (rows(OwnStates(fresh=fresh), 4)[:, 1] < 0).sum() == count
