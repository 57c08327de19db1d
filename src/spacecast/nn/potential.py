"""A magnetic field in the plane that changes by the curl of a potential, so that its divergence stays what it was."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError
from spacecast.core.grid import RIGHT_HANDED, Grid
from spacecast.core.spec import DataSpec
from spacecast.nn.limits import Limits, excess_over

SCALE = 1.5  # R_E: a potential that changes so much times the increment of B makes increments of B of the usual size
SETTLING = 1.9  # share of the divergence of the shortest waves that is taken off; beyond 2 they would grow
ROUNDINGS = 2.0**-22  # of a value, that settling may change at a time: four times the rounding of single precision
RELAXATIONS = 4  # passes in which a potential gives way to the limits of its field


class MagneticPotential(nn.Module):
    """Increments of the field in the plane from increments of the out-of-plane potential A.

    On the x-z plane B_x changes by -dA/dz and B_z by dA/dx, by `Grid.curl`; A goes on in straight lines at the edges of
    the plane and solves Laplace's equation inside Earth, so it has one value on each cell, and the divergence of the
    increments vanishes on every node of `Grid.stencil` to rounding errors.

    Args:
        spec: facts of the data; must have the components of B in the plane, in one unit.

    Attributes:
        columns: numbers of the two components among the state variables.

    Raises:
        UserError: the data have no such components, or lie on no plane.
    """

    scale: Tensor
    std: Tensor
    ring: Tensor
    inward: Tensor
    source: Tensor
    cells: Tensor
    inner: Tensor
    sides: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.grid = grid = spec.grid
        self.columns = plane_field(spec)
        increment = float(np.square(spec.diff_std[self.columns]).mean() ** 0.5)
        ring, inward, source = inside_earth(grid)
        neighbours = np.where(grid.neighbours == np.arange(grid.num_nodes), grid.num_nodes, grid.neighbours)
        buffers = {
            "scale": np.float32(SCALE * increment),
            "std": spec.state.std[self.columns],
            "ring": ring,
            "inward": inward.astype(np.float32),
            "source": source,
            "cells": grid.cells,
            "inner": np.isin(np.arange(grid.num_nodes), grid.stencil[0]).astype(np.float64),
            "sides": neighbours,
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.as_tensor(values), persistent=False)
        self.strength = SETTLING / sum(size**-2 for size in grid.spacing)
        self.sign = 1 if "".join(grid.axes) in RIGHT_HANDED else -1

    def forward(self, potential: Tensor) -> list[Tensor]:
        """Increment of A in units of `scale` to those of both standardised components, (batch, node) each."""
        return self.curl(self.scale * potential)

    def curl(self, potential: Tensor) -> list[Tensor]:
        """The same from an increment of A in units of B times R_E."""
        # a product of a few numbers, spelt out: a matrix product would be rounded to half precision under autocast
        inside = (potential.index_select(-1, self.ring).unsqueeze(-2) * self.inward).sum(dim=-1)
        everywhere = torch.cat([potential, inside], dim=-1).index_select(-1, self.source)
        components = self.grid.curl(everywhere.unflatten(-1, self.grid.shape))
        return [
            each.flatten(-2).index_select(-1, self.cells) / std for each, std in zip(components, self.std, strict=True)
        ]

    def within(self, potential: Tensor, base: Sequence[Tensor], limits: Limits) -> list[Tensor]:
        """Increments of standardised B that keep `base` plus themselves within limits, as nearly as a curl can.

        Where the field would leave its limits the potential gives way, by a few steps of steepest descent of the
        squared excess; what is left of an excess is taken up at the next time step.

        Args:
            potential: increment of A in units of `scale`, (batch, node).
            base: standardised B that the increment is added to, both components (batch, node).
            limits: least and largest value of each component, standardised, (batch, node) or (node,) each.
        """
        potential = self.scale * potential
        change = self.curl(potential)
        for _ in range(RELAXATIONS):
            new = [before + one for before, one in zip(base, change, strict=True)]
            excess = excess_over(limits, new)
            if excess is None:
                break
            one, two = (self._slope(excess[1 - axis] * self.std[1 - axis], axis) for axis in (0, 1))
            potential = potential - self.strength * self.sign * (one - two)
            change = self.curl(potential)
        return change

    def settle(self, field: Sequence[Tensor]) -> list[Tensor]:
        """Take off the divergence that rounding has left in standardised B, both components (batch, node).

        Rounding errors of many steps would add up. A share of grad div B is added, which makes divergence spread out
        and cancel, but never more than a few rounding errors, so that a divergence that the data have stays.
        """
        with torch.no_grad():
            exact = [component.double() for component in field]
            one, two = (self._slope(value * self.std[axis], axis) for axis, value in enumerate(exact))
            divergence, settled = self.inner * (one + two), []
            for axis, (component, value) in enumerate(zip(field, exact, strict=True)):
                bound = ROUNDINGS * value.abs()
                change = (self.strength / self.std[axis]) * self._slope(divergence, axis)
                settled.append((value + change.clamp(-bound, bound)).to(component.dtype) - component)
        return [component + change for component, change in zip(field, settled, strict=True)]

    def _slope(self, values: Tensor, axis: int) -> Tensor:
        """Central difference of node values, (batch, node), along an axis; zero beyond the nodes."""
        padded = functional.pad(values, (0, 1))
        after, before = self.sides[2 * axis], self.sides[2 * axis + 1]
        return (padded.index_select(-1, after) - padded.index_select(-1, before)) / (2 * self.grid.spacing[axis])


def plane_field(spec: DataSpec) -> list[int]:
    """Numbers of the components of B in the plane among the state variables.

    Raises:
        UserError: the grid is no plane, a component is missing, or they have different units.
    """
    key, axes = "model.magnetic=potential", spec.grid.axes
    if len(axes) != 2:
        raise UserError(f"{key} needs a plane, the grid has the axes {', '.join(axes)}; set model.magnetic=free")
    names = spec.grid.components("B")
    missing = [name for name in names if name not in spec.state.names]
    if missing:
        raise UserError(f"{key} needs {' and '.join(names)}, the data have no {missing[0]}; set model.magnetic=free")
    columns = spec.state.indices(names)
    one, two = (spec.state.units[column] for column in columns)
    if one != two:
        raise UserError(f"{key} needs {' and '.join(names)} in one unit, found {one!r} and {two!r}")
    return columns


def inside_earth(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a potential goes on inside Earth: as the solution of Laplace's equation, with no slope at the plane's edges.

    Returns:
        Nodes next to Earth, shape (ring,); the matrix from their values to those of Earth's cells next to nodes, shape
        (inside, ring); and for each cell of the plane its place among the nodes, followed by those cells of Earth
        (cells deeper inside, which no curl on a node depends on, have that of the first node).
    """
    numbers = np.arange(grid.valid.size).reshape(grid.shape)
    pairs = np.concatenate(
        [
            np.stack([np.moveaxis(numbers, axis, 0)[:-1].ravel(), np.moveaxis(numbers, axis, 0)[1:].ravel()], axis=-1)
            for axis in range(len(grid.shape))
        ]
    )
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    valid = grid.valid.ravel()
    touching = pairs[~valid[pairs[:, 0]] & valid[pairs[:, 1]]]
    within = pairs[~valid[pairs[:, 0]]]
    place = np.zeros(valid.size, dtype=np.int64)
    place[grid.cells] = np.arange(grid.num_nodes)
    earth, rim, ring = np.flatnonzero(~valid), np.unique(touching[:, 0]), np.unique(touching[:, 1])
    matrix = np.zeros((len(rim), len(ring)))
    if len(rim):
        place[rim] = grid.num_nodes + np.arange(len(rim))
        shape = valid.size, valid.size
        links = sparse.csr_array((np.ones(len(within)), (within[:, 0], within[:, 1])), shape)[earth]
        laplacian = sparse.diags_array(links.sum(axis=1)) - links[:, earth]
        matrix = splu(laplacian.tocsc()).solve(links[:, ring].toarray())[np.searchsorted(earth, rim)]
    return place[ring], matrix, place
