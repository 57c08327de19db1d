"""A filter of what a network puts out."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from spacecast.core.grid import Grid

Smoothing = Literal["none", "always", "without_previous"]


class FourthDifference(nn.Module):
    """Takes a sixteenth of the fourth difference off, along one axis after the other: a wave of two cells goes away.

    The second difference, taken twice, counts as zero on nodes without both neighbours along the axis, so that straight
    lines stay what they are and no wave grows, at edges as well.

    Args:
        grid: the nodes.
    """

    sides: Tensor
    inner_sides: Tensor
    inner: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        own, sides = torch.arange(grid.num_nodes), torch.as_tensor(grid.neighbours).unflatten(0, (-1, 2))
        inner = (sides != own).all(dim=1, keepdim=True)
        self.register_buffer("sides", sides, persistent=False)
        self.register_buffer("inner_sides", torch.where(inner, sides, own), persistent=False)
        self.register_buffer("inner", inner.float().movedim(1, 2), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(batch, node, channel) to the same."""
        for axis in zip(self.inner_sides, self.sides, self.inner, strict=True):
            values = torch.sub(values, SecondDifferenceTwice.apply(values, *axis), alpha=1 / 16)
        return values


class SecondDifferenceTwice(torch.autograd.Function):
    """The second difference of the second difference; its gradient is gathered, which is faster than to scatter."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, inner_sides: Tensor, sides: Tensor, inner: Tensor) -> Tensor:
        """Of (batch, node, channel), along one axis.

        Args:
            ctx: of the autograd function.
            values: of each node.
            inner_sides: both neighbours of the nodes that have them, others twice themselves, (2, node).
            sides: the neighbours, the node itself where there is none, (2, node).
            inner: 1 for nodes with both neighbours, 0 for others, (node, 1).
        """
        ctx.save_for_backward(sides, inner)
        return _difference(_difference(values, inner_sides), inner_sides)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """By the transposed matrix: a node without both neighbours receives and passes nothing on."""
        sides, inner = ctx.saved_tensors
        for _ in range(2):
            gradient = _difference(inner * gradient, sides)
        return gradient, None, None, None


def _difference(values: Tensor, sides: Tensor) -> Tensor:
    """Sum of the neighbours minus twice the node itself."""
    after, before = sides
    return torch.sub(values.index_select(1, after).add_(values.index_select(1, before)), values, alpha=2)
