"""The arithmetic of a dry run."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from spacecast.app import dryrun
from spacecast.app.dryrun import _duration, _limited, _seconds
from spacecast.core.types import Batch, Stage
from spacecast.training.memory_plan import MemoryPlan
from spacecast.training.rehearsal import Clock, Cost, representative_stages
from spacecast.training.schedule import ConstantSchedule, GraphEFMSchedule, schedule_table


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


def costs(steps: dict) -> Cost:
    """Measured seconds by roll-out length and seconds, each with what its stage switches off."""
    cost = Cost()
    for (length, seconds), off in steps.items():
        clock = Clock(patience=1)
        clock.training, clock.validation = [9.0, seconds, 2 * seconds], [0.5]  # the first step does not count
        cost.add(Stage(rollout_steps=length, **off), clock)
    return cost


def test_seconds_per_step_grow_evenly_with_the_rollout():
    cost = costs({(1, 1.0): {"div": 0}, (4, 4.0): {"div": 0}, (1, 2.0): {"kl": 0, "crps": 0}})
    assert [cost.step(Stage(rollout_steps=length, div=0)) for length in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert cost.step(Stage(kl=0, crps=0)) == 2
    assert cost.extremes == [(1, 1.0), (4, 4.0)]


def test_each_set_of_terms_is_measured_at_its_shortest_and_longest_rollout():
    schedule = GraphEFMSchedule(10, switches=(0.2, 0.4, 0.8, 0.9), rollout_steps=4)
    found = [(stage.rollout_steps, stage.kl, stage.crps, stage.div) for stage in representative_stages(schedule, 10)]
    assert found == [(4, 1, 0, 0), (4, 1, 1, 0), (4, 1, 1, 1), (1, 0, 0, 0), (1, 1, 0, 0)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12, "12 s"), (119, "119 s"), (600, "10 min"), (3700, "1 h 2 min"), (200_000, "2 d 7 h 33 min")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_limits_are_numbers_or_shares_of_the_batches():
    assert [_limited(10, limit) for limit in (1.0, 0.25, 4, 40)] == [10, 2, 4, 10]


def test_the_time_ends_with_the_steps_that_are_left():
    """Two epochs of three batches of a second, and a validation of two batches of half a second after each."""
    cost, schedule = costs({(1, 1.0): {}}), ConstantSchedule(2)
    assert _seconds(schedule, cost, [3, 3], validation=2, left=6) == 8
    assert _seconds(schedule, cost, [3, 3], validation=2, left=4) == 5
    assert _seconds(schedule, cost, [3, 3], validation=2, left=3) == 4


def test_a_step_that_does_not_fit_is_not_taken(monkeypatch, caplog):
    """What is there already, the weights, needs no more room."""
    monkeypatch.setattr(dryrun, "free_memory", lambda: 3_000_000_000)
    plan = MemoryPlan(weights=2 * 10**9, optimizer=10**9, data=0, activations=10**9, workspace=10**9)
    with caplog.at_level("INFO", logger="spacecast"):
        assert dryrun.fits(plan, torch.device("cpu"))
        assert dryrun.fits(None, torch.device("cpu"))
        assert not caplog.records[-1].levelno > 20
        assert not dryrun.fits(replace(plan, workspace=10**9 + 1), torch.device("cpu"))
    assert "no step is taken" in caplog.text
    assert "loss.recompute=true" in caplog.text


def test_the_plan_is_that_of_the_longest_rollout(monkeypatch, caplog):
    """Of two sets of terms at this length, the one that takes more."""
    asked = []

    def planned(model, objective, optimizer, batch, stage, **options):
        asked.append((batch.target.shape[1], stage.kl, options["precision"], options["averaged"]))
        return MemoryPlan(0, 0, 0, int(stage.kl * 10**9), 0)

    monkeypatch.setattr(dryrun, "plan_step", planned)
    monkeypatch.setattr(dryrun, "trainer_of", lambda config: SimpleNamespace(world_size=1, precision="32-true"))
    schedule = GraphEFMSchedule(10, switches=(0.2, 0.4, 0.6, 0.9), rollout_steps=3)
    windows = SimpleNamespace(dataset=lambda split, steps: [one_window(steps)], batch_size=1)
    parts = SimpleNamespace(schedule=schedule, data=windows, model=None, module=SimpleNamespace(objective=None))
    trainer = SimpleNamespace(ema=0.99, accelerator="cpu")
    config = SimpleNamespace(trainer=trainer, optimizer=SimpleNamespace(build=lambda: None))
    with caplog.at_level("INFO", logger="spacecast"):
        plan = dryrun.planned_memory(config, parts, 10)
    assert plan is not None
    assert plan.total == 10**9
    assert {length for length, *_ in asked} == {3}
    assert asked[0][2:] == ("32-true", True)
    assert "activations      1.00 GB" in caplog.text


def one_window(steps: int) -> Batch:
    return Batch(torch.zeros(2, 5, 3), torch.zeros(steps, 5, 3), torch.zeros(steps, 5, 0), torch.zeros(2))
