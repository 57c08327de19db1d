"""Where forecast cells meet cells that the truth drives: the magnetic field there, without divergence."""

import numpy as np
import torch
from scipy import sparse
from scipy.ndimage import binary_dilation
from scipy.sparse.linalg import splu
from torch import Tensor, nn

from spacecast.core.grid import Grid

REACH = 8  # cells beside the driven ones over which a flux that does not match may leave
RIDGE = 1e-12  # added to a matrix that may be singular where driven cells enclose forecast ones


class Seam(nn.Module):
    """The smallest change of B on forecast cells that leaves its divergence as it was before others were driven.

    Stencils that reach from forecast to driven cells see a jump when true values are put on the latter. The change of B
    on forecast cells up to `REACH` from there that makes up for it, the smallest by least squares, is linear in the
    jump: one matrix. Double precision, for it has to be as good as rounding.

    Args:
        grid: the nodes.
        driven: True on the driven nodes, shape (node,).
        std: of the components of B along the axes, by which they are standardised, in one unit.

    Attributes:
        nodes: forecast nodes that change.
    """

    nodes: Tensor
    mixed: Tensor
    weights: Tensor
    matrix: Tensor

    def __init__(self, grid: Grid, driven: np.ndarray, std: np.ndarray) -> None:
        super().__init__()
        differences = divergence_matrix(grid)
        near = grid.to_field(driven, fill=0.0) > 0
        near = grid.to_nodes(binary_dilation(near, np.ones([3] * near.ndim), REACH)) & ~driven
        of_near, of_driven = np.tile(near, len(grid.axes)), np.tile(driven, len(grid.axes))
        touches_driven = np.abs(differences[:, of_driven]).sum(axis=1) > 0
        mixed = touches_driven & (np.abs(differences[:, ~of_driven]).sum(axis=1) > 0)
        rows = mixed | (np.abs(differences[:, of_near]).sum(axis=1) > 0)
        part = differences[rows][:, of_near]
        jumps = np.zeros((int(rows.sum()), int(mixed.sum())))
        jumps[np.flatnonzero(mixed[rows]), np.arange(jumps.shape[1])] = 1
        ridge = RIDGE * sparse.eye_array(part.shape[0])
        solved = splu((part @ part.T + ridge).tocsc()).solve(jumps) if mixed.any() else jumps
        scale = np.repeat(np.asarray(std, dtype=np.float64), int(near.sum()))
        self.register_buffer("nodes", torch.as_tensor(np.flatnonzero(near)), persistent=False)
        self.register_buffer("mixed", torch.as_tensor(grid.stencil[1:, mixed]), persistent=False)
        # a mixed stencil takes what driven nodes have; forecast nodes count for nothing
        sizes = np.repeat(grid.spacing, 2)[:, None] * np.tile([2.0, -2.0], len(grid.axes))[:, None]
        weights = driven[grid.stencil[1:, mixed]] * np.repeat(std, 2)[:, None] / sizes
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float64), persistent=False)
        matrix = -(part.T @ solved) / scale[:, None]
        self.register_buffer("matrix", torch.as_tensor(matrix, dtype=torch.float64), persistent=False)

    def forward(self, jump: Tensor) -> Tensor:
        """Change of standardised B on `nodes`, (batch, changed, axis), from truth minus forecast, (batch, node, axis).

        Double precision.
        """
        sides = [jump[..., axis].index_select(-1, side).double() for axis, side in self._sides()]
        divergence = sum((weight * values for weight, values in zip(self.weights, sides, strict=True)), start=0.0)
        change = torch.einsum("...m,cm->...c", divergence, self.matrix)
        return change.unflatten(-1, (jump.shape[-1], -1)).movedim(-2, -1)

    def _sides(self) -> list[tuple[int, Tensor]]:
        """Each neighbour of the mixed stencils with the axis along which it lies."""
        return [(number // 2, side) for number, side in enumerate(self.mixed)]


def divergence_matrix(grid: Grid) -> sparse.csr_array:
    """`Grid.divergence` as a matrix from the components on all nodes, one after the other: (inner, axis * node)."""
    inner = grid.stencil.shape[1]
    rows, columns, values = [], [], []
    for number, side in enumerate(grid.stencil[1:]):
        axis = number // 2
        rows.append(np.arange(inner))
        columns.append(axis * grid.num_nodes + side)
        values.append(np.full(inner, (0.5 if number % 2 == 0 else -0.5) / grid.spacing[axis]))
    parts = map(np.concatenate, (values, rows, columns))
    data, row, column = parts
    return sparse.csr_array((data, (row, column)), shape=(inner, len(grid.axes) * grid.num_nodes))
