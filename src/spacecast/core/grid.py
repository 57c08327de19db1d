"""The plane on which the plasma lives: the only code that knows that Earth is cut out of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError


@dataclass(frozen=True, eq=False)
class Grid:
    """A uniform x-z plane of cells with the cells inside the inner boundary cut out.

    A *node* is a cell that carries plasma. Nodes are numbered with x slow and z fast, Earth's cells skipped.

    Args:
        x: cell centres along the Sun-Earth line, sunward, ascending, shape (nx,), in R_E.
        z: cell centres northward, ascending, shape (nz,), in R_E.
        valid: True where a cell carries plasma, shape (nx, nz).

    Raises:
        UserError: when coordinates are not uniform and ascending, or the shapes disagree.

    """

    x: np.ndarray
    z: np.ndarray
    valid: np.ndarray

    def __post_init__(self) -> None:
        for name in ("x", "z"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            steps = np.diff(values)
            if values.ndim != 1 or values.size < 3:
                raise UserError(f"grid coordinate {name}: need 3 cells or more along one axis, found {values.shape}")
            if not (steps > 0).all() or np.ptp(steps) > 1e-3 * steps.mean():
                found = f"steps of {steps.min():g} to {steps.max():g} R_E"
                raise UserError(f"grid coordinate {name} is not uniformly ascending: {found}")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "valid", np.asarray(self.valid, dtype=bool))
        if self.valid.shape != self.shape:
            raise UserError(f"mask of shape {self.valid.shape} does not fit the grid {self.shape} (x, z)")
        if not self.valid.any():
            raise UserError("mask leaves no cell with plasma: expected 1 = space, 0 = inside the inner boundary")

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along x and z."""
        return self.x.size, self.z.size

    @cached_property
    def spacing(self) -> tuple[float, float]:
        """Cell size along x and z [R_E]."""
        return (
            float((self.x[-1] - self.x[0]) / (self.x.size - 1)),
            float((self.z[-1] - self.z[0]) / (self.z.size - 1)),
        )

    @cached_property
    def cells(self) -> np.ndarray:
        """Flat cell number, x slow and z fast, of each node, shape (node,)."""
        return np.flatnonzero(self.valid)

    @property
    def num_nodes(self) -> int:
        """Number of cells that carry plasma."""
        return int(self.cells.size)

    @cached_property
    def positions(self) -> np.ndarray:
        """Position (x, z) of each node, shape (node, 2), in R_E."""
        i, j = np.unravel_index(self.cells, self.shape)
        return np.stack([self.x[i], self.z[j]], axis=-1)

    @cached_property
    def radius(self) -> np.ndarray:
        """Distance of each node from Earth's centre, shape (node,), in R_E."""
        return np.hypot(self.positions[:, 0], self.positions[:, 1])

    def to_nodes(self, field: np.ndarray) -> np.ndarray:
        """Pick the nodes out of full planes: (..., x, z) to (..., node)."""
        flat = field.reshape(*field.shape[:-2], -1)
        return flat[..., self.cells]

    def to_field(self, nodes: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Lay nodes out on full planes: (..., node) to (..., x, z), `fill` inside Earth."""
        field = np.full((*nodes.shape[:-1], self.valid.size), fill, dtype=np.result_type(nodes.dtype, np.float32))
        field[..., self.cells] = nodes
        return field.reshape(*nodes.shape[:-1], *self.shape)

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Nodes next to each node at +x, -x, +z and -z, the node itself where there is none, shape (4, node)."""
        own = np.arange(self.num_nodes)
        number = np.full(self.shape, -1)
        number.ravel()[self.cells] = own
        number = np.pad(number, 1, constant_values=-1)
        inner, low, high = slice(1, -1), slice(None, -2), slice(2, None)
        sides = [(high, inner), (low, inner), (inner, high), (inner, low)]
        four = np.stack([self.to_nodes(number[side]) for side in sides])
        return np.where(four < 0, own, four)

    @cached_property
    def stencil(self) -> np.ndarray:
        """Nodes with all four neighbours: (centre, +x, -x, +z, -z) node numbers, shape (5, inner).

        Cells next to Earth or to the edge of the plane have no central difference and are left out, whatever the
        cell size is (a fixed radius is too tight on coarse grids).
        """
        centre = np.arange(self.num_nodes)
        return np.vstack([centre, self.neighbours])[:, (self.neighbours != centre).all(axis=0)]

    def divergence(self, bx: Tensor, bz: Tensor) -> Tensor:
        """Central-difference divergence dBx/dx + dBz/dz of node values.

        Args:
            bx, bz: components on nodes, shape (..., node), physical units, for example nT.

        Returns:
            Divergence on the nodes of `stencil`, shape (..., inner), in units of the field per R_E.

        """
        _, east, west, north, south = torch.as_tensor(self.stencil, device=bx.device)
        dx, dz = self.spacing
        along_x = (bx.index_select(-1, east) - bx.index_select(-1, west)) / (2 * dx)
        along_z = (bz.index_select(-1, north) - bz.index_select(-1, south)) / (2 * dz)
        return along_x + along_z
