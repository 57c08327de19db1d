"""What holds for a forecast by construction."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spacecast.nn.update import make_update

EVERYTHING = {"magnetic": "potential", "electric": "ideal", "state_law": "project"}


@pytest.fixture(scope="session")
def spec(tiny_spec):
    """A plasma with the right signs and sizes, and a range on each node."""
    mean = np.array([1, 2, -3, 0.1, 0.2, -0.1, -400, 5, -5, 4, 0.3, 2], dtype=np.float32)
    std = np.array([9, 3, 7, 0.5, 0.6, 0.7, 90, 40, 50, 3, 0.2, 1.5], dtype=np.float32)
    state = replace(tiny_spec.state, mean=mean, std=std)
    ones = np.ones((tiny_spec.num_nodes, 1), dtype=np.float32)
    lower, upper = ones * (mean - 2 * std), ones * (mean + 2 * std)
    lower[:, 9:] = 0.01 * mean[9:]
    spec = replace(tiny_spec, state=state, diff_mean=0.01 * std, diff_std=0.05 * std, lower=lower, upper=upper)
    return replace(spec, boundary=spec.grid.positions[:, 0] > 11)


def physical(spec, state):
    """By name, in double precision."""
    values = state.double() * torch.as_tensor(spec.state.std) + torch.as_tensor(spec.state.mean)
    return dict(zip(spec.state.names, values.unbind(-1), strict=True))


def field_of(spec, seed=0, batch=2):
    """Standardised states in which B in the plane is a curl, to rounding errors."""
    generator = torch.Generator().manual_seed(seed)
    state = 0.5 * torch.randn(batch, spec.num_nodes, 12, generator=generator)
    potential = 30 * torch.randn(batch, *spec.grid.shape, generator=generator, dtype=torch.float64)
    for component, name in zip(spec.grid.curl(potential), spec.grid.components("B"), strict=True):
        column = spec.state.index(name)
        nodes = component.flatten(-2)[..., spec.grid.cells]
        state[..., column] = (nodes - float(spec.state.mean[column])) / float(spec.state.std[column])
    return state


def div(spec, state):
    """On every stencil node, nT/R_E."""
    values = physical(spec, state)
    return spec.grid.divergence(*(values[name] for name in spec.grid.components("B")))


def rolled_out(spec, update, steps, size=1.0, drive=True):
    """The state after so many steps of random outputs, driven at the boundary."""
    torch.manual_seed(1)
    previous = state = field_of(spec)
    driven = torch.as_tensor(spec.boundary)
    for step in range(steps):
        output = size * torch.randn(state.shape[0] * spec.num_nodes, update.outputs)
        new = update.step(output, previous, state).state
        previous, state = state, update.drive(new, field_of(spec, seed=step), driven) if drive else new
    return state


@pytest.mark.parametrize("options", [{}, {"smooth": "always"}, {"guard": 0.5}, {"trend": 0.5}, EVERYTHING], ids=str)
def test_the_divergence_of_a_forecast_stays_at_rounding_errors_everywhere(spec, options):
    update = make_update(spec, **{"magnetic": "potential", **options})
    assert div(spec, field_of(spec)).abs().max() < 1e-5
    assert div(spec, rolled_out(spec, update, 100, size=0.3)).abs().max() < 1e-5
