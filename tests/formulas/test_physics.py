"""Laws of the plasma and positions of its boundaries, on fields of which they are known."""

import math

import numpy as np
import pytest
import torch

from spacecast.formulas import physics


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_residuals_vanish_for_an_ideal_gas_in_ideal_magnetohydrodynamics():
    # 1/cm3 at 1 MK: 1e6 m^-3 x 1.380649e-23 J/K x 1e6 K = 1.380649e-11 Pa
    assert physics.pressure_residual(double(0.01380649), double(1.0), double(1.0)).abs() < 1e-15
    velocity, magnetic = double(-400.0, 30.0, 20.0), double(2.0, 1.0, -5.0)
    electric = double(*(-1e-3 * np.cross(velocity, magnetic)))
    assert physics.electric_residual(electric, velocity, magnetic).abs().max() < 1e-15
    # the dawn-dusk field of a wind of 400 km/s in 5 nT southward is 2 mV/m, towards dusk
    assert electric[1] == pytest.approx(-1e-3 * (20 * 2.0 - -400.0 * -5.0))


def test_residuals_are_in_the_units_of_the_field():
    assert physics.pressure_residual(double(1.5), double(0.0), double(7.0)) == 1.5
    still = torch.zeros(4, 3, dtype=torch.float64)
    electric = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(physics.electric_residual(electric, still, electric), electric)


def test_beta_of_a_known_plasma():
    # 1 nPa in 50 nT: B^2 / 2 mu0 = 0.99472 nPa
    assert physics.plasma_beta(double(1.0), double([0.0, 30.0, 40.0])) == pytest.approx(1 / 0.994718, rel=1e-5)
    assert physics.plasma_beta(double(1.0), double([0.0, 0.0])) == math.inf


def test_extrapolation_is_exact_for_what_changes_uniformly():
    start, slope = torch.randn(5, 3), torch.randn(5, 3)
    ahead = physics.extrapolate(start - slope, start, 7)
    torch.testing.assert_close(ahead, start + 7 * slope)


def test_analytic_surfaces_have_their_standoff_and_flare():
    cosine = double(1.0, 0.0, -1.0)
    pause = physics.magnetopause_distance(cosine, 10.0, 0.5)
    torch.testing.assert_close(pause, double(10.0, 10 * math.sqrt(2), math.inf))
    ellipse = physics.bow_shock_distance(cosine, 15.0, 0.8)
    torch.testing.assert_close(ellipse, double(15.0, 27.0, 135.0))
    hyperbola = physics.bow_shock_distance(cosine, 15.0, 1.2)
    torch.testing.assert_close(hyperbola, double(15.0, 33.0, math.inf))


@pytest.mark.parametrize("place", [14.0, 14.2, 14.5, 14.9])
@pytest.mark.parametrize("step", [0.25, 0.5, 1.0, 1.5])
def test_a_smooth_shock_is_found_to_a_tenth_of_a_cell(place, step):
    x = torch.arange(6, 30, step, dtype=torch.float64)
    density = 1 + 2.5 / (1 + torch.exp((x - place) / (0.6 * step)))
    density = density * torch.where(x < 9, 0.2, 1.0)  # the magnetosphere, at a steeper fall
    assert physics.shock_position(density, x) == pytest.approx(place, abs=0.1 * step)


def test_a_wind_without_a_shock_or_a_broken_forecast_has_none():
    x = torch.arange(6, 30, 0.5, dtype=torch.float64)
    waves = 1 + 0.18 * torch.sin(x)  # rises to 1.18 / 0.82 < 1.5 times itself
    constant = torch.ones_like(x)
    shock = torch.where(x < 15, 3.5, 1.0)
    broken = torch.where(x == 20, math.nan, shock)
    positions = physics.shock_position(torch.stack([waves, constant, -shock, broken, shock]), x)
    assert positions.isnan().tolist() == [True, True, True, True, False]
    assert positions[-1] == pytest.approx(14.75)


def test_the_reversal_is_the_first_and_linear_between_cells():
    x = torch.arange(4, 20, 1.5, dtype=torch.float64)
    straight = 9.1 - x
    assert physics.reversal_position(straight, x) == pytest.approx(9.1, abs=1e-12)
    wavy = torch.where(x > 12, straight.abs(), straight)
    assert physics.reversal_position(wavy, x) == pytest.approx(9.1, abs=1e-12)


def test_a_field_that_does_not_turn_has_no_reversal():
    x = torch.arange(4, 20, 1.0, dtype=torch.float64)
    northward, southward, broken = torch.ones_like(x), -torch.ones_like(x), 9.1 - x
    broken[10] = math.nan
    assert physics.reversal_position(torch.stack([northward, southward, broken]), x).isnan().all()


def test_the_range_of_flux_is_the_integral_between_zeros_of_the_field():
    x = torch.linspace(-60, -10, 501, dtype=torch.float64)
    field = torch.sin(2 * math.pi * x / 25)
    # half a wave of 25 R_E carries 2 x 25 / (2 pi)
    assert physics.flux_range(field, 0.1) == pytest.approx(25 / math.pi, rel=1e-3)
    fields = torch.stack([field, -field, 0 * field, 0 * field + 2])
    torch.testing.assert_close(
        physics.flux_range(fields, 0.1), double(25 / math.pi, 25 / math.pi, 0.0, 100.0), rtol=1e-3, atol=1e-12
    )
