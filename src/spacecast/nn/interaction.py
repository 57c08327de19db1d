"""Message passing between two sets of nodes."""

from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError, nearest
from spacecast.nn.blockwise import compute
from spacecast.nn.conditioning import scale_and_shift
from spacecast.nn.edges import EdgeIndex, add_shared
from spacecast.nn.mlp import MLP
from spacecast.nn.rows import Source, Task
from spacecast.nn.stack import Stack

Aggregation = Literal["sum", "mean"]
MessageKind = Literal["interaction", "propagation"]


class Prepared(NamedTuple):
    """Static edges and what the first layer of the edge network makes of them before any state is known.

    edges: static edge vectors, a row for each kind of edge or for each edge.
    bias: their part of the first layer, alike; with that of static receivers in it, shape (edge, dim).
    receivers_included: whether the receivers' part is in it.
    """

    edges: Tensor
    bias: Tensor
    receivers_included: bool


class InteractionNet(nn.Module):
    """Interaction network (Battaglia et al. 2016), or the propagation network of Oskarsson et al. (2024).

    message = MLP(edge, sender, receiver); receiver += MLP(receiver, aggregated); edge += message. The propagation
    network adds the sender to the message, averages, and adds the result to the average instead of the old receiver,
    so that a new network hands information on.

    The first layer of the edge network is applied before the nodes are gathered: W [e, s, r] = W_e e + W_s s + W_r r,
    with products over nodes instead of over edges, of which there are several times more. The stored weight keeps the
    concatenated shape (dim, 3 * dim).

    Graphs of a batch lie side by side in the rows. Receivers and edges that are the same in all of them may be given
    once, without the batch.

    Args:
        dim: size of node and edge vectors.
        hidden_layers: hidden layers of each MLP.
        update_edges: return new edge vectors too.
        aggregation: sum or mean over the messages (a propagation network always averages).
        kind: interaction or propagation.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden_layers: int = 1,
        update_edges: bool = True,
        aggregation: Aggregation = "sum",
        kind: MessageKind = "interaction",
    ) -> None:
        super().__init__()
        for name, value, known in (("aggregation", aggregation, Aggregation), ("kind", kind, MessageKind)):
            if value not in get_args(known):
                raise UserError(f"unknown {name} {value!r}; {nearest(value, get_args(known))}")
        self.dim = dim
        self.edge_mlp = MLP([3 * dim] + [dim] * (hidden_layers + 1))
        self.aggr_mlp = MLP([2 * dim] + [dim] * (hidden_layers + 1))
        self.update_edges = update_edges
        self.propagation = kind == "propagation"
        self.mean = self.propagation or aggregation == "mean"

    def prepare(self, edges: Tensor, receivers: Tensor | None = None, index: EdgeIndex | None = None) -> Prepared:
        """Apply the first layer to static edges and static receivers, shape (receiver, dim).

        Args:
            edges: static edge vectors, a row for each kind of edge (`EdgeBuffers.features`) or for each edge.
            receivers: static receiver vectors, if they are.
            index: the edges of a single graph; needed with `receivers`.
        """
        weight, bias = self.edge_mlp.first.weight, self.edge_mlp.first.bias
        first = functional.linear(edges, weight[:, : self.dim], bias)
        if receivers is not None and index is not None:
            own = functional.linear(receivers, weight[:, 2 * self.dim :]).index_select(0, index.receivers)
            first = index.add_static(first, own)
        return Prepared(edges, first, receivers is not None)

    def forward(
        self,
        senders: Tensor,
        receivers: Tensor,
        edges: Tensor | Prepared,
        index: EdgeIndex,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """New receivers (batch * receiver, dim) and, if they are updated, edges (batch * edge, dim).

        `condition` scales and shifts the change of the receivers, see `nn.conditioning.scale_and_shift`.
        """
        gathered, new_edges = self._messages(index.all_senders(senders), receivers, edges, index)
        return self._update(receivers, gathered, condition), new_edges

    def _messages(
        self, senders: Tensor, receivers: Tensor, edges: Tensor | Prepared, index: EdgeIndex
    ) -> tuple[Tensor, Tensor | None]:
        """Sum or mean of the messages to each receiver, and new edges where they are updated."""
        weight, dim, number = self.edge_mlp.first.weight, self.dim, len(index.senders)
        of_edges, of_senders, of_receivers = weight.split(dim, dim=1)
        static = edges if isinstance(edges, Prepared) else None
        own = index.static(edges.edges if isinstance(edges, Prepared) else edges)
        sources: list[Source] = []
        products: list[tuple[int, Tensor | None]] = []

        def add(source: Source) -> int:
            sources.append(source)
            return len(sources) - 1

        if static is None:  # the first product, which the bias goes with
            products.append((add(own), of_edges))
        gathered = sender = Source(senders, index.senders)
        factor: Tensor | None = of_senders
        if number > len(senders):  # fewer products
            sender, factor = Source(functional.linear(senders, of_senders), index.senders), None
        place = add(sender)
        products.append((place, factor))
        if static is None or not static.receivers_included:
            source, factor = index.of_receivers(receivers, of_receivers)
            products.append((add(source), factor))
        if static is not None:
            products.append((add(index.static(static.bias)), None))
        after = [] if not self.propagation else [place if sender is gathered else add(gathered)]
        kept = None
        if self.update_edges:
            kept = 0 if static is None else add(own)
        layers, segments = self.edge_mlp.layers(biased=static is None), index.segments(mean=self.mean)
        task = Task(number, sources, products, layers, after, kept, segments)
        rows, sums = compute(task, recompute=self.edge_mlp.recompute)
        assert sums is not None
        return sums, rows

    def _update(self, receivers: Tensor, gathered: Tensor, condition: Tensor | None) -> Tensor:
        """New receivers."""
        of_receivers, of_messages = self.aggr_mlp.first.weight.split(self.dim, dim=1)
        old = 1 if self.propagation else 0
        task = Task(
            number=len(gathered),
            sources=[Source(receivers), Source(gathered)],
            products=[(0, of_receivers), (1, of_messages)],
            layers=self.aggr_mlp.layers(),
            after=[old] if condition is None else [],
        )
        change, _ = compute(task, recompute=self.aggr_mlp.recompute)
        assert change is not None
        if condition is None:
            return change
        change = scale_and_shift(change, condition)
        return gathered + change if self.propagation else add_shared(receivers, change)


Nets = Stack[InteractionNet]


def make_nets(count: int, dim: int, hidden_layers: int, kind: MessageKind, *, update_edges: bool = False) -> Nets:
    """Networks of one kind, side by side or in turn."""
    return Stack(
        InteractionNet(dim, hidden_layers=hidden_layers, kind=kind, update_edges=update_edges) for _ in range(count)
    )
