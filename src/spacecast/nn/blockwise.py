"""The networks of nodes and edges, a block of rows at a time.

What lies between input and output stays in the cache of a processor, and nothing of it is kept for the backward pass,
which computes it again, block by block: of a task (`nn.rows.Task`) there remain its tables, and two numbers of a row.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spacecast.nn.blocks import Plan, add_sums, make_plan, scale_sums, spread_sums
from spacecast.nn.rows import Task, plain, repeated

Gradients = list[Tensor | None]


def compute(task: Task, *, recompute: bool) -> tuple[Tensor | None, Tensor | None]:
    """Rows, where they are returned, and sums, where there are, of a task.

    Args:
        task: what is computed.
        recompute: block by block, the inside of each block again in the backward pass; or all at once, and kept.

    """
    if not recompute:
        return plain(task)
    tables = [source.table for source in task.sources]
    weights = [weight for _, weight in task.products if weight is not None]
    bias = [] if task.layers.bias is None else [task.layers.bias]
    others = [each for layer in task.layers.others for each in layer]
    norm = task.layers.norm or ()
    results = _Blockwise.apply(make_plan(task), *tables, *weights, *bias, *others, *norm[:2])
    return results[0] if task.kept is not None else None, results[-1] if task.segments is not None else None


class _Blockwise(torch.autograd.Function):
    """Rows, where they are returned, and sums, where there are."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors are tables, weights of the addends, and those of `Layers`."""
        with without_autocast(tensors[0].device):
            rows, sums, statistics = _Network(plan, tensors).forward()
        ctx.plan, ctx.inputs = plan, len(tensors)
        ctx.save_for_backward(*tensors, *statistics)
        return tuple(each for each in (rows, sums) if each is not None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of rows and sums to those of the tensors."""
        saved = ctx.saved_tensors  # activation checkpointing lets them be asked for once
        tensors, statistics = saved[: ctx.inputs], saved[ctx.inputs :]
        of_rows = gradients[0] if ctx.plan.kept is not None else None
        of_sums = gradients[-1] if ctx.plan.segments is not None else None
        with without_autocast(tensors[0].device):
            network = _Network(ctx.plan, tensors)
            return None, *network.backward(of_rows, of_sums, statistics, ctx.needs_input_grad[1:])


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
        self.bias = next(remaining) if plan.biased else None
        self.others = [(next(remaining).to(cast), next(remaining).to(cast)) for _ in range(plan.layers)]
        self.norm = None if plan.epsilon is None else (next(remaining), next(remaining))
        self.device = tensors[0].device
        self.width = max([plan.size, *(table.shape[1] for table in self.tables)])

    def forward(self) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
        """Rows, sums, and mean and inverse standard deviation of each row before the norm."""
        plan = self.plan
        found: list[list[Tensor]] = []
        rows: Tensor | None = None
        sums: Tensor | None = None
        if plan.kept is not None:
            rows = torch.empty(plan.number, plan.size, dtype=plan.terms, device=self.device)
        if plan.segments is not None:
            sums = torch.zeros(plan.segments.total, plan.size, dtype=plan.terms, device=self.device)
        for start, stop in plan.blocks(self.width, self.device):
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
        for start, stop in plan.blocks(self.width, self.device):
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
        terms, factors = self.plan.terms, self.plan.factors
        bias = None if self.bias is None else self.bias.to(factors)
        hidden: Tensor | None = None
        own = False
        for source, number in self.plan.products:
            rows, reading = read[source], self.plan.readings[source]
            if number is not None:
                rows = functional.linear(rows.to(factors), self.first[number], bias)
                bias = None
            hidden = self._sum(hidden, own, rows.to(terms), reading.repeat)
            own = own or number is not None or hidden is not rows
        assert hidden is not None
        inner, active = [hidden], []
        for weight, constant in self.others:
            active.append(functional.silu(inner[-1]).to(factors))
            inner.append(functional.linear(active[-1], weight, constant).to(terms))
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
                part, others = torch.mm(small, self.first[number]).to(terms), parts[source]
                parts[source] = part if others is None else others + part

    def _once(self, source: int, gradient: Tensor) -> Tensor:
        """Gradient of each row to that of each row of a repeated table."""
        repeat = self.plan.readings[source].repeat
        return gradient if repeat == 1 else gradient.reshape(-1, repeat, gradient.shape[-1]).sum(dim=1)

    def _collect(self, parts: Gradients, source: int, gradient: Tensor) -> None:
        """Add a gradient of rows to that of what is read of a table."""
        rows, part = self._once(source, gradient), parts[source]
        parts[source] = rows if part is None else part + rows


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Precisions are what we say."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


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
