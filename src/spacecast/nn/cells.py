"""Neighbouring cells of the grid, and coarser levels of them, for operators that know directions.

A cell of a level is a block of two cells along each axis of the level below, and a node where one of them is. An
operator sums over the 3 x 3 cells around a node (3 x 3 x 3 in space), the ways down and up lead to and from the cells
of a block; cells that are no nodes, inside Earth or beyond the edge, send nothing.

There are two ways to execute that, with the same result. `DenseLevel` lays nodes out on all cells, zeros elsewhere, so
that message passing is a convolution. `EdgeLevel` knows the sender of each kind of edge for each node, and serves where
most cells are no nodes.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid

Execution = Literal["auto", "dense", "edges"]
FEWEST_CELLS = 2  # along each axis of the coarsest level
DENSE_FROM = 0.5  # share of cells that are nodes
CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def blocks(field: np.ndarray, fill: int) -> np.ndarray:
    """Cells of each block of two along each axis, (coarse axes ..., cell of the block), `fill` beyond the edge."""
    axes = field.ndim
    even = np.pad(field, [(0, size % 2) for size in field.shape], constant_values=fill)
    paired = even.reshape([part for size in even.shape for part in (size // 2, 2)])
    return paired.transpose([*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)]).reshape(*paired.shape[::2], -1)


def numbered(valid: np.ndarray) -> np.ndarray:
    """Number of the node on each cell, -1 where there is none."""
    number = np.full(valid.shape, -1)
    number[valid] = np.arange(np.count_nonzero(valid))
    return number


class Clear(torch.autograd.Function):
    """Zeros on some of the cells, in place; autograd's own way in place on a view copies five times as much."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, holes: Tensor) -> Tensor:
        """Cells (batch, ..., channel), and numbers of those that become zero."""
        ctx.mark_dirty(values)
        ctx.save_for_backward(holes)
        fill(values, holes)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """No gradient there."""
        return fill(gradient.clone(), ctx.saved_tensors[0]), None


def fill(values: Tensor, holes: Tensor) -> Tensor:
    """Cells (batch, ..., channel) with zeros on some, in place."""
    values.view(len(values), -1, values.shape[-1]).index_fill_(1, holes, 0)
    return values


