"""The pool: what goes in, what comes out, and what is given up."""

import pytest
import torch

from spacecast.core.types import Batch, OwnStates
from spacecast.training.own_states import OwnStatePool, OwnStatesSchedule

NODES, VARIABLES, PLACES = 5, 3, 4


def make_batch(*windows) -> Batch:
    """Windows (run, frame, place, age, given); frame f of run r is 100 r + f everywhere."""
    rows = torch.tensor(windows)
    first = (100 * rows[:, 0] + rows[:, 1]).float()
    states = (first[:, None] + torch.arange(3))[:, :, None, None].expand(-1, -1, NODES, VARIABLES)
    return Batch(states[:, :2], states[:, 2:], torch.zeros(len(rows), 1, NODES, 0), rows)


def step(pool: OwnStatePool, batch: Batch, error: float = 0.5, *, optional: bool = True) -> list[list[float]]:
    """Forecast the truth but for an error; previous, state and true state of each window."""
    entered = pool.enter(batch, PLACES, optional=optional)
    pool.keep(entered, entered.initial[:, 1], batch.target[:, 0] + error)
    assert torch.equal(entered.target, batch.target)
    return entered.initial[:, :, 0, 0].tolist()


def test_a_state_goes_back_and_is_gone_on_from():
    pool = OwnStatePool()
    assert step(pool, make_batch((1, 7, 2, 0, 1))) == [[107, 108, 108]]
    assert step(pool, make_batch((1, 8, 2, 1, 1)), 0.75) == [[108, 109.5, 109]]
    assert step(pool, make_batch((1, 9, 2, 2, 1))) == [[109.5, 110.75, 110]]
    assert step(pool, make_batch((0, 3, 2, 0, 1))) == [[3, 4, 4]]  # anew


def test_the_state_before_is_left_out_where_it_may_be():
    pool = OwnStatePool()
    assert step(pool, make_batch((0, 1, 0, 0, 0))) == [[2, 2, 2]]
    assert step(pool, make_batch((0, 2, 0, 1, 0))) == [[3.5, 3.5, 3]]
    assert step(pool, make_batch((0, 3, 0, 2, 0)), optional=False) == [[3.5, 4.5, 4]]
    assert step(pool, make_batch((0, 9, -1, 0, 1))) == [[9, 10, 10]]


def test_places_of_a_batch_do_not_mix_and_true_windows_have_none():
    pool = OwnStatePool()
    step(pool, make_batch((0, 1, 0, 0, 1), (1, 5, 3, 0, 1), (1, 50, -1, 0, 1), (0, 20, -1, 0, 1)))
    entered = step(pool, make_batch((1, 6, 3, 1, 1), (0, 80, -1, 0, 1), (0, 2, 0, 1, 1)))
    assert entered == [[106, 107.5, 107], [80, 81, 81], [2, 3.5, 3]]


@pytest.mark.parametrize("window", [(0, 3, 1, 1, 1), (1, 2, 1, 1, 1), (0, 2, 2, 1, 1), (0, 1, 1, 1, 1)])
def test_what_a_place_does_not_continue_begins_with_the_truth(window):
    """Another frame, run or place, as after an epoch of another length."""
    pool = OwnStatePool()
    step(pool, make_batch((0, 1, 1, 0, 1)))
    first = 100 * window[0] + window[1]
    assert step(pool, make_batch(window)) == [[first, first + 1, first + 1]]


@pytest.mark.parametrize("error", [float("nan"), float("inf"), -float("inf"), 1e5])
def test_what_is_not_finite_or_has_exploded_makes_way_for_the_truth(error):
    pool = OwnStatePool()
    batch = make_batch((0, 1, 1, 0, 1), (1, 1, 2, 0, 1))
    entered = pool.enter(batch, PLACES, optional=True)
    forecast = batch.target[:, 0].clone()
    forecast[0, 3, 1] += error
    pool.keep(entered, entered.initial[:, 1] + 0.25, forecast + 0.5)
    assert step(pool, make_batch((0, 2, 1, 1, 1), (1, 2, 2, 1, 1))) == [[2, 3, 3], [102.25, 103.5, 103]]


def test_what_was_saved_is_gone_on_from():
    one, other = OwnStatePool(), OwnStatePool()
    assert one.state_dict() == {}
    other.load_state_dict({})
    step(one, make_batch((0, 1, 1, 0, 1), (1, 1, 3, 0, 1), (1, 9, -1, 0, 1)))
    saved = one.state_dict()
    assert saved["states"].shape == (PLACES, 2, NODES, VARIABLES)
    other.load_state_dict(saved)
    batch = make_batch((1, 2, 3, 1, 1), (0, 2, 1, 1, 0))
    assert step(other, batch) == step(one, batch) == [[102, 103.5, 103], [3.5, 3.5, 3]]
    assert all(torch.equal(one.state_dict()[name], value) for name, value in other.state_dict().items())


def test_own_states_come_in_with_a_whole_epoch_while_the_rate_falls_as_a_cosine():
    schedule = OwnStatesSchedule(10, pool_from=0.36, pool_size=8, max_age=20, final_lr_factor=0.02, warmup=0.1)
    assert [epoch for epoch in range(10) if schedule.at(epoch).own_states] == list(range(4, 10))
    assert schedule.at(3.99).own_states is None
    assert schedule.at(7.3).own_states == OwnStates(since=4, size=8, max_age=20, fresh=0.4, previous=0.5)
    assert [schedule.at(epoch).lr_factor for epoch in (5, 10)] == pytest.approx([0.51, 0.02])
    assert schedule.at(0.5).lr_factor < 0.51 < schedule.at(1).lr_factor


def test_scores_of_ensembles_may_come_in_later_than_own_states():
    schedule = OwnStatesSchedule(10, pool_from=0.4, crps_from=0.65)
    assert [schedule.at(epoch / 2).crps for epoch in range(12, 15)] == [0, 1, 1]
    assert schedule.at(5).own_states is not None
    assert {OwnStatesSchedule(10).at(epoch).crps for epoch in range(10)} == {1}
