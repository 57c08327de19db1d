"""Edges on the device, with the batch folded into the nodes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.graph import EdgeSet, MeshGraph
from spacecast.core.shards import Halo
from spacecast.nn.rows import Segments, Source
from spacecast.nn.stack import Stack

MOST_BATCH_SIZES = 4
"""Static parts (1), training, its last batch, and validation or an ensemble alternate: no more indices are kept."""

HASH = 0x9E3779B97F4A7C15 >> 1 | 1
"""An odd factor, the golden ratio in 63 bits, that spreads keys."""


def add_shared(shared: Tensor, own: Tensor) -> Tensor:
    """Add rows that every graph of the batch shares, (row, hidden), to rows of its own, (batch * row, hidden)."""
    if shared.shape == own.shape:
        return shared + own
    return (shared + own.view(-1, *shared.shape)).view_as(own)


def distinct_rows(features: Tensor) -> tuple[Tensor, Tensor] | None:
    """Rows that differ, (kind, feature), and which of them each row is, (row,); None where half of them or more do.

    On a regular mesh thousands of edges have one length and direction, so that a few dozen rows stand for all of them.
    """
    key = torch.zeros(len(features), dtype=torch.int64, device=features.device)
    for column in features.view(torch.int32).unbind(dim=1):
        key = key * HASH + column
    _, kinds = torch.unique(key, return_inverse=True)
    number = int(kinds.max()) + 1 if kinds.numel() else 0
    if not 0 < 2 * number <= len(features):
        return None
    rows = features.new_empty(number, features.shape[1])
    rows[kinds] = features
    return (rows, kinds) if torch.equal(rows[kinds], features) else None  # unequal: two kinds have the same key


class EdgeIndex(NamedTuple):
    """Senders and receivers of a batch of identical graphs laid side by side, sorted by receiver.

    senders, receivers: shape (batch * edge,).
    num_receivers: batch * receivers.
    degree: the common in-degree, or None when it differs.
    inverse_degree: 1 / in-degree of each receiver (1 where there is no edge), shape (batch * receiver, 1).
    kinds: row of the static features of each edge, shape (batch * edge,), or None where each edge has its own.
    num_kinds: number of these rows, at most half as many as a graph has edges.
    halo: senders that other processes own, whose rows lie behind the own ones of each graph; None: there are none.
    batch: number of graphs.
    """

    senders: Tensor
    receivers: Tensor
    num_receivers: int
    degree: int | None
    inverse_degree: Tensor
    kinds: Tensor | None = None
    num_kinds: int = 0
    halo: Halo | None = None
    batch: int = 1

    def all_senders(self, own: Tensor) -> Tensor:
        """Vectors of the senders, (batch * sender, dim), with those that other processes own, `senders` counting both.

        Every process of the group must call it at the same place.
        """
        if self.halo is None:
            return own
        return self.halo.extended(own.unflatten(0, (self.batch, -1))).flatten(0, 1)

    def add_static(self, static: Tensor, own: Tensor) -> Tensor:
        """Add to edges (batch * edge, hidden) what follows from their static features.

        Args:
            static: a row for each kind of edge, each edge of one graph, or each edge of all graphs.
            own: rows of the edges.
        """
        if self.kinds is not None and len(static) == self.num_kinds:
            return functional.embedding(self.kinds, static) + own
        return add_shared(static, own)

    def static(self, values: Tensor) -> Source:
        """How edges read what follows from their static features, see `add_static`."""
        if self.kinds is not None and len(values) == self.num_kinds:
            return Source(values, self.kinds)
        return Source(values)

    def of_receivers(self, receivers: Tensor, weight: Tensor) -> tuple[Source, Tensor | None]:
        """How edges read the products of their receivers, (receiver, dim), with a weight; made once for each."""
        if self.degree:
            return Source(receivers, repeat=self.degree), weight
        return Source(functional.linear(receivers, weight), self.receivers), None

    def segments(self, *, mean: bool) -> Segments:
        """Sums, or means, of the messages that end at each receiver; 0 without an edge."""
        factor = self.inverse_degree if mean else None
        return Segments(self.receivers, self.num_receivers, self.degree, factor)


class EdgeBuffers(nn.Module):
    """One edge set as buffers that follow the model to its device; nothing of it is saved.

    Attributes:
        features: static edge features, shape (kind, 3): a row for each kind of edge, see `distinct_rows`, or for each
            edge.
    """

    senders: Tensor
    receivers: Tensor
    features: Tensor
    inverse_degree: Tensor
    kinds: Tensor | None

    def __init__(self, edges: EdgeSet) -> None:
        super().__init__()
        self.num_senders, self.num_receivers = edges.num_senders, edges.num_receivers
        self.num_rows, self.halo = edges.num_rows, edges.halo
        self.degree = edges.uniform_in_degree
        inverse = 1.0 / edges.in_degree.clamp(min=1).to(torch.float32)[:, None]
        features, kinds = distinct_rows(edges.features) or (edges.features, None)
        for name, tensor in (("senders", edges.senders), ("receivers", edges.receivers), ("features", features)):
            self.register_buffer(name, tensor, persistent=False)
        self.register_buffer("kinds", kinds, persistent=False)
        self.register_buffer("inverse_degree", inverse, persistent=False)
        self._folded: dict[tuple[int, torch.device], EdgeIndex] = {}

    def index(self, batch: int) -> EdgeIndex:
        """Index of `batch` graphs side by side; made once per batch size and device."""
        key = batch, self.senders.device
        if key not in self._folded:
            if len(self._folded) >= MOST_BATCH_SIZES:
                self._folded.clear()
            with torch.inference_mode(False):  # what a validation made must serve training too
                shift = torch.arange(batch, device=self.senders.device)[:, None]
                self._folded[key] = EdgeIndex(
                    senders=(self.senders + shift * self.num_rows).flatten(),
                    receivers=(self.receivers + shift * self.num_receivers).flatten(),
                    num_receivers=batch * self.num_receivers,
                    degree=self.degree,
                    inverse_degree=self.inverse_degree.repeat(batch, 1),
                    kinds=None if self.kinds is None else self.kinds.repeat(batch),
                    num_kinds=0 if self.kinds is None else len(self.features),
                    halo=None if self.halo is None else self.halo.to(self.senders.device),
                    batch=batch,
                )
        return self._folded[key]


class GraphEdges(nn.Module):
    """All edge sets of a mesh graph on the device.

    Attributes:
        grid_to_mesh, mesh_to_grid: `EdgeBuffers`.
        levels, up, down: lists of `EdgeBuffers`, finest level first.
    """

    def __init__(self, graph: MeshGraph) -> None:
        super().__init__()
        self.grid_to_mesh = EdgeBuffers(graph.grid_to_mesh)
        self.mesh_to_grid = EdgeBuffers(graph.mesh_to_grid)
        self.levels: Stack[EdgeBuffers] = Stack(EdgeBuffers(level.edges) for level in graph.levels)
        self.up: Stack[EdgeBuffers] = Stack(EdgeBuffers(edges) for edges in graph.up)
        self.down: Stack[EdgeBuffers] = Stack(EdgeBuffers(edges) for edges in graph.down)
        for number, level in enumerate(graph.levels):
            self.register_buffer(f"level_{number}", level.features, persistent=False)

    def node_features(self, level: int) -> Tensor:
        """Static features of the mesh nodes of a level, shape (mesh, 2)."""
        return self.get_buffer(f"level_{level}")
