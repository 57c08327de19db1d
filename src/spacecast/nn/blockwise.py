"""The networks of nodes and edges, a block of rows at a time.

What lies between input and output stays in the cache of a processor, and nothing of it is kept for the backward pass,
which computes it again, block by block: of a task (`nn.rows.Task`) there remain its tables, and two numbers of each row.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spacecast.nn.rows import Segments, Source, Task, plain, repeated

CACHED = 2**19
"""Bytes of a tensor of one block on a processor, for each thread; several of them are in use at a time."""

LARGEST = 2**28
"""The same on other devices, whose many cores need large blocks."""

Gradients = list[Tensor | None]


def compute(task: Task) -> tuple[Tensor | None, Tensor | None]:
    """Rows and sums of a task; see `nn.rows.plain`."""
    if torch.compiler.is_compiling():
        return plain(task)  # which a compiler fuses by itself
    tables = [source.table for source in task.sources]
    weights = [weight for _, weight in task.products if weight is not None]
    bias = [] if task.layers.bias is None else [task.layers.bias]
    others = [each for layer in task.layers.others for each in layer]
    norm = task.layers.norm or ()
    results = _Blockwise.apply(_plan(task), *tables, *weights, *bias, *others, *norm[:2])
    return results[0] if task.kept is not None else None, results[-1] if task.segments is not None else None


class _Reading(NamedTuple):
    """A `Source` without its table.

    index, repeat: see `Source`.
    period: rows of the network until the table is read anew.
    once: each row of the table is read by a single block.
    """

    index: Tensor | None
    repeat: int
    period: int
    once: bool

    def rows(self, table: Tensor, start: int, stop: int) -> Tensor:
        """What rows [start, stop) read, each row of a repeated table once."""
        if self.index is not None:
            return table.index_select(0, self.index[start:stop])
        first = start % self.period // self.repeat
        return table[first : first + (stop - start) // self.repeat]

    def add(self, total: Tensor, start: int, stop: int, gradient: Tensor) -> None:
        """Add the gradient of `rows` to that of the table, or set it where no other block reads these rows."""
        if self.index is not None:
            total.index_add_(0, self.index[start:stop], gradient.to(total.dtype))
            return
        mine = total.narrow(0, start % self.period // self.repeat, len(gradient))
        mine.copy_(gradient) if self.once else mine.add_(gradient)


class _Plan(NamedTuple):
    """A `Task` without the tensors that may have gradients, and the precisions.

    products: source and, or None, number of the weight of each addend.
    size: of a row of the result.
    factors: precision of the factors of matrix products.
    terms: precision of everything else.
    """

    number: int
    readings: tuple[_Reading, ...]
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
        """First row of each block and of the one behind it; none is cut by the end of a graph or of a receiver's rows."""
        period = min([self.number, *(each.period for each in self.readings if each.index is None)])
        most = CACHED * torch.get_num_threads() if device.type == "cpu" else LARGEST
        degree = 1 if self.segments is None else self.segments.degree or 1
        together = max([degree, *(each.repeat for each in self.readings)])
        length = max(most // (width * self.terms.itemsize * together), 1) * together
        for first in range(0, self.number, max(period, 1)):
            for start in range(first, first + period, length):
                yield start, min(start + length, first + period)


def _reading(source: Source, number: int) -> _Reading:
    """How so many rows of a network read a table."""
    period = len(source.table) * source.repeat
    return _Reading(source.index, source.repeat, period, source.index is None and period == number)


def _plan(task: Task) -> _Plan:
    """Everything of a task that has no gradient."""
    layers, device = task.layers, task.sources[0].table.device.type
    first = [weight for _, weight in task.products if weight is not None]
    weights = [*first, *(weight for weight, _ in layers.others), *(layers.norm or ())[:1]]
    terms = weights[0].dtype
    mixed = torch.is_autocast_enabled(device) and terms == torch.float32
    count = iter(range(len(first)))
    return _Plan(
        number=task.number,
        readings=tuple(_reading(each, task.number) for each in task.sources),
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


class _Blockwise(torch.autograd.Function):
    """Rows, where they are returned, and sums, where there are."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors are tables, weights of the addends, and those of `Layers`."""
        with torch.autocast(tensors[0].device.type, enabled=False):
            rows, sums, statistics = _Network(plan, tensors).forward()
        ctx.plan, ctx.inputs = plan, len(tensors)
        ctx.save_for_backward(*tensors, *statistics)
        return tuple(each for each in (rows, sums) if each is not None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of rows and sums to those of the tensors."""
        tensors, statistics = ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        of_rows = gradients[0] if ctx.plan.kept is not None else None
        of_sums = gradients[-1] if ctx.plan.segments is not None else None
        with torch.autocast(tensors[0].device.type, enabled=False):
            network = _Network(ctx.plan, tensors)
            return None, *network.backward(of_rows, of_sums, statistics, ctx.needs_input_grad[1:])


class _Network:
    """A task at work on its tensors.

    Args:
        plan: what is to be done.
        tensors: see `_Blockwise.forward`.

    """

    def __init__(self, plan: _Plan, tensors: tuple[Tensor, ...]) -> None:
        self.plan, self.tensors = plan, tensors
        remaining = iter(tensors)
        cast = plan.factors
        self.tables = [next(remaining) for _ in plan.readings]
        self.first = [next(remaining).to(cast) for _, number in plan.products if number is not None]
        self.bias = next(remaining) if plan.biased else None
        self.others = [(next(remaining).to(cast), next(remaining).to(cast)) for _ in range(plan.layers)]
        self.norm = None if plan.epsilon is None else (next(remaining), next(remaining))
        self.device = tensors[0].device

    def blocks(self) -> Iterator[tuple[int, int]]:
        """See `_Plan.blocks`."""
        return self.plan.blocks(max([self.plan.size, *(table.shape[1] for table in self.tables)]), self.device)

    def forward(self) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
        """Rows, sums, and mean and inverse standard deviation of each row before the norm."""
        plan, found = self.plan, []
        rows = sums = None
        if plan.kept is not None:
            rows = torch.empty(plan.number, plan.size, dtype=plan.terms, device=self.device)
        if plan.segments is not None:
            sums = torch.zeros(plan.segments.count, plan.size, dtype=plan.terms, device=self.device)
        for start, stop in self.blocks():
            read = self._read(start, stop)
            values = self._inner(read)[0][-1]
            if self.norm is not None and plan.epsilon is not None:
                values, *statistics = torch.native_layer_norm(values, [plan.size], *self.norm, plan.epsilon)
                found.append(statistics)
            for number in plan.after:
                values = self._sum(values, True, read[number], plan.readings[number].repeat)
            if sums is not None and plan.segments is not None:
                add_sums(plan.segments, sums, start, stop, values)
            if rows is not None and plan.kept is not None:
                if plan.kept >= 0:
                    torch.add(values, read[plan.kept], out=rows[start:stop])
                else:
                    rows[start:stop] = values
        if sums is not None and plan.segments is not None:
            scale_sums(plan.segments, sums)
        return rows, sums, [torch.cat(each) for each in zip(*found, strict=True)]

    def backward(
        self, of_rows: Tensor | None, of_sums: Tensor | None, statistics: tuple[Tensor, ...], needed: tuple[bool, ...]
    ) -> Gradients:
        """Gradients of the tensors that need one, from those of rows and sums and what `forward` has found."""
        plan, segments = self.plan, self.plan.segments
        totals = [self._total(place) if need else None for place, need in enumerate(needed)]
        if of_sums is not None and segments is not None and segments.degree is None:
            of_sums = scale_sums(segments, of_sums.clone())
        for start, stop in self.blocks():
            parts: list[Tensor | None] = [None] * len(self.tables)
            gradient = None if of_rows is None else of_rows[start:stop]
            if gradient is not None and plan.kept is not None and plan.kept >= 0:
                self._collect(parts, plan.kept, gradient)
            if of_sums is not None and segments is not None:
                spread = spread_sums(segments, of_sums, start, stop)
                gradient = spread if gradient is None else gradient + spread
            assert gradient is not None
            for number in plan.after:
                self._collect(parts, number, gradient)
            read = self._read(start, stop)
            self._block_backward(read, gradient, [each[start:stop] for each in statistics], totals, parts)
            for reading, total, part in zip(plan.readings, totals, parts, strict=False):
                if total is not None and part is not None:
                    reading.add(total, start, stop, part)
        pairs = zip(self.tensors, totals, strict=True)
        return [None if total is None else total.to(tensor.dtype) for tensor, total in pairs]

    def _total(self, place: int) -> Tensor:
        """Where the gradient of a tensor is summed, in single precision or better."""
        tensor, readings = self.tensors[place], self.plan.readings
        if place < len(readings) and readings[place].once:
            return torch.empty_like(tensor)
        return torch.zeros_like(tensor, dtype=torch.promote_types(self.plan.terms, torch.float32))

    def _read(self, start: int, stop: int) -> list[Tensor]:
        """What a block reads of each table."""
        pairs = zip(self.plan.readings, self.tables, strict=True)
        return [reading.rows(table, start, stop) for reading, table in pairs]

    def _sum(self, values: Tensor | None, own: bool, rows: Tensor, repeat: int) -> Tensor:
        """Values plus what is read of a table; in place where the values are our own."""
        if values is None:
            return repeated(rows, repeat)
        many, few = (values, rows) if repeat == 1 else (values.view(len(rows), repeat, -1), rows[:, None])
        return (many.add_(few) if own else many + few).view_as(values)

    def _inner(self, read: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """What comes out of each linear layer, and what went into those behind the first."""
        terms, factors, bias = self.plan.terms, self.plan.factors, self.bias
        hidden, own = None, False
        for source, number in self.plan.products:
            rows, reading = read[source], self.plan.readings[source]
            if number is not None:
                rows = functional.linear(rows.to(factors), self.first[number], None if bias is None else bias.to(factors))
                bias = None
            hidden = self._sum(hidden, own, rows.to(terms), reading.repeat)
            own = own or number is not None or reading.index is not None or hidden is not rows
        assert hidden is not None
        inner, active = [hidden], []
        for weight, bias in self.others:
            active.append(functional.silu(inner[-1]).to(factors))
            inner.append(functional.linear(active[-1], weight, bias).to(terms))
        return inner, active

    def _block_backward(
        self, read: list[Tensor], gradient: Tensor, statistics: list[Tensor], totals: Gradients, parts: Gradients
    ) -> None:
        """Add what a block contributes to the gradients of weights (`totals`), and of what it has read (`parts`)."""
        plan, factors, terms = self.plan, self.plan.factors, self.plan.terms
        (*inner, last), active = self._inner(read)
        place = len(totals)
        if self.norm is not None:
            place -= 2
            gradient, *of_norm = torch.ops.aten.native_layer_norm_backward(
                gradient.contiguous(), last, [plan.size], *statistics, *self.norm, [True] * 3
            )
            for total, part in zip(totals[place:], of_norm, strict=True):
                add_to(total, part)
        for hidden, taken, (weight, _) in zip(reversed(inner), reversed(active), reversed(self.others), strict=True):
            place -= 2
            small = gradient.to(factors)
            add_product(totals[place], small, taken)
            add_to(totals[place + 1], gradient.sum(dim=0))
            gradient = torch.ops.aten.silu_backward(torch.mm(small, weight).to(terms), hidden)
        if self.bias is not None:
            add_to(totals[place - 1], gradient.sum(dim=0))
        for source, number in plan.products:
            if number is None:
                self._collect(parts, source, gradient)
                continue
            small = self._once(source, gradient).to(factors)
            add_product(totals[len(self.tables) + number], small, read[source].to(factors))
            if totals[source] is not None:
                part = torch.mm(small, self.first[number]).to(terms)
                parts[source] = part if parts[source] is None else parts[source] + part

    def _once(self, source: int, gradient: Tensor) -> Tensor:
        """Gradient of each row to that of each row of a repeated table."""
        repeat = self.plan.readings[source].repeat
        return gradient if repeat == 1 else gradient.reshape(-1, repeat, gradient.shape[-1]).sum(dim=1)

    def _collect(self, parts: Gradients, source: int, gradient: Tensor) -> None:
        """Add a gradient of rows to that of what is read of a table."""
        rows, part = self._once(source, gradient), parts[source]
        parts[source] = rows if part is None else part + rows


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


def add_to(total: Tensor | None, part: Tensor) -> None:
    """Add where a gradient is asked for."""
    if total is not None:
        total += part


def add_product(total: Tensor | None, gradient: Tensor, rows: Tensor) -> None:
    """Add the gradient of a weight."""
    if total is None:
        return
    if total.dtype == rows.dtype:
        total.addmm_(gradient.t(), rows)
    else:
        total += torch.mm(gradient.t(), rows)
