"""What the networks of nodes and edges compute for each row.

LayerNorm(W_n silu(... W_2 silu(h))) + rows, with h a sum of rows and of products of rows with a part of the first
layer's weight; where asked for, summed over the rows that have one receiver. `nn.blockwise` computes it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Source(NamedTuple):
    """Which row of a table each row of a network reads.

    table: shape (any, size).
    numbers: row of the table for each row of the network; None: one after the other.
    repeat: so many rows of the network in turn read the same row of the table.

    A table without numbers that has too few rows belongs to a single graph, and each graph of a batch reads it.
    """

    table: Tensor
    numbers: Tensor | None = None
    repeat: int = 1


class Segments(NamedTuple):
    """How rows are summed.

    receivers: of each row, ascending.
    total: number of receivers.
    degree: rows of each receiver where that is the same for all, else None.
    factor: of the sum of each receiver, shape (receiver, 1), or None.
    """

    receivers: Tensor
    total: int
    degree: int | None
    factor: Tensor | None


class Layers(NamedTuple):
    """Weights of a perceptron: bias of the first layer, the other layers, and weight, bias and epsilon of a norm."""

    bias: Tensor | None
    others: Sequence[tuple[Tensor, Tensor]]
    norm: tuple[Tensor, Tensor, float] | None

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        all_of_them = [self.bias, *(bias for _, bias in self.others), *(self.norm or ())[:1]]
        return next(each.dtype for each in all_of_them if isinstance(each, Tensor))


class Task(NamedTuple):
    """What is computed for each row.

    number: of rows.
    sources: what is read.
    products: the addends of the first layer: a source, and the part of the weight that it is multiplied by, or None.
    layers: weights of the rest; a bias of the first layer needs a product in it.
    after: sources whose rows are added at the end.
    kept: the source that is added to the rows that are returned, None: they are not; those summed are without it.
        -1: they are returned as they are.
    segments: how rows are summed; None: they are not.
    """

    number: int
    sources: Sequence[Source]
    products: Sequence[tuple[int, Tensor | None]]
    layers: Layers
    after: Sequence[int] = ()
    kept: int | None = -1
    segments: Segments | None = None


def repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times."""
    return rows if times == 1 else rows[:, None].expand(-1, times, -1).reshape(-1, rows.shape[-1])
