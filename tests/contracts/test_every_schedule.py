"""What holds for every schedule of conf/schedule."""

import math
import random

import pytest


@pytest.fixture(params=[1, 4, 250])
def epochs(request) -> int:
    return request.param


@pytest.fixture
def make(schedule_member, composed, epochs):
    """Makes the schedule of a training of so many epochs."""
    section = composed(f"schedule={schedule_member}").schedule
    assert section.content["epochs"] == composed(f"schedule={schedule_member}").trainer.max_epochs
    return lambda: section.build(epochs=epochs)


def moments(epochs: int) -> list[float]:
    """From the first epoch to far beyond the last, in parts of epochs."""
    early = [quarter / 4 for quarter in range(4 * min(epochs, 12) + 1)]
    return [*early, epochs - 0.5, epochs, epochs + 1, 3.0 * epochs]


def test_a_stage_is_a_function_of_the_epoch_alone(make, schedule_member, epochs):
    """Whatever was asked before, and by whom: so a run that goes on is the run that was never stopped."""
    schedule, expected = make(), [make().at(epoch) for epoch in moments(epochs)]
    assert [schedule.at(epoch) for epoch in moments(epochs)] == expected
    shuffled = list(range(len(expected)))
    random.Random(3).shuffle(shuffled)
    for number in shuffled:
        assert schedule.at(moments(epochs)[number]) == expected[number]


def test_stages_are_within_their_bounds_from_the_first_epoch_to_beyond_the_last(make, schedule_member, epochs):
    for epoch in moments(epochs):
        stage = make().at(epoch)
        assert isinstance(stage.rollout_steps, int)
        assert stage.rollout_steps >= 1
        assert 0 < stage.lr_factor <= 1
        for weight in (stage.kl, stage.crps, stage.div):
            assert math.isfinite(weight)
            assert 0 <= weight <= 1


def test_the_roll_out_changes_between_epochs_only(make, schedule_member, epochs):
    schedule = make()
    for epoch in range(epochs):
        lengths = {schedule.at(epoch + part).rollout_steps for part in (0, 0.3, 0.99)}
        assert len(lengths) == 1, epoch
