"""Losses of single entries against closed forms, quadrature and torch's distributions."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from spacecast.formulas.pointwise import LOSSES, kl_gauss


@pytest.fixture
def entries():
    torch.manual_seed(0)
    forecast, truth = torch.randn(2, 3, 50, 4, dtype=torch.float64)
    return forecast, truth, torch.rand(4, dtype=torch.float64) + 0.3


def test_by_hand():
    x, y, s = torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([4.0])
    assert {name: float(LOSSES[name](x, y, s)) for name in ("mse", "mae", "wmse", "wmae")} == {
        "mse": 4.0,
        "mae": 2.0,
        "wmse": 0.25,
        "wmae": 0.5,
    }


def test_huber_is_quadratic_up_to_one_deviation_and_linear_beyond():
    truth, std = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([2.0, 2.0, 2.0, 0.5])
    forecast = torch.tensor([2.0, -1.0, 7.0, 1.25], requires_grad=True)
    losses = LOSSES["huber"](forecast, truth, std)
    assert losses.tolist() == [0.25, 1.0, 5.0, 0.25]  # errors of 1/2, 1, 3 and 1/2 deviations
    losses.sum().backward()
    assert forecast.grad.tolist() == [0.5, -1.0, 1.0, 2.0]


def test_nll_is_that_of_a_gaussian(entries):
    forecast, truth, std = entries
    torch.testing.assert_close(LOSSES["nll"](forecast, truth, std), -Normal(forecast, std).log_prob(truth))


def test_crps_gauss_is_the_integral_over_thresholds(entries):
    """Integral of (F(t) - [t >= y])^2 dt."""
    forecast, truth, std = (each.expand(3, 50, 4)[0, :5] for each in entries)
    threshold = torch.linspace(-12, 12, 200_001, dtype=torch.float64)[:, None, None]
    difference = Normal(forecast, std).cdf(threshold) - (threshold >= truth).double()
    integral = torch.trapezoid(difference.square(), threshold[:, 0, 0], dim=0)
    torch.testing.assert_close(LOSSES["crps_gauss"](forecast, truth, std), integral, rtol=1e-3, atol=1e-4)


def test_crps_gauss_tends_to_the_absolute_error():
    forecast, truth = torch.tensor([1.0, -2.0]).double(), torch.tensor([3.0, 0.5]).double()
    torch.testing.assert_close(
        LOSSES["crps_gauss"](forecast, truth, torch.tensor(1e-9).double()), (forecast - truth).abs()
    )
    at_centre = LOSSES["crps_gauss"](truth, truth, torch.tensor(2.0).double())
    torch.testing.assert_close(at_centre, torch.full_like(truth, 2 * (math.sqrt(2) - 1) / math.sqrt(math.pi)))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_point_from_the_truth_to_the_forecast(name):
    forecast = torch.tensor([2.0, -2.0], requires_grad=True)
    LOSSES[name](forecast, torch.zeros(2), torch.ones(2)).sum().backward()
    assert forecast.grad[0] > 0 > forecast.grad[1]


def test_kl_is_that_of_torch_and_vanishes_for_equal_distributions():
    torch.manual_seed(0)
    mean, prior_mean = torch.randn(2, 3, 7, dtype=torch.float64)
    std, prior_std = torch.rand(2, 3, 7, dtype=torch.float64) + 0.1
    expected = kl_divergence(Normal(mean, std), Normal(prior_mean, prior_std))
    torch.testing.assert_close(kl_gauss(mean, std, prior_mean, prior_std), expected)
    torch.testing.assert_close(kl_gauss(mean, std, mean, std), torch.zeros_like(mean))
    assert (kl_gauss(mean, std, prior_mean, prior_std) >= 0).all()
