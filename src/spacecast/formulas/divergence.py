"""Penalty on the divergence of the magnetic field."""

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

    In physical units, by central differences, on the nodes that have all four neighbours. One scale serves Bx and Bz,
    the root mean square of the one-step increments of both, so that the penalty vanishes exactly where div B does, and
    a random error of one increment's size costs about 1.

    Args:
        spec: facts of the data; must have Bx and Bz.
        reduction: `reference` is the published definition instead: of standardised components, in units of 1 / R_E,
            outside of 4 R_E, with zeros inside Earth.
    """

    neighbours: Tensor

    def __init__(self, spec: DataSpec, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.components = spec.state.indices(["Bx", "Bz"])
        self.reference = reduction == "reference"
        spacing = np.asarray(spec.grid.spacing)
        if self.reference:
            stencil, factors = zero_filled_stencil(spec.grid), 1 / (2 * spacing)
        else:
            scale = (spec.diff_std[self.components] ** 2).mean() ** 0.5
            stencil = spec.grid.stencil[1:]
            factors = spec.state.std[self.components] / (2 * spacing) * spacing.min() / scale
        self.along_x, self.along_z = map(float, factors)
        self.register_buffer("neighbours", torch.as_tensor(stencil), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Standardised states (..., node, state) to a scalar."""
        bx, bz = (states[..., index].to(torch.float32) for index in self.components)
        if self.reference:
            bx, bz = functional.pad(bx, (0, 1)), functional.pad(bz, (0, 1))
        east, west, north, south = self.neighbours
        along_x = bx.index_select(-1, east) - bx.index_select(-1, west)
        along_z = bz.index_select(-1, north) - bz.index_select(-1, south)
        return (self.along_x * along_x + self.along_z * along_z).square().mean()


def zero_filled_stencil(grid: Grid) -> np.ndarray:
    """The +x, -x, +z, -z neighbours of cells off the edge and beyond 4 R_E; one past the last node inside Earth.

    Shape (4, inner).
    """
    number = np.full(grid.shape, grid.num_nodes)
    number.ravel()[grid.cells] = np.arange(grid.num_nodes)
    outside = np.hypot(grid.x[1:-1, None], grid.z[None, 1:-1]) > INNER_RADIUS
    around = (number[2:, 1:-1], number[:-2, 1:-1], number[1:-1, 2:], number[1:-1, :-2])
    return np.stack([each[outside] for each in around])
