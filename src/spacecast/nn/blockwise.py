"""The networks of nodes and edges, a block of rows at a time.

What lies between input and output stays in the cache of a processor. Of a task (`nn.rows.Task`) there remain, for the
backward pass, its tables, two numbers of a row and what comes out of each linear layer; or not even the latter, which
the backward pass then computes again, block by block.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spacecast.nn import native
from spacecast.nn.blocks import Keep, Plan, add_sums, cut, make_plan, scale_sums, spread_sums, sum_of_each
from spacecast.nn.rows import Segments, Task, repeated

Gradients = list[Tensor | None]


def compute(task: Task, *, recompute: bool) -> tuple[Tensor | None, Tensor | None]:
    """Rows, where they are returned, and sums, where there are, of a task.

    Args:
        task: what is computed.
        recompute: keep nothing of the inside for the backward pass, which computes it again.

    """
    tables = [source.table for source in task.sources]
    weights = [weight for _, weight in task.products if weight is not None]
    bias = [] if task.layers.bias is None else [task.layers.bias]
    others = [each for layer in task.layers.others for each in layer]
    tensors = (*tables, *weights, *bias, *others, *(task.layers.norm or ())[:2])
    keep: Keep = "nothing"
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        keep = "statistics" if recompute else "layers"
    results = _Blockwise.apply(make_plan(task, keep), *tensors)
    return results[0] if task.kept is not None else None, results[-1] if task.segments is not None else None


class _Blockwise(torch.autograd.Function):
    """Rows, where they are returned, and sums, where there are."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors are tables, weights of the addends, and those of `Layers`."""
        ctx.plan, ctx.inputs, ctx.native = plan, len(tensors), native.usable(plan, tensors)
        if ctx.native:
            (rows, sums), found = native.forward(plan, tensors), list[Tensor]()
        else:
            with without_autocast(tensors[0].device):
                rows, sums, found = _Network(plan, tensors).forward()
        ctx.save_for_backward(*tensors, *found)
        return tuple(each for each in (rows, sums) if each is not None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of rows and sums to those of the tensors."""
        saved = ctx.saved_tensors  # activation checkpointing lets them be asked for once
        tensors, found = saved[: ctx.inputs], saved[ctx.inputs :]
        of_rows = gradients[0] if ctx.plan.kept is not None else None
        of_sums = gradients[-1] if ctx.plan.segments is not None else None
        if ctx.native:
            return None, *native.backward(ctx.plan, tensors, of_rows, of_sums, ctx.needs_input_grad[1:])
        with without_autocast(tensors[0].device):
            network = _Network(ctx.plan, tensors)
            return None, *network.backward(of_rows, of_sums, found, ctx.needs_input_grad[1:])


class _Network:
    """A task at work on its tensors.

    Args:
        plan: what is to be done.
        tensors: see `_Blockwise.forward`.

    """

    def __init__(self, plan: Plan, tensors: tuple[Tensor, ...]) -> None:
        self.plan, self.tensors = plan, tensors
        remaining = iter(tensors)
        cast = plan.factors
        self.tables = [next(remaining) for _ in plan.readings]
        self.first = [next(remaining).to(cast) for _, number in plan.products if number is not None]
        self.bias = next(remaining).to(cast) if plan.biased else None
        self.others = [(next(remaining).to(cast), next(remaining).to(cast)) for _ in range(plan.layers)]
        self.norm = None if plan.epsilon is None else (next(remaining), next(remaining))
        self.device = tensors[0].device
        self.width = max([plan.size, *(table.shape[1] for table in self.tables)])
        self.mixed = plan.factors != plan.terms
        self.needed: tuple[bool, ...] = ()  # by the backward pass, of the tensors

    def forward(self) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
        """Rows, sums, and of each block what `Plan.found` says."""
        plan, segments = self.plan, self.plan.segments
        found: list[Tensor] = []
        rows, sums = None, None if segments is None else self._empty_sums(segments)
        for start, stop in plan.blocks(self.width, self.tensors[0]):
            read = self._read(start, stop, range(len(self.tables)))
            inner, _ = self._layers([self._hidden(read)])
            values, statistics = inner[-1], list[Tensor]()
            if self.norm is not None and plan.epsilon is not None:
                values, *statistics = torch.native_layer_norm(values, [plan.size], *self.norm, plan.epsilon)
            found += plan.found(statistics, inner)
            for number in plan.after:
                values = self._sum(values, True, read[number], plan.readings[number].repeat)
            if sums is not None and segments is not None:
                add_sums(segments, sums, start, stop, values)
            if plan.kept is not None:
                rows = self._put(rows, values, None if plan.kept < 0 else read[plan.kept], start, stop)
        if sums is not None and segments is not None:
            scale_sums(segments, sums)
        if rows is None and plan.kept is not None:
            rows = self._empty(0)
        return rows, sums, found

    def backward(
        self, of_rows: Tensor | None, of_sums: Tensor | None, found: Sequence[Tensor], needed: tuple[bool, ...]
    ) -> Gradients:
        """Gradients of the tensors that need one, from those of rows and sums and what `forward` has found."""
        plan, segments = self.plan, self.plan.segments
        totals: Gradients = [None] * len(self.tensors)
        self.needed = needed
        if of_sums is not None and segments is not None and segments.degree is None:
            of_sums = scale_sums(segments, of_sums.clone())
        remaining = iter(found)
        again = [source for source, number in plan.products if number is not None or not plan.known]
        for start, stop in plan.blocks(self.width, self.tensors[0]):
            parts: list[Tensor | None] = [None] * len(self.tables)
            gradient = None if of_rows is None else cut(of_rows, start, stop)
            if gradient is not None and plan.kept is not None and plan.kept >= 0:
                self._collect(parts, plan.kept, gradient)
            if of_sums is not None and segments is not None:
                gradient = spread_sums(segments, of_sums, start, stop, gradient)
            assert gradient is not None
            for number in plan.after:
                self._collect(parts, number, gradient)
            read = self._read(start, stop, again)
            statistics = [next(remaining) for _ in range(0 if self.norm is None else 2)]
            inner = [next(remaining) for _ in range(plan.known)] or [self._hidden(read)]
            gradient = self._behind_first(inner, gradient, statistics, totals)
            self._first_layer(read, gradient, totals, parts, start, stop)
            for place, part in enumerate(parts):
                if needed[place] and part is not None:
                    totals[place] = plan.readings[place].add(totals[place], self.tables[place], start, stop, part)
        return [self._whole(*each) for each in zip(self.tensors, totals, needed, strict=True)]

    def _empty(self, number: int) -> Tensor:
        """Memory for so many rows of a result."""
        return torch.empty(number, self.plan.size, dtype=self.plan.terms, device=self.device)

    def _empty_sums(self, segments: Segments) -> Tensor:
        """Memory for sums, zero where they are added to."""
        sums = self._empty(segments.total)
        return sums if segments.degree else sums.zero_()

    def _put(self, rows: Tensor | None, values: Tensor, more: Tensor | None, start: int, stop: int) -> Tensor:
        """The rows of all blocks, with those of one more, plus what is to be added to them."""
        if len(values) == self.plan.number:
            return values if more is None else values + more
        rows = self._empty(self.plan.number) if rows is None else rows
        rows[start:stop].copy_(values) if more is None else torch.add(values, more, out=rows[start:stop])
        return rows

    def _whole(self, tensor: Tensor, total: Tensor | None, needed: bool) -> Tensor | None:
        """The gradient of a tensor, which is zero without any row."""
        if not needed:
            return None
        return torch.zeros_like(tensor) if total is None else total.to(tensor.dtype)

    def _add(self, totals: Gradients, place: int, part: Tensor) -> None:
        """Add to the gradient of a tensor where it is asked for."""
        total = totals[place]
        if self.needed[place]:
            totals[place] = part if total is None else total.add_(part)

    def _add_product(self, totals: Gradients, place: int, gradient: Tensor, rows: Tensor) -> None:
        """Add to the gradient of a weight where it is asked for, in single precision or better."""
        total = totals[place]
        if not self.needed[place]:
            return
        if total is None or self.mixed:
            self._add(totals, place, torch.mm(gradient.t(), rows).to(self.plan.terms))
        else:
            total.addmm_(gradient.t(), rows)

    def _read(self, start: int, stop: int, sources: Iterable[int]) -> dict[int, Tensor]:
        """What a block reads of some tables."""
        return {source: self.plan.readings[source].rows(self.tables[source], start, stop) for source in sources}

    def _sum(self, values: Tensor | None, own: bool, rows: Tensor, repeat: int) -> Tensor:
        """Values plus what is read of a table; in place where the values are our own."""
        if values is None:
            return repeated(rows, repeat)
        many, few = (values, rows) if repeat == 1 else (values.view(len(rows), repeat, -1), rows[:, None])
        return (many.add_(few) if own else many + few).view_as(values)

    def _hidden(self, read: dict[int, Tensor]) -> Tensor:
        """What comes out of the first layer."""
        terms, factors = self.plan.terms, self.plan.factors
        bias, hidden, own = self.bias, None, False
        for source, number in self.plan.products:
            rows, reading = read[source], self.plan.readings[source]
            once = reading.repeat == 1 and bias is None and not self.mixed
            if number is not None and own and hidden is not None and once:
                hidden.addmm_(rows, self.first[number].t())
                continue
            if number is not None:
                rows = functional.linear(rows.to(factors), self.first[number], bias).to(terms)
                bias = None
            hidden = self._sum(hidden, own, rows.to(terms), reading.repeat)
            own = own or number is not None or hidden is not rows or reading.numbers is not None
        assert hidden is not None
        return hidden

    def _layers(self, inner: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """What comes out of each linear layer, where some of the first are known, and what goes into those behind."""
        active: list[Tensor] = []
        for number, (weight, constant) in enumerate(self.others, start=1):
            active.append(functional.silu(inner[number - 1]).to(self.plan.factors))
            if number == len(inner):
                inner.append(functional.linear(active[-1], weight, constant).to(self.plan.terms))
        return inner, active

    def _behind_first(
        self, inner: list[Tensor], gradient: Tensor, statistics: list[Tensor], totals: Gradients
    ) -> Tensor:
        """Gradient of what comes out of the first layer; adds those of the weights behind it."""
        plan, place = self.plan, len(totals)
        inner, active = self._layers(inner)
        if self.norm is not None:
            place -= 2
            gradient, *of_norm = torch.ops.aten.native_layer_norm_backward(
                gradient.contiguous(), inner[-1], [plan.size], *statistics, *self.norm, [True] * 3
            )
            for number, part in enumerate(of_norm):
                self._add(totals, place + number, part)
        for number in reversed(range(plan.layers)):
            place -= 2
            small = gradient.to(plan.factors)
            self._add_product(totals, place, small, active[number])
            self._add(totals, place + 1, gradient.sum(dim=0))
            gradient = torch.mm(small, self.others[number][0]).to(plan.terms)
            torch.ops.aten.silu_backward(gradient, inner[number], grad_input=gradient)
        if self.bias is not None:
            self._add(totals, place - 1, gradient.sum(dim=0))
        return gradient

    def _first_layer(
        self, read: dict[int, Tensor], gradient: Tensor, totals: Gradients, parts: Gradients, start: int, stop: int
    ) -> None:
        """Add to the gradients of the first layer's weights (`totals`), and of what is read (`parts`, or in place)."""
        uses = [source for source, _ in self.plan.products]
        for source, number in self.plan.products:
            if number is None:
                self._collect(parts, source, gradient)
                continue
            small = self._once(source, gradient).to(self.plan.factors)
            self._add_product(totals, len(self.tables) + number, small, read[source].to(self.plan.factors))
            if not self.needed[source]:
                continue
            table, reading, part = self.tables[source], self.plan.readings[source], parts[source]
            weight = self.first[number]
            if reading.once and len(small) < len(table) and table.dtype == small.dtype and uses.count(source) == 1:
                total = totals[source]
                total = totals[source] = torch.empty_like(table) if total is None else total
                place, parts[source] = reading.rows(total, start, stop), None
                torch.mm(small, weight, out=place) if part is None else torch.addmm(part, small, weight, out=place)
            else:
                product = torch.mm(small, weight).to(self.plan.terms)
                parts[source] = product if part is None else product.add_(part)

    def _once(self, source: int, gradient: Tensor) -> Tensor:
        """Gradient of each row to that of each row of a repeated table."""
        repeat = self.plan.readings[source].repeat
        return gradient if repeat == 1 else sum_of_each(gradient.reshape(-1, repeat, gradient.shape[-1]))

    def _collect(self, parts: Gradients, source: int, gradient: Tensor) -> None:
        """Add a gradient of rows to that of what is read of a table."""
        rows, part = self._once(source, gradient), parts[source]
        parts[source] = rows if part is None else part + rows


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Precisions are what we say."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
