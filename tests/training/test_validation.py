"""Scores of the validation: unbiased for the distribution that the members are drawn from."""

import math
from dataclasses import replace

import pytest
import torch

from spacecast.core.spec import FeatureSpec
from spacecast.training.validation import ValidationSums, summary


def part(state, which):
    """Some of the variables."""
    return FeatureSpec(state.names[which], state.units[which], state.mean[which], state.std[which])


def validate(members, truth, present, spec):
    sums = ValidationSums(1, len(spec.state))
    for part in (slice(0, 3), slice(3, None)):
        sums.add(0, members[:, part], truth[part], present[part])
    return summary(sums.means(sums.flat()), spec.state, ensemble=len(members) > 1)


def test_one_member_is_scored_like_a_deterministic_forecast(tiny_spec):
    torch.manual_seed(0)
    forecast, truth, present = torch.randn(3, 10, 50, 12, dtype=torch.float64)
    scores = validate(forecast[None], truth, present, tiny_spec)
    rmse = (forecast - truth).square().mean(dim=(0, 1)).sqrt()
    persistence = (present - truth).square().mean(dim=(0, 1)).sqrt()
    assert float(scores["val/rmse_ratio"]) == pytest.approx(float((rmse / persistence).mean()))
    assert float(scores["val_rmse/rho"]) == pytest.approx(float(rmse[9] * tiny_spec.state.std[9]))
    assert "val/crps_ratio" not in scores


@pytest.mark.parametrize("count", [2, 5])
def test_a_perfect_ensemble(tiny_spec, count):
    """Truth and members from one N(0, 1): spread-skill 1, RMSE of the mean 1, CRPS 1 / sqrt(pi), for any number."""
    torch.manual_seed(0)
    members, truth = torch.randn(count, 20, 3000, 12), torch.randn(20, 3000, 12)
    scores = validate(members, truth, torch.zeros_like(truth), tiny_spec)
    assert float(scores["val/spread_skill"]) == pytest.approx(1, rel=0.01)
    assert float(scores["val/spread_skill_first_lead"]) == pytest.approx(1, rel=0.02)
    assert float(scores["val/rmse_ratio"]) == pytest.approx(1, rel=0.01)
    assert float(scores["val/crps_ratio"]) == pytest.approx(1 / 2**0.5, rel=0.01)  # of the mean absolute deviation


@pytest.mark.parametrize("count", [1, 3])
def test_a_variable_that_does_not_change_is_left_out_of_the_means(tiny_spec, count):
    """Frozen in time, whether it varies in space or not, or changing by rounding alone."""
    torch.manual_seed(0)
    members, truth, present = torch.randn(count, 10, 50, 12), torch.randn(10, 50, 12), torch.randn(10, 50, 12)
    present[..., :2] = truth[..., :2]
    truth[..., 1] = present[..., 1] = 0
    present[..., 2] = truth[..., 2] * (1 + 1e-8)
    present[..., 2] += 1e-7 * torch.randn(10, 50)
    scores = validate(members, truth, present, tiny_spec)
    kept = replace(tiny_spec, state=part(tiny_spec.state, slice(3, None)))
    fewer = validate(members[..., 3:], truth[..., 3:], present[..., 3:], kept)
    for name in fewer:
        if name.startswith("val/"):
            assert float(scores[name]) == pytest.approx(float(fewer[name]), rel=1e-6), name


def test_a_forecast_that_is_no_number_is_no_score(tiny_spec):
    torch.manual_seed(0)
    forecast, truth, present = torch.randn(3, 10, 50, 12)
    forecast[..., 4] = torch.nan
    assert math.isnan(validate(forecast[None], truth, present, tiny_spec)["val/rmse_ratio"])


def test_units_do_not_matter(tiny_spec):
    """Of a variable in tesla the mean and the standard deviation are tiny, and nothing else."""
    torch.manual_seed(0)
    forecast, truth, present = torch.randn(3, 10, 50, 12)
    state = tiny_spec.state
    small = replace(tiny_spec, state=replace(state, mean=1e-9 * state.mean, std=1e-9 * state.std))
    scores, same = (validate(forecast[None], truth, present, spec) for spec in (small, tiny_spec))
    assert scores["val/rmse_ratio"] == same["val/rmse_ratio"]


def test_a_window_of_large_errors_weighs_no_more_than_others_in_the_ratio_of_the_first_lead(tiny_spec):
    """Windows with half of the spread of the truth, and a hundred times larger ones with one and a half times it."""
    torch.manual_seed(0)
    size = torch.tensor([1.0, 100.0]).repeat(10)[:, None, None]
    spread = torch.tensor([0.5, 1.5]).repeat(10)[:, None, None]
    members, truth = size * spread * torch.randn(2, 20, 3000, 12), size * torch.randn(20, 3000, 12)
    scores = validate(members, truth, torch.zeros_like(truth), tiny_spec)
    assert float(scores["val/spread_skill_first_lead"]) == pytest.approx(1, rel=0.05)
    assert float(scores["val/spread_skill"]) == pytest.approx(1.5, rel=0.05)


def test_members_that_are_alike_have_no_spread(tiny_spec):
    torch.manual_seed(0)
    truth = torch.randn(20, 50, 12)
    scores = validate(torch.zeros(2, 20, 50, 12), truth, torch.zeros_like(truth), tiny_spec)
    assert float(scores["val/spread_skill_first_lead"]) == 0
