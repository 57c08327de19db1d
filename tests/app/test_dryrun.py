"""The arithmetic of a dry run."""

import pytest

from spacecast.app.dryrun import Cost, _duration, _measured, schedule_table
from spacecast.core.types import Stage
from spacecast.training.schedule import GraphEFMSchedule


class TwoStages:
    """Two epochs and a half of one term, then one more, and roll-outs of four from epoch 3 on."""

    def at(self, epoch):
        return Stage(1 - epoch / 10, rollout_steps=1 if epoch < 3 else 4, crps=float(epoch >= 2.5), div=0.0)


def test_the_table_has_a_line_per_stage():
    lines = [line.split() for line in schedule_table(TwoStages(), 5)[1:]]
    assert lines == [
        ["0", "to", "2.5", "1", "1", "to", "0.75", "1", "0", "0"],
        ["2.5", "to", "3", "1", "0.75", "to", "0.7", "1", "1", "0"],
        ["3", "to", "5", "4", "0.7", "to", "0.5", "1", "1", "0"],
    ]
    assert schedule_table(TwoStages(), 1)[1].split() == ["0", "to", "1", "1", "1", "to", "0.9", "1", "0", "0"]


def test_seconds_per_step_grow_evenly_with_the_rollout():
    cost = Cost({(True, True, False): {1: 1.0, 4: 4.0}, (False, False, True): {1: 2.0}}, forward=0.5)
    assert [cost.step(Stage(rollout_steps=length, div=0)) for length in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert cost.step(Stage(kl=0, crps=0)) == 2
    assert cost.extremes == [(1, 1.0), (4, 4.0)]


def test_each_set_of_terms_is_measured_at_its_shortest_and_longest_rollout():
    schedule = GraphEFMSchedule(10, switches=(0.2, 0.4, 0.8, 0.9), rollout_steps=4)
    found = [(stage.rollout_steps, stage.kl, stage.crps, stage.div) for stage in _measured(schedule, 10)]
    assert found == [(4, 1, 0, 0), (4, 1, 1, 0), (4, 1, 1, 1), (1, 0, 0, 0), (1, 1, 0, 0)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12, "12 s"), (119, "119 s"), (600, "10 min"), (3700, "1 h 2 min"), (200_000, "2 d 7 h 33 min")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
