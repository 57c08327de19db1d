"""A filter of what a network puts out."""

from typing import Literal

import numpy as np
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

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        own = np.arange(grid.num_nodes)
        pairs = grid.neighbours.reshape(-1, 2, grid.num_nodes)
        alone = (pairs == own).any(axis=1, keepdims=True)
        self.register_buffer("sides", torch.as_tensor(np.where(alone, own, pairs)), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(batch, node, channel) to the same."""
        for after, before in self.sides:
            second = values
            for _ in range(2):
                second = second.index_select(1, after) + second.index_select(1, before) - 2 * second
            values = values - second / 16
        return values
