"""What `nn.blockwise` knows of a task apart from the tensors that may have gradients: which rows make a block."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from spacecast.nn.rows import Segments, Source, Task, repeated

Keep = Literal["nothing", "statistics", "layers"]

CACHED = 2**20
"""Bytes of a tensor of one block on a processor, for each thread; several of them are in use at a time."""

LARGEST = 2**28
"""The same on other devices, whose many cores need large blocks."""

FEW = 256
"""Rows of a table that many cores would wait for, if each of them added its gradients to them on its own."""

SHORT = 8
"""Rows of a receiver that are added one after the other, which is faster than a sum along the axis between."""


def cut(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Rows [start, stop), which may be all."""
    return tensor if stop - start == len(tensor) else tensor[start:stop]


class Reading(NamedTuple):
    """A `Source` without its table.

    numbers, repeat: see `Source`.
    period: rows of the network until the table is read anew.
    once: each row of the table is read by a single block.
    """

    numbers: Tensor | None
    repeat: int
    period: int
    once: bool

    def rows(self, table: Tensor, start: int, stop: int) -> Tensor:
        """What rows [start, stop) read, each row of a repeated table once."""
        if self.numbers is not None:
            return table.index_select(0, cut(self.numbers, start, stop))
        first = start % self.period // self.repeat
        return cut(table, first, first + (stop - start) // self.repeat)

    def add(self, total: Tensor | None, table: Tensor, start: int, stop: int, gradient: Tensor) -> Tensor:
        """The gradient of the table, so far the total, with that of `rows`."""
        if total is None and self.numbers is None and len(gradient) == len(table):
            return gradient if self.once else gradient.clone()
        if total is None:
            total = torch.empty_like(table) if self.once else torch.zeros_like(table, dtype=gradient.dtype)
        if self.numbers is None:
            mine = self.rows(total, start, stop)
            mine.copy_(gradient) if self.once else mine.add_(gradient)
            return total
        numbers = cut(self.numbers, start, stop)
        if len(table) < FEW and table.device.type != "cpu":
            return total.add_(torch.ops.aten.embedding_dense_backward(gradient, numbers, len(table), -1, False))
        return total.index_add_(0, numbers, gradient)


class Plan(NamedTuple):
    """A `Task` without the tensors that may have gradients, and the precisions.

    products: source and, or None, number of the weight of each addend.
    size: of a row of the result.
    factors: precision of the factors of matrix products.
    terms: precision of everything else.
    keep: for a backward pass, of each block: nothing, for there is none; mean and inverse standard deviation of each
        row before the norm; or also what comes out of each linear layer.
    """

    number: int
    readings: tuple[Reading, ...]
    products: tuple[tuple[int, int | None], ...]
    after: tuple[int, ...]
    kept: int | None
    segments: Segments | None
    biased: bool
    layers: int
    epsilon: float | None
    size: int
    factors: torch.dtype
    terms: torch.dtype
    keep: Keep

    @property
    def known(self) -> int:
        """Of how many linear layers the results are kept; those of a last one without a norm are not asked for."""
        return self.layers + (self.epsilon is not None) if self.keep == "layers" else 0

    def found(self, statistics: list[Tensor], inner: list[Tensor]) -> list[Tensor]:
        """What is kept of a block, in this order: the statistics of a norm, results of linear layers."""
        return [] if self.keep == "nothing" else [*statistics, *inner[: self.known]]

    def blocks(self, width: int, tensor: Tensor) -> Iterator[tuple[int, int]]:
        """First row of each block and of the one behind it; the rows of a receiver, or of two graphs, are not cut.

        Args:
            width: of the widest row of a block.
            tensor: any of those at work. Where it has no numbers (`training.memory_plan`) all rows make one block, for
                then each call takes the same time.
        """
        period = min([self.number, *(each.period for each in self.readings if each.numbers is None)])
        most = CACHED * torch.get_num_threads() if tensor.device.type == "cpu" else LARGEST
        degree = 1 if self.segments is None else self.segments.degree or 1
        together = max([degree, *(each.repeat for each in self.readings)])
        if hasattr(tensor, "fake_mode"):
            most = self.number * width * self.terms.itemsize
        longest = max(most // (width * self.terms.itemsize * together), 1)
        pieces = period // together
        length = together * -(-pieces // max(-(-pieces // longest), 1))  # equal, but for the last one
        for first in range(0, self.number, max(period, 1)):
            for start in range(first, first + period, length):
                yield start, min(start + length, first + period)


def make_reading(source: Source, number: int) -> Reading:
    """How so many rows of a network read a table."""
    period = len(source.table) * source.repeat
    return Reading(source.numbers, source.repeat, period, source.numbers is None and period == number)


def make_plan(task: Task, keep: Keep) -> Plan:
    """Everything of a task that has no gradient."""
    layers, device = task.layers, task.sources[0].table.device.type
    first = [weight for _, weight in task.products if weight is not None]
    weights = [*first, *(weight for weight, _ in layers.others), *(layers.norm or ())[:1]]
    terms = weights[0].dtype
    mixed = terms == torch.float32 and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    count = iter(range(len(first)))
    return Plan(
        number=task.number,
        readings=tuple(make_reading(each, task.number) for each in task.sources),
        products=tuple((source, None if weight is None else next(count)) for source, weight in task.products),
        after=tuple(task.after),
        kept=task.kept,
        segments=task.segments,
        biased=layers.bias is not None,
        layers=len(layers.others),
        epsilon=None if layers.norm is None else layers.norm[2],
        size=len(layers.others[-1][0] if layers.others else weights[0]),
        factors=torch.get_autocast_dtype(device) if mixed else terms,
        terms=terms,
        keep=keep,
    )


def sum_of_each(rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Sums over the axis in the middle."""
    if not 2 <= rows.shape[1] <= SHORT:
        return torch.sum(rows, dim=1) if out is None else torch.sum(rows, dim=1, out=out)
    sums = torch.add(rows[:, 0], rows[:, 1]) if out is None else torch.add(rows[:, 0], rows[:, 1], out=out)
    for number in range(2, rows.shape[1]):
        sums += rows[:, number]
    return sums


def add_sums(segments: Segments, sums: Tensor, start: int, stop: int, rows: Tensor) -> None:
    """Add the sums of rows [start, stop), with their factor where that is known to be all of them."""
    if segments.degree:
        first, last = start // segments.degree, stop // segments.degree
        mine = cut(sums, first, last)
        sum_of_each(rows.view(-1, segments.degree, rows.shape[-1]), mine)
        if segments.factor is not None:
            mine *= cut(segments.factor, first, last)
    else:
        sums.index_add_(0, cut(segments.receivers, start, stop), rows)


def scale_sums(segments: Segments, sums: Tensor) -> Tensor:
    """Multiply the sums of all rows, or their gradient, by the factor where `add_sums` has not."""
    if segments.degree is None and segments.factor is not None:
        sums *= segments.factor
    return sums


def spread_sums(segments: Segments, gradient: Tensor, start: int, stop: int, more: Tensor | None) -> Tensor:
    """Gradient of the sums to that of rows [start, stop), plus what these have from elsewhere."""
    if not segments.degree:
        rows = gradient.index_select(0, cut(segments.receivers, start, stop))
        return rows if more is None else rows.add_(more)
    first, last = start // segments.degree, stop // segments.degree
    mine = cut(gradient, first, last)
    mine = mine if segments.factor is None else mine * cut(segments.factor, first, last)
    if more is None:
        return repeated(mine, segments.degree)
    return (more.view(len(mine), segments.degree, -1) + mine[:, None]).view_as(more)
