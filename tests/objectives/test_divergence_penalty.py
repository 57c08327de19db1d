"""The divergence penalty against closed forms and plain loops."""

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.forecast.standardize import Standardizer
from spacecast.objectives.divergence_penalty import DivergencePenalty


def standardized(spec, bx, bz):
    """Standardised states with a magnetic field in nT on the nodes."""
    physical = torch.zeros(spec.num_nodes, len(spec.state))
    physical[:, spec.state.index("Bx")] = torch.as_tensor(bx, dtype=torch.float32)
    physical[:, spec.state.index("Bz")] = torch.as_tensor(bz, dtype=torch.float32)
    return Standardizer(spec).state(physical)


def test_a_field_without_divergence_costs_nothing(tiny_spec):
    """However unlike the statistics of Bx and Bz are."""
    x, z = tiny_spec.grid.positions.T
    penalty = DivergencePenalty(tiny_spec)
    assert float(penalty(standardized(tiny_spec, 3 * x + 2 * z, x - 3 * z))) < 1e-8
    assert float(penalty(standardized(tiny_spec, 3 * x, 3 * z))) > 1e-2


def test_linear_field_in_closed_form(tiny_spec):
    """dBx/dx + dBz/dz = a + b everywhere."""
    x, z = tiny_spec.grid.positions.T
    pair = tiny_spec.state.indices(["Bx", "Bz"])
    scale = np.sqrt((tiny_spec.diff_std[pair] ** 2).mean())
    expected = ((2.0 + 0.5) * min(tiny_spec.grid.spacing) / scale) ** 2
    found = DivergencePenalty(tiny_spec)(standardized(tiny_spec, 2 * x, 0.5 * z))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_an_error_of_one_increment_costs_about_one(tiny_spec):
    """White noise of the size of the increments costs (1 / dx^2 + 1 / dz^2) cell^2 / 2, which is 1 for squares."""
    torch.manual_seed(0)
    pair = tiny_spec.state.indices(["Bx", "Bz"])
    scale = float(np.sqrt((tiny_spec.diff_std[pair] ** 2).mean()))
    fields = torch.stack([standardized(tiny_spec, *(scale * torch.randn(2, tiny_spec.num_nodes))) for _ in range(300)])
    dx, dz = tiny_spec.grid.spacing
    expected = 0.5 * min(dx, dz) ** 2 * (1 / dx**2 + 1 / dz**2)
    assert float(DivergencePenalty(tiny_spec)(fields)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("reduction", ["mean", "reference"])
def test_a_plain_loop_over_cells_agrees(tiny_spec, reduction):
    torch.manual_seed(1)
    states = torch.randn(2, tiny_spec.num_nodes, len(tiny_spec.state))
    grid, physical = tiny_spec.grid, Standardizer(tiny_spec).state_to_physical(states)
    source, fill = (physical, np.nan) if reduction == "mean" else (states, 0.0)
    bx, bz = (grid.to_field(source[..., i].numpy(), fill) for i in tiny_spec.state.indices(["Bx", "Bz"]))
    dx, dz = grid.spacing
    squares = []
    for i in range(1, grid.shape[0] - 1):
        for j in range(1, grid.shape[1] - 1):
            value = (bx[:, i + 1, j] - bx[:, i - 1, j]) / (2 * dx) + (bz[:, i, j + 1] - bz[:, i, j - 1]) / (2 * dz)
            inside = ~np.isnan(value).any() and grid.valid[i, j]
            if inside if reduction == "mean" else grid.distance[i, j] > 4:
                squares.append(value**2)
    expected = np.mean(squares)
    if reduction == "mean":
        pair = tiny_spec.state.indices(["Bx", "Bz"])
        expected *= min(grid.spacing) ** 2 / (tiny_spec.diff_std[pair] ** 2).mean()
    found = DivergencePenalty(tiny_spec, reduction=reduction)(states)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_it_needs_both_components(tiny_spec):
    import dataclasses

    names = tuple("B" if name == "Bx" else name for name in tiny_spec.state.names)
    state = FeatureSpec(names, tiny_spec.state.units, tiny_spec.state.mean, tiny_spec.state.std)
    with pytest.raises(UserError, match="no variable 'Bx'"):
        DivergencePenalty(dataclasses.replace(tiny_spec, state=state))
