"""Processors: message passing on the mesh, between encoder and decoder."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from spacecast.core.graph import MeshGraph
from spacecast.nn.edges import GraphEdges
from spacecast.nn.interaction import Aggregation, InteractionNet, MessageKind, Nets, Prepared, make_nets
from spacecast.nn.mlp import MLP
from spacecast.nn.stack import Stack

NOTHING: Iterator[Tensor] = iter(())


class FlatProcessor(nn.Module):
    """Interaction networks one after the other on a mesh of one level, as in GraphCast (Lam et al. 2023).

    Args:
        graph: the mesh, of one level.
        dim: size of node and edge vectors.
        layers: number of interaction networks.
        hidden_layers: hidden layers of each MLP.
        aggregation: sum or mean over the messages.

    Attributes:
        conditioned: mesh level of each layer that takes a condition, in the order in which they take it.
    """

    def __init__(
        self, graph: MeshGraph, dim: int, *, layers: int, hidden_layers: int = 1, aggregation: Aggregation = "sum"
    ) -> None:
        super().__init__()
        self.embedder = MLP([graph.levels[0].edges.features.shape[1]] + [dim] * (hidden_layers + 1))
        self.layers: Nets = Stack(
            InteractionNet(dim, hidden_layers=hidden_layers, aggregation=aggregation) for _ in range(layers)
        )
        self.conditioned = [0] * layers

    def prepare(self, edges: GraphEdges) -> Prepared:
        """Embed the mesh edges and apply the first layer to them."""
        embedded = self.embedder(edges.levels[0].features)
        return self.layers[0].prepare(embedded) if len(self.layers) else Prepared(embedded, embedded, False)

    def forward(
        self, mesh: Tensor, prepared: Prepared, edges: GraphEdges, batch: int, conditions: Iterator[Tensor] = NOTHING
    ) -> Tensor:
        """(batch * mesh, dim) to the same shape, `conditions` being those of the layers `conditioned`."""
        index = edges.levels[0].index(batch)
        edge: Tensor | Prepared = prepared
        for layer in self.layers:
            mesh, edge = layer(mesh, mesh, edge, index, next(conditions, None))
        return mesh


class PreparedHierarchy(NamedTuple):
    """Static embeddings of a hierarchy: nodes of levels 1 ..., edges within levels, up and down."""

    nodes: list[Tensor]
    same: list[Tensor]
    up: list[Prepared]
    down: list[Tensor]


class HierarchicalProcessor(nn.Module):
    """Sweeps down and up a hierarchy of levels, Graph-FM of Oskarsson et al. (2024).

    The levels are filled from below, then each processor layer goes down (within a level, then to the next finer one)
    and up again, and at the end the levels are read out into the finest.

    Args:
        graph: the mesh, of two levels or more.
        dim: size of node and edge vectors.
        layers: number of down-up sweeps.
        hidden_layers: hidden layers of each MLP.
        vertical: interaction or propagation networks on the way up; on the way down they are always interaction
            networks, which keep what the finer level has.

    Attributes:
        conditioned: mesh level of each layer that takes a condition, those within the levels, in the order in which
            they take it.
    """

    def __init__(
        self,
        graph: MeshGraph,
        dim: int,
        *,
        layers: int,
        hidden_layers: int = 1,
        vertical: MessageKind = "propagation",
    ) -> None:
        super().__init__()
        levels = len(graph.levels)
        tail = [dim] * (hidden_layers + 1)

        def embedders(sizes: list[int]) -> Stack[MLP]:
            return Stack(MLP([size, *tail]) for size in sizes)

        def nets(count: int, kind: MessageKind = "interaction", update_edges: bool = True) -> Nets:
            return make_nets(count, dim, hidden_layers, kind, update_edges=update_edges)

        self.node_embedders = embedders([level.features.shape[1] for level in graph.levels[1:]])
        self.same_embedders = embedders([level.edges.features.shape[1] for level in graph.levels])
        self.up_embedders = embedders([edges.features.shape[1] for edges in graph.up])
        self.down_embedders = embedders([edges.features.shape[1] for edges in graph.down])
        self.fill = nets(levels - 1)
        self.read_out = nets(levels - 1, update_edges=False)
        self.down: Stack[Nets] = Stack(nets(levels - 1) for _ in range(layers))
        self.down_same: Stack[Nets] = Stack(nets(levels) for _ in range(layers))
        self.up: Stack[Nets] = Stack(nets(levels - 1, vertical) for _ in range(layers))
        self.up_same: Stack[Nets] = Stack(nets(levels) for _ in range(layers))
        self.conditioned = [*reversed(range(levels)), *range(levels)] * layers

    def prepare(self, edges: GraphEdges) -> PreparedHierarchy:
        """Embed the static nodes and edges; the first step upwards also knows its receivers."""
        nodes = [embed(edges.node_features(level)) for level, embed in enumerate(self.node_embedders, start=1)]
        same = [embed(each.features) for embed, each in zip(self.same_embedders, edges.levels, strict=True)]
        up = [
            net.prepare(embed(each.features), receivers, each.index(1))
            for net, embed, each, receivers in zip(self.fill, self.up_embedders, edges.up, nodes, strict=True)
        ]
        down = [embed(each.features) for embed, each in zip(self.down_embedders, edges.down, strict=True)]
        return PreparedHierarchy(nodes, same, up, down)

    def forward(
        self,
        mesh: Tensor,
        prepared: PreparedHierarchy,
        edges: GraphEdges,
        batch: int,
        conditions: Iterator[Tensor] = NOTHING,
    ) -> Tensor:
        """Finest level (batch * mesh, dim) to the same shape, `conditions` being those of the layers `conditioned`."""
        nodes = [mesh, *prepared.nodes]
        same, up, down = list(prepared.same), list(prepared.up), list(prepared.down)
        for low, net in enumerate(self.fill):
            nodes[low + 1], up[low] = net(nodes[low], nodes[low + 1], up[low], edges.up[low].index(batch))
        for layer in range(len(self.down)):
            self._sweep_down(nodes, same, down, self.down[layer], self.down_same[layer], edges, batch, conditions)
            self._sweep_up(nodes, same, up, self.up[layer], self.up_same[layer], edges, batch, conditions)
        for low in reversed(range(len(self.read_out))):
            index = edges.down[low].index(batch)
            nodes[low], _ = self.read_out[low](nodes[low + 1], nodes[low], down[low], index)
        return nodes[0]

    @staticmethod
    def _within(
        level: int, nodes: list, same: list, nets: Nets, edges: GraphEdges, batch: int, conditions: Iterator[Tensor]
    ) -> None:
        """Message passing within a level, in place in the lists."""
        index, condition = edges.levels[level].index(batch), next(conditions, None)
        nodes[level], same[level] = nets[level](nodes[level], nodes[level], same[level], index, condition)

    def _sweep_down(
        self,
        nodes: list,
        same: list,
        down: list,
        nets: Nets,
        same_nets: Nets,
        edges: GraphEdges,
        batch: int,
        conditions: Iterator[Tensor],
    ) -> None:
        """From the coarsest level to the finest."""
        self._within(len(nodes) - 1, nodes, same, same_nets, edges, batch, conditions)
        for low in reversed(range(len(nets))):
            nodes[low], down[low] = nets[low](nodes[low + 1], nodes[low], down[low], edges.down[low].index(batch))
            self._within(low, nodes, same, same_nets, edges, batch, conditions)

    def _sweep_up(
        self,
        nodes: list,
        same: list,
        up: list,
        nets: Nets,
        same_nets: Nets,
        edges: GraphEdges,
        batch: int,
        conditions: Iterator[Tensor],
    ) -> None:
        """From the finest level to the coarsest."""
        self._within(0, nodes, same, same_nets, edges, batch, conditions)
        for low in range(len(nets)):
            nodes[low + 1], up[low] = nets[low](nodes[low], nodes[low + 1], up[low], edges.up[low].index(batch))
            self._within(low + 1, nodes, same, same_nets, edges, batch, conditions)
