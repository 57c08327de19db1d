"""What the networks of nodes and edges compute for each row, spelt out by plain operations.

LayerNorm(W_n silu(... W_2 silu(h))) + rows, with h a sum of rows and of products of rows with a part of the first
layer's weight; where asked for, summed over the rows that have one receiver. `nn.blockwise` computes the same in less
memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


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


FEW = 256
"""Tables of so few rows are read by an embedding: its backward pass does not let all rows wait for one of them."""


def repeated(rows: Tensor, times: int) -> Tensor:
    """Each row so many times."""
    return rows if times == 1 else rows[:, None].expand(-1, times, -1).reshape(-1, rows.shape[-1])


def add_read(
    total: Tensor | None, source: Source, number: int, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Add what so many rows of a network read, or its product with a weight, made once for each row of the table."""
    if source.numbers is not None:
        table, numbers = source.table, source.numbers
        rows = functional.embedding(numbers, table) if len(table) < FEW else table.index_select(0, numbers)
        rows = rows if weight is None else functional.linear(rows, weight, bias)
        return rows if total is None else total + rows
    table = source.table if weight is None else functional.linear(source.table, weight, bias)
    if total is None:
        rows = repeated(table, source.repeat)
        return rows if len(rows) == number else rows.repeat(number // len(rows), 1)
    graphs = number // max(len(table) * source.repeat, 1)
    return (total.view(graphs, len(table), source.repeat, table.shape[-1]) + table[:, None]).view_as(total)


def sum_segments(rows: Tensor, segments: Segments) -> Tensor:
    """Sums of the rows that have one receiver, times their factor."""
    if segments.degree:
        sums = rows.view(segments.total, segments.degree, -1).sum(dim=1)
    else:
        sums = rows.new_zeros(segments.total, rows.shape[-1]).index_add_(0, segments.receivers, rows)
    return sums if segments.factor is None else sums * segments.factor.to(sums.dtype)


def plain(task: Task) -> tuple[Tensor | None, Tensor | None]:
    """Rows and sums of a task."""
    hidden: Tensor | None = None
    bias = task.layers.bias
    for number, weight in task.products:
        hidden = add_read(hidden, task.sources[number], task.number, weight, bias)
        bias = bias if weight is None else None
    assert hidden is not None
    for weight, bias in task.layers.others:
        hidden = functional.linear(functional.silu(hidden), weight, bias)
    hidden = hidden.to(task.layers.dtype)  # mixed precision: norms, sums and states are in single precision
    if task.layers.norm is not None:
        weight, bias, epsilon = task.layers.norm
        hidden = functional.layer_norm(hidden, hidden.shape[-1:], weight, bias, epsilon)
    for number in task.after:
        hidden = add_read(hidden, task.sources[number], task.number)
    sums = None if task.segments is None else sum_segments(hidden, task.segments)
    if task.kept is None:
        return None, sums
    return hidden if task.kept < 0 else add_read(hidden, task.sources[task.kept], task.number), sums
