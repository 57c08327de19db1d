"""The equations as numbers of order one: against the formulas, in any units, with finite gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spacecast.core.spec import FeatureSpec
from spacecast.formulas.mhd import Fields, ideal_rates, slope_weights, slopes
from spacecast.nn.tendencies import FLOOR, Squash, Tendencies

SI = {"nT": ("T", 1e-9), "mV/m": ("V/m", 1e-3), "km/s": ("m/s", 1e3), "1/cm3": ("m-3", 1e6), "nPa": ("Pa", 1e-9)}
SI |= {"MK": ("K", 1e6)}


@pytest.fixture(scope="module")
def spec(tiny_spec):
    """Data with the mean and the size of plasma."""
    mean = np.array([0.5, -1, 3, 0, 0.3, 0, -250, 1, 2, 3, 0.2, 4])
    std = np.array([9, 5, 12, 1, 2, 1, 180, 60, 90, 4, 0.3, 5])
    state = replace(tiny_spec.state, mean=mean, std=std)
    return replace(tiny_spec, state=state, diff_std=(0.1 * std * np.linspace(0.5, 2, 12)).astype(np.float32))


@pytest.fixture(scope="module")
def state(spec):
    """Physical values, shape (2, node, state), float64."""
    rng = np.random.default_rng(3)
    values = spec.state.mean + 0.5 * spec.state.std * rng.normal(size=(2, spec.num_nodes, 12))
    values[..., 9:] = spec.state.mean[9:] * np.exp(rng.normal(size=values[..., 9:].shape))
    return torch.as_tensor(values)


def standardised(spec, values):
    mean, std = (torch.as_tensor(each.astype(np.float64)) for each in (spec.state.mean, spec.state.std))
    return (values - mean) / std


def column(spec, values, name):
    return values[..., spec.state.index(name)]


def test_they_are_the_rates_over_a_step_in_units_of_the_data(spec, state):
    found = Tendencies(spec).double()(standardised(spec, state))
    sizes = {name: float(size) for name, size in zip(spec.state.names, spec.diff_std, strict=True)}
    n, p, t = (column(spec, state, name) for name in ("rho", "P", "T"))
    vectors = [column(spec, state, f"{field}{axis}") for field in "vB" for axis in "xyz"]
    rows = torch.stack([n.log(), p.log(), *vectors])
    neighbours = torch.as_tensor(spec.grid.neighbours)
    along = slopes(rows, neighbours, slope_weights(neighbours, spec.grid.spacing).double())
    rates = ideal_rates(*(Fields(each[0], each[1], each[2:5], each[5:]) for each in (rows, *along)))
    cell = np.mean(spec.grid.spacing)
    field = np.sqrt((sizes["Bx"] ** 2 + sizes["Bz"] ** 2) / 2)
    flow = np.sqrt((sizes["vx"] ** 2 + sizes["vz"] ** 2) / 2) / 6371 / cell
    mean = dict(zip(spec.state.names, spec.state.mean, strict=True))
    wanted = [10 * rates.log_density / (sizes["rho"] / mean["rho"]), 10 * rates.log_pressure / (sizes["P"] / mean["P"])]
    wanted += [10 * rate / sizes[f"v{axis}"] for rate, axis in zip(rates.velocity, "xyz", strict=True)]
    wanted += [10 * rate / sizes[f"B{axis}"] for rate, axis in zip(rates.magnetic, "xyz", strict=True)]
    wanted += [10 * rates.potential / (field * cell), rates.compression / flow, rates.current / (field / cell)]
    logarithms = [(value / mean[name]).log() for name, value in (("rho", n), ("P", p), ("T", t))]
    wanted = torch.cat([torch.stack(wanted).asinh(), torch.stack(logarithms)]).movedim(0, -1)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_they_are_the_same_in_other_units(spec, state):
    factors = np.array([SI[unit][1] for unit in spec.state.units])
    units = tuple(SI[unit][0] for unit in spec.state.units)
    other = FeatureSpec(spec.state.names, units, spec.state.mean * factors, spec.state.std * factors)
    other = replace(spec, state=other, diff_std=(spec.diff_std * factors).astype(np.float32))
    inputs = standardised(spec, state).float()
    torch.testing.assert_close(Tendencies(other)(inputs), Tendencies(spec)(inputs), rtol=1e-4, atol=1e-4)


def test_they_do_not_depend_on_the_order_of_the_variables(spec, state):
    order = np.random.default_rng(1).permutation(12)
    names, units = (tuple(each[i] for i in order) for each in (spec.state.names, spec.state.units))
    shuffled = FeatureSpec(names, units, spec.state.mean[order], spec.state.std[order])
    other = replace(spec, state=shuffled, diff_std=spec.diff_std[order])
    inputs = standardised(spec, state).float()
    torch.testing.assert_close(Tendencies(other)(inputs[..., order]), Tendencies(spec)(inputs))


def test_each_item_of_a_batch_is_by_itself(spec, state):
    inputs, tendencies = standardised(spec, state).float(), Tendencies(spec)
    torch.testing.assert_close(tendencies(inputs)[1:], tendencies(inputs[1:]))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e-12])
def test_values_and_gradients_are_finite_at_and_below_the_floors(spec, state, value):
    empty = state.clone()
    empty[:, ::2, 9:] = value
    empty[:, ::3, :9] = 0
    inputs = standardised(spec, empty).float().requires_grad_()
    found = Tendencies(spec)(inputs)
    found.square().sum().backward()
    assert found.isfinite().all()
    assert inputs.grad.isfinite().all()
    torch.testing.assert_close(found[:, ::2, -3:], torch.full_like(found[:, ::2, -3:], np.log(FLOOR)))


def test_gradients_are_those_of_the_formulas(spec, state):
    inputs = standardised(spec, state)[:1, :].requires_grad_()
    assert torch.autograd.gradcheck(Tendencies(spec).double(), (inputs,), fast_mode=True)


def test_the_squash_is_the_inverse_hyperbolic_sine():
    values = torch.tensor([-3e4, -1, -1e-5, 0, 2e-4, 0.5, 7, 1e15], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(Squash.apply(values), values.asinh(), atol=1e-10, rtol=1e-6)
    torch.testing.assert_close(Squash.apply(values.float()), values.asinh().float(), atol=2e-7, rtol=1e-5)
    slopes_of = [torch.autograd.grad(each.sum(), values)[0] for each in (Squash.apply(values), values.asinh())]
    torch.testing.assert_close(*slopes_of)


def test_the_squash_is_finite_for_whatever_is_finite():
    values = torch.tensor([-3e38, 1e20, 1e18], requires_grad=True)
    squashed = Squash.apply(values)
    squashed.sum().backward()
    assert squashed.isfinite().all()
    assert values.grad.isfinite().all()


def test_data_of_which_no_frame_has_been_seen_are_no_obstacle(spec):
    """Data that are planned have means of 0 and standard deviations of 1."""
    plain = FeatureSpec(spec.state.names, spec.state.units, np.zeros(12), np.ones(12))
    planned = replace(spec, state=plain, diff_std=np.ones(12, dtype=np.float32))
    assert Tendencies(planned)(torch.randn(1, spec.num_nodes, 12)).isfinite().all()
