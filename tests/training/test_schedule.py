import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacecast.core.errors import UserError
from spacecast.training.schedule import (
    ConstantSchedule,
    EnsembleSchedule,
    GraphEFMSchedule,
    GraphFMSchedule,
    changes,
    switch_epochs,
)


def test_published_stages():
    published = {"rollout_steps": 4, "rollout_lr_factor": 0.1, "decay": "constant"}
    schedule = GraphFMSchedule(250, switches=(175, 225), **published)
    assert schedule.at(174).rollout_steps == 1
    assert schedule.at(174).lr_factor == 1
    assert schedule.at(175).lr_factor == pytest.approx(0.1)
    assert [schedule.at(epoch).div for epoch in (0, 224, 225, 249)] == [0, 0, 1, 1]
    assert schedule.at(224).rollout_steps == schedule.at(249).rollout_steps == 4


def test_published_stages_of_the_latent_model():
    """Whichever epoch a run is resumed in, all of its stage holds (the published code forgets it)."""
    schedule = GraphEFMSchedule(250, switches=(100, 150, 200, 225), rollout_steps=4)
    stages = {epoch: schedule.at(epoch) for epoch in (99, 100, 149, 150, 199, 200, 225, 230)}
    assert [stage.kl for stage in stages.values()] == [0, 1, 1, 1, 1, 1, 1, 1]
    assert [stage.crps for stage in stages.values()] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert [stage.div for stage in stages.values()] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert [stage.lr_factor for stage in stages.values()] == [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert [stage.rollout_steps for stage in stages.values()] == [1, 1, 1, 2, 4, 4, 4, 4]


def test_terms_may_come_in_within_an_epoch_and_roll_outs_do_not():
    schedule = GraphEFMSchedule(5, switches=(0, 0.55, 0.9, 0.95), rollout_steps=4)
    stages = [schedule.at(epoch) for epoch in (2.99, 3, 4, 4.49, 4.5, 4.75)]
    assert [stage.rollout_steps for stage in stages] == [1, 3, 4, 4, 4, 4]
    assert [(stage.crps, stage.div) for stage in stages] == [(0, 0)] * 4 + [(1, 0), (1, 1)]


def test_the_ramp_grows_from_the_switch_on_in_equal_shares():
    lengths = [GraphFMSchedule(12, switches=(3, 12), rollout_steps=4).at(epoch).rollout_steps for epoch in range(12)]
    assert lengths == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    lengths = [GraphFMSchedule(5, switches=(0.6, 1), rollout_steps=5).at(epoch).rollout_steps for epoch in range(5)]
    assert lengths == [1, 1, 1, 3, 5]


def test_rates_fall_to_the_switch_and_on_to_the_end():
    for schedule in (
        GraphFMSchedule(10, switches=(0.4, 1), rollout_lr_factor=0.3, decay="cosine", final_lr_factor=0.01),
        GraphEFMSchedule(10, switches=(0, 0.4, 0.8, 1), rollout_lr_factor=0.3, decay="cosine", final_lr_factor=0.01),
    ):
        rates = [schedule.at(epoch / 10).lr_factor for epoch in range(101)]
        assert rates == sorted(rates, reverse=True)
        assert (rates[0], rates[40], rates[100]) == pytest.approx((1, 0.3, 0.01))


@given(st.integers(1, 300), st.integers(1, 12), st.floats(0, 1), st.floats(0, 1))
def test_the_ramp_reaches_its_end_and_never_falls(epochs, steps, first, second):
    schedule = GraphFMSchedule(epochs, switches=sorted((first, second)), rollout_steps=steps)
    lengths = [schedule.at(epoch).rollout_steps for epoch in range(epochs)]
    assert lengths == sorted(lengths)
    assert set(lengths) <= set(range(1, steps + 1))
    if schedule.ramp_start < epochs and schedule.div_start <= epochs:
        assert lengths[-1] == steps


@pytest.mark.parametrize("kind", [ConstantSchedule, GraphFMSchedule, GraphEFMSchedule])
def test_the_rate_warms_up(kind):
    cold, warm = (kind(8, warmup=warmup) for warmup in (0.0, 0.25))
    shares = [warm.at(epoch).lr_factor / cold.at(epoch).lr_factor for epoch in (0, 0.5, 1, 2, 3)]
    assert shares == pytest.approx([0.01, 0.2575, 0.505, 1, 1])
    assert kind(8, warmup=2.0).at(1) == warm.at(1)  # a share of the run, or epochs


def test_it_has_no_memory():
    schedule = GraphFMSchedule(50)
    forwards = [schedule.at(epoch) for epoch in range(50)]
    assert [schedule.at(epoch) for epoch in reversed(range(50))] == forwards[::-1]


@pytest.mark.parametrize(("epochs", "steps"), [(4, 2), (8, 3), (1, 2), (40, 4)])
def test_ensembles_come_after_single_steps_and_before_longer_roll_outs(epochs, steps):
    schedule = EnsembleSchedule(epochs, switches=[0.5, 0.75], rollout_steps=steps, ensemble_lr_factor=0.2)
    stages = [schedule.at(epoch / 4) for epoch in range(4 * epochs)]
    for number, stage in enumerate(stages):
        assert stage.crps == float(number >= 2 * epochs)
        assert stage.rollout_steps == 1 or number >= 3 * epochs
    lengths = [stage.rollout_steps for stage in stages]
    assert lengths == sorted(lengths)
    assert lengths[-1] == (steps if epochs > 1 else 1)
    assert schedule.at(0).lr_factor == 1
    assert schedule.at(epochs / 2).lr_factor == pytest.approx(0.2)
    assert schedule.at(epochs).lr_factor == pytest.approx(0.01)
    with pytest.raises(UserError, match="needs 2 switch points"):
        EnsembleSchedule(epochs, switches=[0.5])


def test_from_trained_weights_ensembles_begin_at_once():
    schedule = EnsembleSchedule(4, switches=[0.0, 0.5], ensemble_lr_factor=0.2)
    assert [schedule.at(epoch).crps for epoch in range(4)] == [1] * 4
    assert schedule.at(0).lr_factor == pytest.approx(0.2)


def test_cosine_falls_smoothly_from_the_full_rate():
    schedule = ConstantSchedule(10, decay="cosine", final_lr_factor=0.1)
    rates = [schedule.at(epoch / 4).lr_factor for epoch in range(41)]
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_switch_points_in_epochs_or_shares():
    assert switch_epochs([0.5, 80], 100) == [50, 80]
    assert switch_epochs([0.55, 0.905, 95.5], 100) == [55, 90.5, 95.5]
    with pytest.raises(UserError, match="do not ascend"):
        switch_epochs([0.9, 0.5], 100)


def test_changes_tell_what_begins_when():
    efm = GraphEFMSchedule(10, switches=[0.4, 0.6, 0.85, 0.9], rollout_steps=2)
    assert changes(efm, 10) == [(4, "KL"), (6, "2 steps"), (8.5, "CRPS"), (9, "div B")]
    assert changes(EnsembleSchedule(8, switches=[0.75, 0.875]), 8) == [(6, "CRPS"), (7, "2 steps")]
    assert changes(ConstantSchedule(10), 10) == []
    assert changes(ConstantSchedule(10), 0) == []
    assert changes(efm, None) == changes(efm, -1) == []
