"""The grid on which the plasma lives: the only code that knows that Earth is cut out of it."""

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError

DIRECTIONS = {"x": "sunward", "y": "duskward", "z": "northward"}
"""Where the axes point, from Earth's centre."""
RIGHT_HANDED = ("xy", "yz", "zx")
"""Planes whose axes, with the third one, are right-handed."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A uniform grid of cells, mostly the x-z plane, with the cells inside the inner boundary cut out.

    A *node* is a cell that carries plasma. Nodes are numbered with the first axis slow and the last one fast, Earth's
    cells skipped.

    Args:
        coordinates: cell centres along each axis, ascending, in R_E, by the name of the axis (`DIRECTIONS`). Their
            order is that of the axes of `valid` and of all fields.
        valid: True where a cell carries plasma, an axis for each coordinate.

    Raises:
        UserError: when coordinates are not uniform and ascending, or the shapes disagree.

    """

    coordinates: Mapping[str, np.ndarray]
    valid: np.ndarray

    def __post_init__(self) -> None:
        coordinates = {name: np.asarray(values, dtype=np.float64) for name, values in self.coordinates.items()}
        for name, values in coordinates.items():
            if values.ndim != 1 or values.size < 3:
                raise UserError(f"grid coordinate {name}: need 3 cells or more along one axis, found {values.shape}")
            steps = np.diff(values)
            if not (steps > 0).all() or np.ptp(steps) > 1e-3 * steps.mean():
                found = f"steps of {steps.min():g} to {steps.max():g} R_E"
                raise UserError(f"grid coordinate {name} is not uniformly ascending: {found}")
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "valid", np.asarray(self.valid, dtype=bool))
        if self.valid.shape != self.shape:
            axes = ", ".join(self.axes)
            raise UserError(f"mask of shape {self.valid.shape} does not fit the grid {self.shape} ({axes})")
        if not self.valid.any():
            raise UserError("mask leaves no cell with plasma: expected 1 = space, 0 = inside the inner boundary")

    def __str__(self) -> str:
        """Size and extent in words."""
        extent = ", ".join(f"{name} {values[0]:g} to {values[-1]:g}" for name, values in self.coordinates.items())
        return f"{' x '.join(map(str, self.shape))} {'plane' if len(self.axes) == 2 else 'grid'}, {extent} R_E"

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes in order, ("x", "z") on the plane."""
        return tuple(self.coordinates)

    def components(self, field: str) -> tuple[str, ...]:
        """Names of the components of a vector along the axes, ("Bx", "Bz") of B on the plane."""
        return tuple(f"{field}{axis}" for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(values.size for values in self.coordinates.values())

    @functools.cached_property
    def spacing(self) -> tuple[float, ...]:
        """Cell size along each axis [R_E]."""
        return tuple(float((values[-1] - values[0]) / (values.size - 1)) for values in self.coordinates.values())

    @functools.cached_property
    def cells(self) -> np.ndarray:
        """Flat cell number, last axis fast, of each node, shape (node,)."""
        return np.flatnonzero(self.valid)

    @property
    def num_nodes(self) -> int:
        """Number of cells that carry plasma."""
        return int(self.cells.size)

    @functools.cached_property
    def positions(self) -> np.ndarray:
        """Position of each node, shape (node, axis), in R_E."""
        numbers = np.unravel_index(self.cells, self.shape)
        return np.stack([self.coordinates[axis][i] for axis, i in zip(self.axes, numbers, strict=True)], axis=-1)

    @functools.cached_property
    def distance(self) -> np.ndarray:
        """Distance of each cell from Earth's centre, shape of the grid, in R_E."""
        return functools.reduce(np.hypot, np.meshgrid(*self.coordinates.values(), indexing="ij", sparse=True))

    @functools.cached_property
    def radius(self) -> np.ndarray:
        """Distance of each node from Earth's centre, shape (node,), in R_E."""
        return self.to_nodes(self.distance)

    def to_nodes(self, field: np.ndarray) -> np.ndarray:
        """Pick the nodes out of full fields: (..., x, z) to (..., node)."""
        flat = field.reshape(*field.shape[: -len(self.axes)], -1)
        return flat[..., self.cells]

    def to_field(self, nodes: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Lay nodes out on full fields: (..., node) to (..., x, z), `fill` inside Earth."""
        field = np.full((*nodes.shape[:-1], self.valid.size), fill, dtype=np.result_type(nodes.dtype, np.float32))
        field[..., self.cells] = nodes
        return field.reshape(*nodes.shape[:-1], *self.shape)

    @functools.cached_property
    def neighbours(self) -> np.ndarray:
        """Nodes next to each node at +x, -x, +z and -z, the node itself where there is none, shape (2 axis, node)."""
        own = np.arange(self.num_nodes)
        number = np.full(self.shape, -1)
        number.ravel()[self.cells] = own
        number = np.pad(number, 1, constant_values=-1)
        sides = []
        for axis in range(len(self.axes)):
            for beside in (slice(2, None), slice(None, -2)):
                side = [slice(1, -1)] * len(self.axes)
                side[axis] = beside
                sides.append(self.to_nodes(number[tuple(side)]))
        return np.where(np.stack(sides) < 0, own, sides)

    @functools.cached_property
    def stencil(self) -> np.ndarray:
        """Nodes with all neighbours: (centre, +x, -x, +z, -z) node numbers, shape (1 + 2 axis, inner).

        Cells next to Earth or to the edge of the grid have no central difference and are left out, whatever the
        cell size is (a fixed radius is too tight on coarse grids).
        """
        centre = np.arange(self.num_nodes)
        return np.vstack([centre, self.neighbours])[:, (self.neighbours != centre).all(axis=0)]

    def divergence(self, *components: Tensor) -> Tensor:
        """Central-difference divergence of node values, dBx/dx + dBz/dz on the plane.

        Args:
            components: along each axis in order, shape (..., node), physical units, for example nT.

        Returns:
            Divergence on the nodes of `stencil`, shape (..., inner), in units of the field per R_E.

        """
        sides = torch.as_tensor(self.stencil[1:], device=components[0].device).unflatten(0, (-1, 2))
        slopes = (
            (values.index_select(-1, after) - values.index_select(-1, before)) / (2 * size)
            for values, (after, before), size in zip(components, sides, self.spacing, strict=True)
        )
        return functools.reduce(operator.add, slopes)

    def curl(self, potential: Tensor) -> tuple[Tensor, Tensor]:
        """Field in the plane whose vector potential points out of it: (-dA/dz, dA/dx) on the x-z plane.

        By the differences of `divergence`, central ones, so that the divergence of a curl vanishes on every node of
        `stencil`; one-sided at the edges of the plane, as if the potential went on in a straight line.

        Args:
            potential: on all cells, those inside Earth as well, shape (..., x, z), for example in nT R_E.

        Returns:
            Components along the axes in order, each (..., x, z), in units of the potential per R_E.

        Raises:
            UserError: the grid is no plane.

        """
        if len(self.axes) != 2:
            raise UserError(f"the curl of a potential needs a plane, the grid has the axes {', '.join(self.axes)}")
        first, second = torch.gradient(potential, spacing=self.spacing, dim=(-2, -1))
        return (second, -first) if "".join(self.axes) in RIGHT_HANDED else (-second, first)
