"""Scores that follow from averages over nodes and windows."""

import math

import numpy as np
import pytest
import torch

from spacecast.formulas.averages import (
    anomaly_correlation,
    changes,
    correlation,
    is_constant,
    median,
    spread_skill_ratio,
    variable_mean,
)
from spacecast.formulas.ensemble import member_variance
from spacecast.formulas.pointwise import mse

ZERO = torch.zeros(3, dtype=torch.float64)


def correlate(forecast: torch.Tensor, truth: torch.Tensor, offset: torch.Tensor = ZERO) -> torch.Tensor:
    """From fields (node, variable)."""
    f, y = forecast.double(), truth.double()
    return correlation(*(each.mean(dim=0) for each in (f, y, f.square(), y.square(), f * y)), offset=offset)


def test_correlation_is_pearsons() -> None:
    torch.manual_seed(1)
    forecast, truth = torch.randn(2, 50, 3)
    expected = [np.corrcoef(forecast[:, column], truth[:, column])[0, 1] for column in range(3)]
    np.testing.assert_allclose(correlate(forecast, truth), expected, rtol=1e-6)
    torch.testing.assert_close(correlate(truth, 3 * truth + 2), torch.ones(3).double())
    torch.testing.assert_close(correlate(truth, -truth), -torch.ones(3).double())


def test_anomaly_correlation_holds_departures_from_a_climatology_against_each_other() -> None:
    generator = torch.Generator().manual_seed(1)
    forecast, truth = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)

    def correlate_anomalies(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return anomaly_correlation(*(each.mean(dim=0) for each in (f.square(), y.square(), f * y)))

    one = torch.ones(3, dtype=torch.float64)
    expected = (forecast * truth).sum(0) / (forecast.norm(dim=0) * truth.norm(dim=0))
    torch.testing.assert_close(correlate_anomalies(forecast, truth), expected)
    torch.testing.assert_close(correlate_anomalies(3 * truth, truth), one)
    torch.testing.assert_close(correlate_anomalies(-truth, truth), -one)
    assert (correlate_anomalies(one * torch.ones(50, 1), truth).abs() < 1).all()
    assert correlate_anomalies(0 * truth, truth).isnan().all()


def test_a_constant_has_no_correlation() -> None:
    torch.manual_seed(1)
    field = torch.randn(50, 3)
    assert correlate(torch.ones(50, 3), field).isnan().all()
    assert correlate(field, torch.ones(50, 3)).isnan().all()
    assert correlate(1 + 1e-8 * field.double(), field).isnan().all()


def test_what_changes_by_rounding_alone_is_held_against_the_size_of_the_physical_value() -> None:
    """A variation of 1e-4 standard deviations is one of 1e-8 where the mean is 1e4 standard deviations."""
    square, small = torch.ones(3).double(), torch.full((3,), 1e-8).double()
    assert changes(small, square, ZERO).all()
    assert not changes(small, square, ZERO + 1e4).any()
    assert not is_constant(ZERO, small, ZERO).any()
    assert is_constant(ZERO, small, ZERO + 1e4).all()
    assert not is_constant(ZERO * math.nan, square, ZERO).any()


def test_means_over_variables_take_those_that_count() -> None:
    values = torch.tensor([1.0, math.nan, 3.0])
    assert variable_mean(values, torch.tensor([True, False, True])) == 2
    assert variable_mean(values, torch.tensor([True, True, True])).isnan()
    assert variable_mean(values, torch.tensor([False, False, False])).isnan()


@pytest.mark.parametrize("count", [2, 3, 10, 20])
def test_an_ensemble_that_the_truth_might_belong_to_has_ratio_one(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    centre = 10 * torch.randn(30000, 2, generator=generator)
    drawn = centre + torch.randn(count + 1, 30000, 2, generator=generator)
    members, truth = drawn[:-1], drawn[-1]
    variance, square = member_variance(members).mean(dim=0), mse(members.mean(dim=0), truth).mean(dim=0)
    torch.testing.assert_close(spread_skill_ratio(variance, square, count), torch.ones(2), rtol=0.02, atol=0)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_a_median_is_that_of_torch_with_and_without_missing_values(length):
    values = torch.randn(50, length, generator=torch.Generator().manual_seed(length)).round(decimals=1)
    values[::3, -1] = math.nan
    values[7] = math.nan
    torch.testing.assert_close(median(values), values.median(dim=-1).values, rtol=0, atol=0, equal_nan=True)
    skipped, expected = median(values, skip_missing=True), values.nanmedian(dim=-1).values
    torch.testing.assert_close(skipped, expected, rtol=0, atol=0, equal_nan=True)
