"""The next state, its scale and its limits."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from spacecast.core.errors import UserError
from spacecast.core.spec import NON_NEGATIVE, FeatureSpec
from spacecast.nn.update import OutputClamp, StateUpdate, inverse_sigmoid, inverse_softplus, make_clamp

LOWER = {"rho": 0.0, "P": 0.01, "vz": -60.0}
UPPER = {"vz": 90.0, "By": 100.0}


def test_inverse_functions_round_trip():
    values = torch.cat([torch.logspace(-5, 1.3, 50), torch.tensor([25.0, 300.0])]).double()
    torch.testing.assert_close(functional.softplus(inverse_softplus(values)), values)
    shares = torch.linspace(1e-4, 1 - 1e-4, 50, dtype=torch.float64)
    torch.testing.assert_close(torch.sigmoid(inverse_sigmoid(shares)), shares)


@pytest.mark.parametrize("function", [inverse_softplus, inverse_sigmoid])
def test_inverse_functions_are_finite_outside_of_their_range(function):
    values = torch.tensor([-1.0, 0.0, 1e-9, 1.0, 2.0], requires_grad=True)
    result = function(values)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert torch.isfinite(values.grad).all()


@pytest.fixture
def clamp(tiny_spec):
    return OutputClamp(tiny_spec.state, LOWER, UPPER)


def standardized(spec, name, value):
    index = spec.state.index(name)
    return (value - float(spec.state.mean[index])) / float(spec.state.std[index])


def inside(spec):
    """States with every limited variable within its limits."""
    torch.manual_seed(0)
    state = torch.randn(2, 7, len(spec.state))
    for name, low, high in (("rho", 0.5, 5), ("P", 0.5, 5), ("vz", -50, 80), ("By", 20, 90)):
        physical = torch.empty(2, 7).uniform_(low, high)
        state[..., spec.state.index(name)] = standardized(spec, name, physical)
    return state


def test_no_increment_leaves_the_state_alone(tiny_spec, clamp):
    state = inside(tiny_spec)
    torch.testing.assert_close(clamp(state, torch.zeros_like(state)), state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_limits_hold_whatever_the_increment(tiny_spec, clamp, size):
    state = inside(tiny_spec)
    new = clamp(state, size * torch.randn_like(state))
    for limits, sign in ((LOWER, 1), (UPPER, -1)):
        for name, limit in limits.items():
            bound = standardized(tiny_spec, name, limit)
            assert (sign * (new[..., tiny_spec.state.index(name)] - bound) >= -1e-5 * (1 + abs(bound))).all(), name


def test_variables_without_limits_are_plain_sums(tiny_spec, clamp):
    state, increment = inside(tiny_spec), torch.randn(2, 7, len(tiny_spec.state))
    free = [i for i, name in enumerate(tiny_spec.state.names) if name not in LOWER.keys() | UPPER.keys()]
    torch.testing.assert_close(clamp(state, increment)[..., free], (state + increment)[..., free])


def test_far_from_a_single_limit_the_clamp_is_a_plain_sum(tiny_spec, clamp):
    state = inside(tiny_spec)
    index = tiny_spec.state.index("rho")
    state[..., index] = standardized(tiny_spec, "rho", 0.0) + 50.0
    increment = torch.randn_like(state)
    torch.testing.assert_close(clamp(state, increment)[..., index], (state + increment)[..., index])


def test_gradients_are_finite_beyond_the_limits(tiny_spec, clamp):
    state = (10 * torch.randn(3, 4, len(tiny_spec.state))).requires_grad_()
    increment = (10 * torch.randn(3, 4, len(tiny_spec.state))).requires_grad_()
    clamp(state, increment).square().sum().backward()
    assert torch.isfinite(state.grad).all()
    assert torch.isfinite(increment.grad).all()


def test_wrong_limits_are_refused(tiny_spec):
    with pytest.raises(UserError, match="limits of P: lower 2 is not below upper 1"):
        OutputClamp(tiny_spec.state, {"P": 2.0}, {"P": 1.0})
    with pytest.raises(UserError, match=r"no variable 'Rho'; did you mean 'rho'\?"):
        OutputClamp(tiny_spec.state, {"Rho": 0.0})


def test_increments_are_in_units_of_the_one_step_differences():
    mean, std = torch.tensor([0.1, -0.2]), torch.tensor([2.0, 3.0])
    state, previous, output = torch.randn(3, 4, 5, 2)
    scaled = StateUpdate(mean, std)(output, previous, state)
    torch.testing.assert_close(scaled, state + output * std + mean)
    torch.testing.assert_close(StateUpdate(mean, std, scale_increments=False)(output, previous, state), state + output)
    with_trend = StateUpdate(mean, std, trend=0.5)(output, previous, state)
    torch.testing.assert_close(with_trend, scaled + 0.5 * (state - previous))


def plasma(names, mean, std):
    return FeatureSpec(tuple(names), ("1",) * len(names), np.asarray(mean), np.asarray(std))


@pytest.mark.parametrize("mean", [1e-12, 0.3, 7.0, 1e6])
@pytest.mark.parametrize("ratio", [1e-3, 0.7, 30.0])
def test_nonnegative_forecasts_are_so_in_physical_units_to_the_last_bit(mean, ratio):
    """Whatever the rounding of a conversion there and back makes of them, and after many steps."""
    state = plasma(NON_NEGATIVE, [mean, mean, mean], [ratio * mean, mean, 3 * mean])
    clamp = make_clamp(state, "nonnegative")
    std, average = torch.as_tensor(state.std), torch.as_tensor(state.mean)
    new = (torch.rand(500, 3) * 2 * average - average) / std
    for size in (-0.1, -3.0, -100.0, -1e4):
        new = clamp(new, size * torch.rand_like(new))
        assert (new * std + average >= 0).all()
        assert (torch.addcmul(average, new, std) >= 0).all()
        assert (new >= (0 - average) / std).all()


def test_nonnegative_leaves_out_what_is_absent_or_of_another_kind():
    found = {
        names: make_clamp(plasma(names, mean, [1.0] * len(names)), "nonnegative")
        for names, mean in ((("Bx", "T", "rho"), (-5.0, 1.0, 2.0)), (("T", "P"), (2.0, -3.0)), (("Bx",), (1.0,)))
    }
    limited = {names: clamp and clamp.lower_index.tolist() for names, clamp in found.items()}
    assert limited == {("Bx", "T", "rho"): [1, 2], ("T", "P"): [0], ("Bx",): None}
    assert make_clamp(plasma(("T",), [1.0], [1.0])) is None
    with pytest.raises(UserError, match=r"model\.lower=positive: expected limits by variable name, or 'nonnegative'"):
        make_clamp(plasma(("T",), [1.0], [1.0]), "positive")


def test_an_upper_limit_of_its_own_goes_with_nonnegative():
    clamp = make_clamp(plasma(("T", "rho"), [1.0, 1.0], [1.0, 1.0]), "nonnegative", {"T": 2.0})
    assert (clamp.both_index.tolist(), clamp.lower_index.tolist()) == ([0], [1])
    held = clamp.hold(torch.tensor([[-9.0, -9.0], [9.0, 9.0]]))
    torch.testing.assert_close(held, torch.tensor([[-1.0, -1.0], [1.0, 9.0]]))
