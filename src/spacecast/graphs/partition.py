"""Cuts a grid and its mesh graph into the parts that the processes of a `core.shards.ShardGroup` own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid
from spacecast.core.shards import GridPart, Halo, ShardGroup
from spacecast.core.spec import DataSpec


class NodeSet(NamedTuple):
    """Nodes and their owners.

    owner: process that owns each node, shape (node,).
    place: number of each node among those of its owner, in ascending order, shape (node,).
    """

    owner: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, owner: np.ndarray) -> "NodeSet":
        """From the owners."""
        order = np.argsort(owner, kind="stable")
        first = np.searchsorted(owner[order], owner)
        place = np.empty(len(owner), dtype=np.int64)
        place[order] = np.arange(len(owner))
        return cls(owner, place - first)

    def own(self, rank: int) -> np.ndarray:
        """Numbers of the nodes of a process, ascending."""
        return np.flatnonzero(self.owner == rank)


def part_of(spec: DataSpec, graph: MeshGraph, group: ShardGroup) -> tuple[DataSpec, MeshGraph]:
    """Facts of the data and the graph as one process of several needs them.

    The nodes of the grid are cut by their numbers into parts that differ by one node at most: slabs along the first
    axis, with hardly any surface. A node of the mesh belongs to the owner of the node of the grid next to it, an edge
    to the owner of its receiver. Models that are built of the result make the forecast of their nodes, and the same
    one as a model of the whole; each must do its steps at the same time as the others, see `core.shards`.

    Args:
        spec, graph: of the whole grid.
        group: the processes, and which of them this one is.

    Raises:
        UserError: some process would have nothing to forecast.
    """
    grid = NodeSet.of(np.arange(spec.num_nodes) * group.size // spec.num_nodes)
    forecast = np.bincount(grid.owner[spec.interior], minlength=group.size)
    if not forecast.all():
        least = f"part {int(forecast.argmin()) + 1} of {group.size} has no node that is forecast"
        raise UserError(f"trainer.shards={group.size}: {least}; take fewer shards")
    share = float(forecast[group.rank] / forecast.sum())
    return _spec_part(spec, grid, group, share), _graph_part(spec, graph, grid, group)


def _graph_part(spec: DataSpec, graph: MeshGraph, grid: NodeSet, group: ShardGroup) -> MeshGraph:
    """Own nodes of each level and the edges that end at them."""
    from scipy.spatial import cKDTree

    near = cKDTree(spec.grid.positions)
    levels = [NodeSet.of(grid.owner[near.query(np.asarray(level.positions))[1]]) for level in graph.levels]

    def cut(edges: EdgeSet, senders: NodeSet, receivers: NodeSet) -> EdgeSet:
        return _edges_part(edges, senders, receivers, group)

    def mesh(level: MeshLevel, nodes: NodeSet) -> MeshLevel:
        own = torch.as_tensor(nodes.own(group.rank))
        return MeshLevel(level.positions[own], level.features[own], cut(level.edges, nodes, nodes))

    return MeshGraph(
        levels=tuple(mesh(level, nodes) for level, nodes in zip(graph.levels, levels, strict=True)),
        grid_to_mesh=cut(graph.grid_to_mesh, grid, levels[0]),
        mesh_to_grid=cut(graph.mesh_to_grid, levels[0], grid),
        up=tuple(cut(edges, levels[low], levels[low + 1]) for low, edges in enumerate(graph.up)),
        down=tuple(cut(edges, levels[low + 1], levels[low]) for low, edges in enumerate(graph.down)),
        length_scale=graph.length_scale,
        recipe=graph.recipe,
    )


def _edges_part(edges: EdgeSet, senders: NodeSet, receivers: NodeSet, group: ShardGroup) -> EdgeSet:
    """Edges that end at own nodes, with the halo of their senders."""
    sent, received = edges.senders.numpy(), edges.receivers.numpy()
    halo, taken = _halo(sent, receivers.owner[received], senders, group)
    own = np.flatnonzero(receivers.owner[received] == group.rank)
    count = int((senders.owner == group.rank).sum())
    row = np.full(len(senders.owner), -1)
    row[senders.own(group.rank)] = np.arange(count)
    row[taken] = count + np.arange(len(taken))
    return EdgeSet(
        senders=torch.as_tensor(row[sent[own]]),
        receivers=torch.as_tensor(receivers.place[received[own]]),
        features=edges.features[torch.as_tensor(own)],
        num_senders=count,
        num_receivers=int((receivers.owner == group.rank).sum()),
        halo=halo,
    )


def _halo(needed: np.ndarray, by: np.ndarray, nodes: NodeSet, group: ShardGroup) -> tuple[Halo, np.ndarray]:
    """Which rows go where.

    Args:
        needed: numbers of nodes.
        by: process that needs each of them.
        nodes: their owners.
        group: the processes.

    Returns:
        The halo of this process, and the nodes that it takes, in the order of the rows.

    """
    foreign = nodes.owner[needed] != by
    taker, number = by[foreign], needed[foreign]
    triples = np.unique(np.stack([taker, nodes.owner[number], number]), axis=1)  # ordered by taker, owner and number
    taken, given = triples[:, triples[0] == group.rank], triples[:, triples[1] == group.rank]
    counts = [np.bincount(each, minlength=group.size).tolist() for each in (given[0], taken[1])]
    return Halo(group, torch.as_tensor(nodes.place[given[2]]), *counts), taken[2]


def _spec_part(spec: DataSpec, nodes: NodeSet, group: ShardGroup, share: float) -> DataSpec:
    """Facts of the own nodes, with those beside them."""
    own = nodes.own(group.rank)
    sides = spec.grid.neighbours
    halo, beside = _halo(sides.ravel(), np.tile(nodes.owner, len(sides)), nodes, group)
    rows = np.concatenate([own, beside])
    order = np.argsort(rows)
    first = int(np.searchsorted(rows[order], own[0]))
    part = GridPart(
        group=group,
        start=int(own[0]),
        stop=int(own[-1]) + 1,
        share=share,
        wide=_with_nodes(spec.grid, rows),
        halo=halo,
        order=torch.as_tensor(order),
        own=(first, first + len(own)),
    )
    return replace(
        spec,
        grid=_with_nodes(spec.grid, own),
        static_values=spec.static_values[own],
        boundary=spec.boundary[own],
        lower=None if spec.lower is None else spec.lower[own],
        upper=None if spec.upper is None else spec.upper[own],
        part=part,
    )


def _with_nodes(grid: Grid, nodes: Sequence[int] | np.ndarray) -> Grid:
    """The grid with these of its nodes alone."""
    valid = np.zeros(grid.shape, dtype=bool)
    valid.ravel()[grid.cells[nodes]] = True
    return Grid(grid.coordinates, valid)
