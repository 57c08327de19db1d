"""One sample on several processes: which rows each of them has, and how it comes by those of the others.

Each process owns a part of the nodes of the grid and of each level of the mesh, and all edges that end at them. Message
passing also needs the vectors of senders that others own, the halo: it is fetched by one `all_to_all` before each
layer, and in the backward pass the gradients of these rows go the other way, where they are added. Gradients of weights
are then those of the own part of the loss, and their sum over the processes that of the whole loss.

Halos are exchanged, and not whole node sets gathered, as in the distributed graphs of physicsnemo and in the model
sharding of anemoi.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from spacecast.core.grid import Grid


class ShardGroup:
    """The processes that share one sample.

    Args:
        rank: number of this process among them.
        size: how many they are.

    Attributes:
        group: of `torch.distributed`; None: all processes, which is what it is before `join`.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.group: Any = None

    def join(self) -> None:
        """Meet the others, once all processes are there; those of numbers 0 ... size - 1 share a sample, and so on.

        Every process of the job must call it, in the same order as other collectives.
        """
        if self.group is None and distributed.get_world_size() != self.size:
            self.group, _ = distributed.new_subgroups(group_size=self.size)

    def total(self, value: Tensor) -> Tensor:
        """Sum of a scalar, such as a part of a loss, over the group.

        Its gradient is that of the own part, times `size`: data-parallel training takes the mean of gradients over all
        processes, which then is the gradient of the sum, averaged over the samples.
        """
        total: Tensor = _Total.apply(value, self)
        return total

    def __deepcopy__(self, memo: dict[int, Any]) -> "ShardGroup":
        """The same: copies of a model talk to the same processes."""
        return self


class Halo:
    """Rows of a node set that a process takes from others, and those that it gives to them.

    Args:
        group: the processes.
        send: numbers of own rows, those for the first process before those for the next, shape (sent,), int64.
        sent, received: how many rows go to, and come from, each process.
    """

    def __init__(self, group: ShardGroup, send: Tensor, sent: Sequence[int], received: Sequence[int]) -> None:
        self.group, self.send = group, send
        self.sent, self.received = list(sent), list(received)
        self._elsewhere: dict[torch.device, Halo] = {}

    @property
    def size(self) -> int:
        """Rows that are taken."""
        return sum(self.received)

    def to(self, device: torch.device) -> "Halo":
        """The same for tensors on a device; made once for each."""
        if self.send.device == device:
            return self
        if device not in self._elsewhere:
            with torch.inference_mode(False):  # what a validation made must serve training too
                self._elsewhere[device] = Halo(self.group, self.send.to(device), self.sent, self.received)
        return self._elsewhere[device]

    def extended(self, rows: Tensor) -> Tensor:
        """Own rows and behind them those of others: (batch, row, dim) to (batch, row + size, dim)."""
        taken: Tensor = _Exchange.apply(rows, self)
        return torch.cat([rows, taken], dim=1)

    def exchange(self, given: Tensor, *, back: bool = False) -> Tensor:
        """Rows for each process, (sent, ...), to those from each process, (received, ...); `back`: the other way."""
        out, come = (self.received, self.sent) if back else (self.sent, self.received)
        taken = given.new_empty(sum(come), *given.shape[1:])
        distributed.all_to_all_single(taken, given.contiguous(), come, out, group=self.group.group)
        return taken


@dataclass(frozen=True, eq=False)
class GridPart:
    """The part of a grid that a process owns.

    Args:
        group: the processes.
        start, stop: the own nodes are those from `start` to before `stop`, by their numbers in the whole grid.
        share: of the nodes that the model forecasts.
        wide: grid of the own nodes and of all neighbours of these.
        halo: of the nodes of `wide` that others own.
        order: rows of `Halo.extended` in the order of the nodes of `wide`, shape (node,), int64.
        own: numbers of the own nodes among those of `wide`, one after the other, first and behind the last.
    """

    group: ShardGroup
    start: int
    stop: int
    share: float
    wide: "Grid"
    halo: Halo
    order: Tensor
    own: tuple[int, int]

    def cut(self, values: Tensor) -> Tensor:
        """Own nodes of the values of all: (..., node, variable)."""
        return values[..., self.start : self.stop, :]


class _Exchange(torch.autograd.Function):
    """Rows of others; the gradient of a row goes to its owner, who adds what comes from all who have used it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, halo: Halo) -> Tensor:
        """(batch, row, dim) to (batch, taken, dim)."""
        ctx.halo, ctx.rows = halo, rows.shape[1]
        return halo.exchange(rows.index_select(1, halo.send).movedim(1, 0)).movedim(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The transposed exchange."""
        back = ctx.halo.exchange(gradient.movedim(1, 0), back=True).movedim(0, 1)
        total = gradient.new_zeros(gradient.shape[0], ctx.rows, gradient.shape[2])
        return total.index_add_(1, ctx.halo.send, back), None


class _Total(torch.autograd.Function):
    """See `ShardGroup.total`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: ShardGroup) -> Tensor:
        """The sum."""
        ctx.size = group.size
        total = value.detach().clone()
        distributed.all_reduce(total, group=group.group)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Of the own part."""
        return gradient * ctx.size, None
