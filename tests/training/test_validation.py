"""Scores of the validation: unbiased for the distribution that the members are drawn from."""

import pytest
import torch

from spacecast.training.validation import ValidationSums, summary


def validate(members, truth, present, spec):
    sums = ValidationSums(1, 12)
    for part in (slice(0, 3), slice(3, None)):
        sums.add(0, members[:, part], truth[part], present[part])
    std = torch.as_tensor(spec.state.std)
    return summary(sums.means(sums.flat()), std, spec.state.names, ensemble=len(members) > 1)


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
    assert float(scores["val/rmse_ratio"]) == pytest.approx(1, rel=0.01)
    assert float(scores["val/crps_ratio"]) == pytest.approx(1 / 2**0.5, rel=0.01)  # of the mean absolute deviation
