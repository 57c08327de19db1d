"""What `nn.blockwise` knows of a task apart from the tensors that may have gradients: which rows make a block."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from spacecast.nn.rows import Segments, Source, Task, repeated

CACHED = 2**19
"""Bytes of a tensor of one block on a processor, for each thread; several of them are in use at a time."""

LARGEST = 2**28
"""The same on other devices, whose many cores need large blocks."""


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
            return table.index_select(0, self.numbers[start:stop])
        first = start % self.period // self.repeat
        return table[first : first + (stop - start) // self.repeat]

    def add(self, total: Tensor, start: int, stop: int, gradient: Tensor) -> None:
        """Add the gradient of `rows` to that of the table, or set it where no other block reads these rows."""
        if self.numbers is not None:
            total.index_add_(0, self.numbers[start:stop], gradient.to(total.dtype))
            return
        mine = total.narrow(0, start % self.period // self.repeat, len(gradient))
        mine.copy_(gradient) if self.once else mine.add_(gradient)


class Plan(NamedTuple):
    """A `Task` without the tensors that may have gradients, and the precisions.

    products: source and, or None, number of the weight of each addend.
    size: of a row of the result.
    factors: precision of the factors of matrix products.
    terms: precision of everything else.
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

    def blocks(self, width: int, device: torch.device) -> Iterator[tuple[int, int]]:
        """First row of each block and of the one behind it; the rows of a receiver, or of two graphs, are not cut."""
        period = min([self.number, *(each.period for each in self.readings if each.numbers is None)])
        most = CACHED * torch.get_num_threads() if device.type == "cpu" else LARGEST
        degree = 1 if self.segments is None else self.segments.degree or 1
        together = max([degree, *(each.repeat for each in self.readings)])
        length = max(most // (width * self.terms.itemsize * together), 1) * together
        for first in range(0, self.number, max(period, 1)):
            for start in range(first, first + period, length):
                yield start, min(start + length, first + period)


def make_reading(source: Source, number: int) -> Reading:
    """How so many rows of a network read a table."""
    period = len(source.table) * source.repeat
    return Reading(source.numbers, source.repeat, period, source.numbers is None and period == number)


def make_plan(task: Task) -> Plan:
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
    )


def add_sums(segments: Segments, sums: Tensor, start: int, stop: int, rows: Tensor) -> None:
    """Add the sums of rows [start, stop), with their factor where that is known to be all of them."""
    if segments.degree:
        first, last = start // segments.degree, stop // segments.degree
        mine = sums[first:last]
        torch.sum(rows.view(-1, segments.degree, rows.shape[-1]), dim=1, out=mine)
        if segments.factor is not None:
            mine *= segments.factor[first:last]
    else:
        sums.index_add_(0, segments.receivers[start:stop], rows)


def scale_sums(segments: Segments, sums: Tensor) -> Tensor:
    """Multiply the sums of all rows, or their gradient, by the factor where `add_sums` has not."""
    if segments.degree is None and segments.factor is not None:
        sums *= segments.factor
    return sums


def spread_sums(segments: Segments, gradient: Tensor, start: int, stop: int) -> Tensor:
    """Gradient of the sums to that of rows [start, stop)."""
    if not segments.degree:
        return gradient.index_select(0, segments.receivers[start:stop])
    first, last = start // segments.degree, stop // segments.degree
    mine = gradient[first:last]
    return repeated(mine if segments.factor is None else mine * segments.factor[first:last], segments.degree)
