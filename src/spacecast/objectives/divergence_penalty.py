"""Penalty on the divergence of the magnetic field."""

import functools
import operator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.formulas.pointwise import Reduction

INNER_RADIUS = 4.0  # R_E; the reference leaves out what is closer to Earth


class DivergencePenalty(nn.Module):
    """Mean squared div B, non-dimensional: mean of (div B * cell size / scale)^2.

    In physical units, by central differences, on the nodes that have all neighbours. One scale serves all components,
    the root mean square of their one-step increments, so that the penalty vanishes exactly where div B does, and a
    random error of one increment's size costs about 1.

    Args:
        spec: facts of the data; must have B along each axis, Bx and Bz on the plane.
        reduction: `reference` is the published definition instead: of standardised components, in units of 1 / R_E,
            outside of 4 R_E, with zeros inside Earth.
    """

    sides: Tensor

    def __init__(self, spec: DataSpec, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.components = spec.state.indices(spec.grid.components("B"))
        self.reference = reduction == "reference"
        spacing = np.asarray(spec.grid.spacing)
        if self.reference:
            stencil, factors = zero_filled_stencil(spec.grid), 1 / (2 * spacing)
        else:
            scale = (spec.diff_std[self.components] ** 2).mean() ** 0.5
            stencil = spec.grid.stencil[1:]
            factors = spec.state.std[self.components] / (2 * spacing) * spacing.min() / scale
        self.factors = list(map(float, factors))
        self.register_buffer("sides", torch.as_tensor(stencil).unflatten(0, (-1, 2)), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Standardised states (..., node, state) to a scalar."""
        slopes = []
        for index, factor, (after, before) in zip(self.components, self.factors, self.sides, strict=True):
            values = states[..., index].to(torch.float32)
            if self.reference:
                values = functional.pad(values, (0, 1))
            slopes.append(factor * (values.index_select(-1, after) - values.index_select(-1, before)))
        return functools.reduce(operator.add, slopes).square().mean()


def zero_filled_stencil(grid: Grid) -> np.ndarray:
    """The +x, -x, +z, -z neighbours of cells off the edge and beyond 4 R_E; one past the last node inside Earth.

    Shape (2 axis, inner).
    """
    number = np.full(grid.shape, grid.num_nodes)
    number.ravel()[grid.cells] = np.arange(grid.num_nodes)
    outside = grid.distance > INNER_RADIUS
    for axis in range(outside.ndim):
        np.moveaxis(outside, axis, 0)[[0, -1]] = False
    return np.stack([np.roll(number, -step, axis)[outside] for axis in range(outside.ndim) for step in (1, -1)])
