"""The arithmetic of a dry run."""

import pytest

from spacecast.app.dryrun import Cost, _duration, schedule_table
from spacecast.core.types import Stage


class TwoStages:
    """Three epochs of one step, then two of four."""

    def at(self, epoch):
        return Stage(lr_factor=1 - epoch / 10) if epoch < 3 else Stage(lr_factor=0.1, rollout_steps=4, div=0.0)


def test_the_table_has_a_line_per_stage():
    lines = [line.split() for line in schedule_table(TwoStages(), 5)[1:]]
    assert lines == [
        ["1", "to", "3", "1", "1", "to", "0.8", "1", "1", "1"],
        ["4", "to", "5", "4", "0.1", "to", "0.1", "1", "1", "0"],
    ]
    assert schedule_table(TwoStages(), 1)[1].split() == ["1", "1", "1", "1", "1", "1"]


def test_seconds_per_step_grow_evenly_with_the_rollout():
    cost = Cost(one=1.0, most=4.0, longest=4, forward=0.5)
    assert [cost.step(rollout) for rollout in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert Cost(one=2.0, most=2.0, longest=1, forward=0.0).step(1) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12, "12 s"), (119, "119 s"), (600, "10 min"), (3700, "1 h 2 min"), (200_000, "2 d 7 h 33 min")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
