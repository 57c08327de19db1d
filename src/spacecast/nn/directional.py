"""Message passing among neighbouring cells with one weight matrix for each direction, on several levels of cells."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.nn import native_norm
from spacecast.nn.cells import CellLevel
from spacecast.nn.conditioning import scale_and_shift
from spacecast.nn.stack import Stack

Conditions = Iterator[Tensor]
"""Scale and shift of each norm in the order of `DirectionalUNet.layers`: (batch, row, 2 channel), row the cells of its
level, or its nodes where these are all that there is (`nn.cells.rows_of`), or 1 for all of them alike."""


class DirectionalOperator(nn.Module):
    """new_i = bias + sum over directions d of W_d x_(i + d): the eight cells around a cell and the cell itself.

    On a plane of cells without a hole it is a 3 x 3 convolution with zeros beyond the edge.

    Args:
        channels_in, channels_out: sizes of the vectors on cells.
        axes: of the grid.
        bias: add a constant.
    """

    def __init__(self, channels_in: int, channels_out: int, *, axes: int = 2, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, *[3] * axes))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        bound = 1 / math.sqrt(channels_in * 3**axes)  # that of nn.Conv2d
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, values: Tensor, level: CellLevel) -> Tensor:
        """Cells (batch, ..., channel), cleared where there are no nodes, to the same with other channels."""
        return level.around(values, self.weight, self.bias)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell, scaled and shifted once more where a condition says so."""

    def activated(
        self, values: Tensor, level: CellLevel, conditions: Conditions | None, *, picked: bool = False
    ) -> Tensor:
        """SiLU of normalised cells (batch, ..., channel); takes the next one of the conditions, where one is left.

        Cells that are no nodes are cleared; with `picked` there remain the nodes, (batch, node, channel).
        """
        condition = None if conditions is None else next(conditions, None)
        if condition is None and native_norm.usable(values, self.weight, self.bias):
            holes = level.skipped(picked=picked)
            return native_norm.NormSilu.apply(values, self.weight, self.bias, self.eps, holes, picked)
        values = scale_and_shift(self(values), condition)
        return functional.silu(level.pick(values)) if picked else level.clear(functional.silu(values))


class ResidualBlock(nn.Module):
    """x + O(silu(norm(O(silu(norm(x)))))) with directional operators O (He et al. 2016, pre-activation).

    Args:
        channels: size of the vectors on cells.
        axes: of the grid.
    """

    def __init__(self, channels: int, *, axes: int = 2) -> None:
        super().__init__()
        self.norms: Stack[ChannelNorm] = Stack(ChannelNorm(channels) for _ in range(2))
        self.operators: Stack[DirectionalOperator] = Stack(
            DirectionalOperator(channels, channels, axes=axes) for _ in range(2)
        )

    def forward(self, values: Tensor, level: CellLevel, conditions: Conditions | None = None) -> Tensor:
        """Cells (batch, ..., channel) to the same shape."""
        change = values
        for norm, operator in zip(self.norms, self.operators, strict=True):
            change = operator(norm.activated(change, level, conditions), level)
        return values + change


Blocks = Stack[ResidualBlock]


def make_blocks(count: int, channels: int, axes: int) -> Blocks:
    """Residual blocks in turn."""
    return Stack(ResidualBlock(channels, axes=axes) for _ in range(count))


def run_blocks(stack: Blocks, values: Tensor, level: CellLevel, conditions: Conditions | None = None) -> Tensor:
    """Cells (batch, ..., channel) through blocks in turn."""
    for block in stack:
        values = block(values, level, conditions)
    return values


def level_widths(channels: int, levels: int) -> list[int]:
    """Channels by level: a root of two more on each, as multiples of 8; 48, 64, 96 from 48 on.

    A level has a quarter of the cells of the one below, so each costs about half as much.
    """
    return [channels, *(8 * max(1, round(channels * 2 ** (level / 2) / 8)) for level in range(1, levels))]


class DirectionalUNet(nn.Module):
    """Residual blocks down the levels of cells and up again, with a skip round each (Ronneberger et al. 2015).

    On the way down the cells of a block send to the coarser cell, on the way up it sends to them, by one weight matrix
    for each of their places in the block; what comes up is added to what was there.

    Args:
        widths: channels of each level, the cells first.
        blocks: on each level, on the way down and again on the way up.
        axes: of the grid.
    """

    def __init__(self, widths: Sequence[int], blocks: int, *, axes: int = 2) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.blocks_down: Stack[Blocks] = Stack(make_blocks(blocks, width, axes) for width in widths)
        self.blocks_up: Stack[Blocks] = Stack(make_blocks(blocks, width, axes) for width in widths)
        self.down: Stack[nn.Linear] = Stack(nn.Linear(fine * 2**axes, coarse) for fine, coarse in pairs)
        self.up: Stack[nn.Linear] = Stack(nn.Linear(coarse, fine * 2**axes) for fine, coarse in pairs)
        self.widths, self.blocks = list(widths), blocks

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Level and channels of each norm, in the order in which `forward` takes conditions."""
        way = [*range(len(self.widths)), *reversed(range(len(self.widths)))]
        return [(level, self.widths[level]) for level in way for _ in range(2 * self.blocks)]

    def forward(self, values: Tensor, levels: Sequence[CellLevel], conditions: Conditions | None = None) -> Tensor:
        """Cells (batch, ..., channel) to the same shape."""
        passed: list[Tensor] = []
        for number, stack in enumerate(self.blocks_down):
            if number > 0:
                cleared = levels[number - 1].clear(values.clone())
                values = self.down[number - 1](levels[number - 1].gather(cleared))
            values = run_blocks(stack, values, levels[number], conditions)
            passed.append(values)
        for number in reversed(range(len(self.blocks_up))):
            if number < len(self.up):
                values = passed[number] + levels[number].scatter(self.up[number](values))
            values = run_blocks(self.blocks_up[number], values, levels[number], conditions)
        return values
