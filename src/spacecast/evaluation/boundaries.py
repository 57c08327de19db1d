"""Where on the plane its boundaries, the flux of the tail and the spectra are looked for; built once from the grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from spacecast.core.grid import Grid
from spacecast.formulas.spectra import hann, power_spectrum, wavenumbers

SUNWARD_FROM = 6.0
"""No magnetopause was seen closer [R_E]; inside of it, the inner boundary of a simulation makes jumps of its own."""
TAIL_FROM = 10.0
"""Distance of the tail from Earth's centre [R_E]; the dipole is stronger inside."""
LEAST_LINE = 8  # cells
SMALL_CELLS = 6
"""Waves up to so many cells long are small scales: a mesh with a node every three cells carries none of them."""
ROUNDING = 1e-9  # of wavenumbers [1/R_E]
LEAST_SIDE = 16  # cells of a rectangle, of which the window of a spectrum leaves half


@dataclass(frozen=True, eq=False)
class Line:
    """A stretch of the x axis: values on it are interpolated linearly between the two rows of cells beside it.

    Args:
        x: position of its cells, ascending and uniform, float64, shape (cell,) [R_E].
        nodes: numbers of the nodes south and north of it, shape (2, cell).
        weights: of the two, float64, shape (2,).

    """

    x: Tensor
    nodes: Tensor
    weights: Tensor

    @property
    def step(self) -> float:
        """Distance of its cells [R_E]."""
        return float(self.x[1] - self.x[0])

    def along(self, values: Tensor) -> Tensor:
        """Values on the line in double precision: (..., node) to (..., cell)."""
        south, north = (values.index_select(-1, nodes.to(values.device)).double() for nodes in self.nodes)
        return south * float(self.weights[0]) + north * float(self.weights[1])


def axis_line(grid: Grid, lowest: float, highest: float) -> Line | None:
    """The cells of the x axis of an x-z plane between two positions.

    Returns:
        None where the grid is no x-z plane, does not reach to both sides of the axis, or has fewer than `LEAST_LINE`
        cells there, or some without plasma among them.

    """
    if grid.axes != ("x", "z"):
        return None
    x, z = grid.coordinates["x"], grid.coordinates["z"]
    south = int(np.searchsorted(z, 0.0, side="right")) - 1
    if south < 0 or south > z.size - 2:
        return None
    share = (0.0 - z[south]) / grid.spacing[1]
    valid = grid.valid[:, south] & grid.valid[:, south + 1]
    cells = np.flatnonzero(valid & (x >= lowest) & (x <= highest))
    if cells.size < LEAST_LINE or np.ptp(cells) != cells.size - 1:
        return None
    nodes = torch.as_tensor(_numbers(grid)[cells, south : south + 2].T.copy())
    return Line(torch.as_tensor(x[cells]), nodes, torch.tensor([1 - share, share], dtype=torch.float64))


def tail_axis(grid: Grid) -> Line | None:
    """The axis of the tail, beyond `TAIL_FROM`; see `axis_line`."""
    return axis_line(grid, -np.inf, -TAIL_FROM)


def sunward_axis(grid: Grid) -> Line | None:
    """The line from Earth to the Sun, from `SUNWARD_FROM` to the edge of the grid; see `axis_line`."""
    return axis_line(grid, SUNWARD_FROM, np.inf)


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A part of the plane without holes.

    Args:
        nodes: numbers of its nodes, shape (x, z).
        spacing: of its cells along x and z [R_E].

    """

    nodes: Tensor
    spacing: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along x and z."""
        return self.nodes.shape[0], self.nodes.shape[1]

    @cached_property
    def window(self) -> Tensor:
        """Hann window, shape (x, z)."""
        return hann(self.shape)

    @cached_property
    def wavenumbers(self) -> Tensor:
        """Of its power spectra [1/R_E]."""
        return wavenumbers(self.shape, self.spacing)

    @cached_property
    def small(self) -> Tensor:
        """True at the wavenumbers of waves of at most `SMALL_CELLS` cells."""
        return self.wavenumbers >= 1 / (SMALL_CELLS * max(self.spacing)) - ROUNDING

    def spectrum(self, values: Tensor) -> Tensor:
        """Power spectra under a Hann window: (..., node, variable) to (..., variable, wavenumber)."""
        return power_spectrum(self.within(values), self.spacing, self.window)

    def within(self, values: Tensor) -> Tensor:
        """Its part of values: (..., node, variable) to (..., variable, x, z)."""
        picked = values.index_select(-2, self.nodes.flatten().to(values.device))
        return picked.movedim(-2, -1).unflatten(-1, self.shape)


def largest_rectangle(grid: Grid, nodes: np.ndarray) -> Rectangle | None:
    """The largest rectangle of an x-z plane all cells of which are nodes of some.

    Of several of one size the one that ends first along x, so on the side of the tail, then along z.

    Args:
        grid: the cells.
        nodes: True on the nodes that may be in it, shape (node,).

    Returns:
        None where the grid is no x-z plane or no node may be in it.

    """
    if grid.axes != ("x", "z") or not nodes.any():
        return None
    free = grid.to_field(nodes.astype(np.float32), fill=0.0) > 0
    best, place = 0, (slice(0), slice(0))
    heights = np.zeros(free.shape[1], dtype=int)
    for row, line in enumerate(free):
        heights = np.where(line, heights + 1, 0)
        open_bars: list[tuple[int, int]] = []  # first column and height, ascending
        for column, height in enumerate([*heights.tolist(), 0]):
            first = column
            while open_bars and open_bars[-1][1] > height:
                first, bar = open_bars.pop()
                if bar * (column - first) > best:
                    best = bar * (column - first)
                    place = slice(row + 1 - bar, row + 1), slice(first, column)
            if height and (not open_bars or open_bars[-1][1] < height):
                open_bars.append((first, height))
    return Rectangle(torch.as_tensor(_numbers(grid)[place].copy()), (grid.spacing[0], grid.spacing[1]))


def _numbers(grid: Grid) -> np.ndarray:
    """Number of the node in each cell, -1 where there is none, shape of the grid."""
    numbers = np.full(grid.valid.size, -1)
    numbers[grid.cells] = np.arange(grid.num_nodes)
    return numbers.reshape(grid.shape)