class DenseLevel(nn.Module):
    """Nodes laid out on all cells: (batch, cells along each axis ..., channel), channels side by side in memory.

    Args:
        valid: True where a cell is a node, an axis for each of the grid's.
        masked: cells that are no nodes send zeros; False: they send what operators make of them, as in a plain
            convolutional network.
    """

    cells: Tensor
    holes: Tensor

    def __init__(self, valid: np.ndarray, *, masked: bool = True) -> None:
        super().__init__()
        self.shape = valid.shape
        self.full, self.masked = bool(valid.all()), masked and not valid.all()
        self.register_buffer("cells", torch.as_tensor(np.flatnonzero(valid)), persistent=False)
        self.register_buffer("holes", torch.as_tensor(np.flatnonzero(~valid)), persistent=False)

    def lay_out(self, nodes: Tensor) -> Tensor:
        """(batch, node, channel) to cells, zeros on those that are no nodes."""
        if not self.full:
            cells = nodes.new_zeros(len(nodes), int(np.prod(self.shape)), nodes.shape[-1])
            nodes = cells.index_copy(1, self.cells, nodes)
        return nodes.unflatten(1, self.shape)

    def pick(self, values: Tensor) -> Tensor:
        """Cells to (batch, node, channel)."""
        flat = values.flatten(1, -2)
        return flat if self.full else flat.index_select(1, self.cells)

    def clear(self, values: Tensor) -> Tensor:
        """Zeros on cells that are no nodes, in place."""
        return Clear.apply(values, self.holes) if self.masked else values

    def skipped(self, *, picked: bool) -> Tensor | None:
        """Numbers of the cells that `pick` leaves out, or that `clear` makes zero; None: there are none."""
        return self.holes if self.masked or (picked and not self.full) else None

    def around(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Sum over the cells around each cell, of cleared values; `weight` (out, in, 3, 3) has a matrix for each."""
        convolution = CONVOLUTIONS[len(self.shape)]
        return convolution(values.movedim(-1, 1), weight, bias, padding=1).movedim(1, -1).contiguous()

    def gather(self, values: Tensor) -> Tensor:
        """Cleared channels of the cells of each block side by side: the next coarser level, (..., cell * channel)."""
        odd = [size % 2 for size in reversed(self.shape)]
        values = functional.pad(values, [0, 0, *(end for size in odd for end in (0, size))])
        axes = range(1, 1 + len(self.shape))
        for axis in reversed(axes):
            values = values.unflatten(axis, (-1, 2))
        order = [0, *(2 * axis - 1 for axis in axes), *(2 * axis for axis in axes), values.ndim - 1]
        return values.permute(order).flatten(1 + len(self.shape))

    def scatter(self, values: Tensor) -> Tensor:
        """The inverse of `gather`: to each cell its own part, (..., channel), of what its block has for its cells."""
        number = len(self.shape)
        values = values.unflatten(-1, (*[2] * number, -1))
        order = [0, *(part for axis in range(1, 1 + number) for part in (axis, axis + number)), values.ndim - 1]
        values = values.permute(order)
        for axis, size in enumerate(self.shape, start=1):
            values = values.flatten(axis, axis + 1).narrow(axis, 0, size)
        return values


class EdgeLevel(nn.Module):
    """Nodes with the sender of each kind of edge: (batch, node, channel).

    Args:
        valid: True where a cell is a node, an axis for each of the grid's.
    """

    senders: Tensor
    members: Tensor
    places: Tensor

    def __init__(self, valid: np.ndarray) -> None:
        super().__init__()
        number, nodes = numbered(valid), np.count_nonzero(valid)
        padded = np.pad(number, 1, constant_values=-1)
        beside = itertools.product(*([slice(first, first + size) for first in range(3)] for size in valid.shape))
        senders = np.stack([padded[place][valid] for place in beside], axis=-1)
        members = blocks(number, -1)
        members = members[(members >= 0).any(axis=-1)]  # (coarse node, cell of the block)
        places = np.empty(nodes, dtype=np.int64)
        places[members[members >= 0]] = np.flatnonzero(members >= 0)
        for name, table in (("senders", senders), ("members", members), ("places", places)):
            self.register_buffer(name, torch.as_tensor(np.where(table < 0, nodes, table)), persistent=False)

    def lay_out(self, nodes: Tensor) -> Tensor:
        """Nodes as they are."""
        return nodes

    def pick(self, values: Tensor) -> Tensor:
        """Nodes as they are."""
        return values

    def clear(self, values: Tensor) -> Tensor:
        """Nodes as they are."""
        return values

    def skipped(self, *, picked: bool) -> None:
        """All nodes are picked, and none is cleared."""

    @staticmethod
    def _sent(values: Tensor, table: Tensor) -> Tensor:
        """(batch, receiver, kind * channel) from the senders in a table (receiver, kind), zeros where there is none."""
        sent = functional.pad(values, (0, 0, 0, 1)).index_select(1, table.flatten())
        return sent.view(len(values), len(table), -1)

    def around(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Sum over the nodes around each node; `weight` (out, in, 3, 3) has a matrix for each."""
        by_kind = weight.flatten(2).transpose(1, 2).flatten(1)
        return functional.linear(self._sent(values, self.senders), by_kind, bias)

    def gather(self, values: Tensor) -> Tensor:
        """Channels of the nodes of each block side by side: the next coarser level, (..., cell * channel)."""
        return self._sent(values, self.members)

    def scatter(self, values: Tensor) -> Tensor:
        """The inverse of `gather`: to each node its own part, (..., channel), of what its block has for its cells."""
        return values.unflatten(-1, (self.members.shape[1], -1)).flatten(1, 2).index_select(1, self.places)


CellLevel = DenseLevel | EdgeLevel


def rows_of(level: CellLevel, nodes: Tensor) -> Tensor:
    """(batch, node, channel) to the rows that norms of a level have, (batch, row, channel): its cells, or its nodes."""
    return level.lay_out(nodes).flatten(1, -2)


def coarsened(grid: Grid, levels: int) -> list[np.ndarray]:
    """Where each level has nodes, the cells of the grid first.

    Raises:
        UserError: the grid is too small for so many levels.

    """
    valid = [grid.valid]
    while len(valid) < levels:
        if min(valid[-1].shape) < 2 * FEWEST_CELLS - 1:
            shape = " x ".join(map(str, grid.shape))
            raise UserError(f"model.levels={levels}: a grid of {shape} cells has at most {len(valid)}")
        valid.append(np.asarray((blocks(numbered(valid[-1]), -1) >= 0).any(axis=-1)))
    return valid


def level_positions(grid: Grid, levels: int) -> list[np.ndarray]:
    """Centre of the block of each node, by level, each (node, axis), in R_E."""
    found = []
    for number, valid in enumerate(coarsened(grid, levels)):
        stride = 2**number
        first = np.array([values[0] for values in grid.coordinates.values()])
        found.append(first + (np.argwhere(valid) * stride + (stride - 1) / 2) * np.array(grid.spacing))
    return found


def make_levels(grid: Grid, levels: int, execution: Execution = "auto", *, masked: bool = True) -> Sequence[CellLevel]:
    """The cells of a grid and coarser levels of them.

    Args:
        grid: of the data.
        levels: how many, the cells included.
        execution: `dense` or `edges`; `auto`: dense where at least half of the cells are nodes.
        masked: see `DenseLevel`.

    Raises:
        UserError: unknown execution, or a grid too small for so many levels.

    """
    if execution not in get_args(Execution):
        raise UserError(f"unknown execution {execution!r}; {nearest(execution, get_args(Execution))}")
    if execution == "auto":
        execution = "dense" if grid.valid.mean() >= DENSE_FROM else "edges"
    valid = coarsened(grid, levels)
    return [DenseLevel(each, masked=masked) if execution == "dense" else EdgeLevel(each) for each in valid]
