"""Edges on the device, with the batch folded into the nodes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spacecast.core.graph import EdgeSet, MeshGraph
from spacecast.nn.stack import Stack

MOST_BATCH_SIZES = 4
"""Static parts (1), training, its last batch, and validation or an ensemble alternate: no more indices are kept."""


def add_shared(shared: Tensor, own: Tensor) -> Tensor:
    """Add rows that every graph of the batch shares, (row, hidden), to rows of its own, (batch * row, hidden)."""
    if shared.shape == own.shape:
        return shared + own
    return (shared + own.view(-1, *shared.shape)).view_as(own)


class EdgeIndex(NamedTuple):
    """Senders and receivers of a batch of identical graphs laid side by side, sorted by receiver.

    senders, receivers: shape (batch * edge,).
    num_receivers: batch * receivers.
    degree: the common in-degree, or None when it differs.
    inverse_degree: 1 / in-degree of each receiver (1 where there is no edge), shape (batch * receiver, 1).
    """

    senders: Tensor
    receivers: Tensor
    num_receivers: int
    degree: int | None
    inverse_degree: Tensor

    def sum(self, messages: Tensor) -> Tensor:
        """Sum of the messages that end at each receiver: (batch * edge, hidden) to (batch * receiver, hidden)."""
        if self.degree:
            return messages.view(self.num_receivers, self.degree, -1).sum(dim=1)
        result = messages.new_zeros(self.num_receivers, messages.shape[-1])
        return result.index_add_(0, self.receivers, messages)

    def mean(self, messages: Tensor) -> Tensor:
        """Mean of the messages that end at each receiver, 0 without an edge."""
        return self.sum(messages) * self.inverse_degree.to(messages.dtype)


class Edges(nn.Module):
    """One edge set as buffers that follow the model to its device; nothing of it is saved.

    Attributes:
        features: static edge features, shape (edge, 3).
    """

    senders: Tensor
    receivers: Tensor
    features: Tensor
    inverse_degree: Tensor

    def __init__(self, edges: EdgeSet) -> None:
        super().__init__()
        self.num_senders, self.num_receivers = edges.num_senders, edges.num_receivers
        self.degree = edges.uniform_in_degree
        inverse = 1.0 / edges.in_degree.clamp(min=1).to(torch.float32)[:, None]
        for name, tensor in (("senders", edges.senders), ("receivers", edges.receivers), ("features", edges.features)):
            self.register_buffer(name, tensor, persistent=False)
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
                    senders=(self.senders + shift * self.num_senders).flatten(),
                    receivers=(self.receivers + shift * self.num_receivers).flatten(),
                    num_receivers=batch * self.num_receivers,
                    degree=self.degree,
                    inverse_degree=self.inverse_degree.repeat(batch, 1),
                )
        return self._folded[key]


class GraphEdges(nn.Module):
    """All edge sets of a mesh graph on the device.

    Attributes:
        grid_to_mesh, mesh_to_grid: `Edges`.
        levels, up, down: lists of `Edges`, finest level first.
    """

    def __init__(self, graph: MeshGraph) -> None:
        super().__init__()
        self.grid_to_mesh = Edges(graph.grid_to_mesh)
        self.mesh_to_grid = Edges(graph.mesh_to_grid)
        self.levels: Stack[Edges] = Stack(Edges(level.edges) for level in graph.levels)
        self.up: Stack[Edges] = Stack(Edges(edges) for edges in graph.up)
        self.down: Stack[Edges] = Stack(Edges(edges) for edges in graph.down)
        for number, level in enumerate(graph.levels):
            self.register_buffer(f"level_{number}", level.features, persistent=False)

    @property
    def num_levels(self) -> int:
        """Number of mesh levels."""
        return len(self.levels)

    def node_features(self, level: int) -> Tensor:
        """Static features of the mesh nodes of a level, shape (mesh, 2)."""
        return self.get_buffer(f"level_{level}")
