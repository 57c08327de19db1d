"""Edges as arrays, and their assembly into a mesh graph."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid

HALF_OF_NEIGHBOURS = ((1, 0), (0, 1), (1, 1), (1, -1))


class EdgeList(NamedTuple):
    """Directed edges before scaling.

    senders, receivers: node numbers, shape (edge,).
    features: length, dx, dz, shape (edge, 3), in R_E.
    """

    senders: np.ndarray
    receivers: np.ndarray
    features: np.ndarray


def join(
    senders: np.ndarray, receivers: np.ndarray, sender_positions: np.ndarray, receiver_positions: np.ndarray
) -> EdgeList:
    """Edges with the vectors between the positions of their ends, sender minus receiver, by receiver and sender."""
    order = np.lexsort((senders, receivers))
    senders, receivers = senders[order], receivers[order]
    features = np.empty((len(order), 3))
    np.subtract(sender_positions[senders], receiver_positions[receivers], out=features[:, 1:])
    np.hypot(features[:, 1], features[:, 2], out=features[:, 0])
    return EdgeList(senders, receivers, features)


def lattice_pairs(kept: np.ndarray) -> np.ndarray:
    """Neighbours among the eight around each node of a lattice, every pair once.

    Args:
        kept: True where the lattice has a node, shape (columns, rows).

    Returns:
        Numbers of the two nodes, counted over the kept ones with the last axis fastest, shape (2, pair).

    """
    number = np.full(kept.shape, -1)
    number[kept] = np.arange(np.count_nonzero(kept))
    pairs = []
    for right, above in HALF_OF_NEIGHBOURS:
        first, second = number[: kept.shape[0] - right], number[right:]
        if above > 0:
            first, second = first[:, :-above], second[:, above:]
        elif above < 0:
            first, second = first[:, -above:], second[:, :above]
        both = (first >= 0) & (second >= 0)
        pairs.append(np.stack([first[both], second[both]]))
    return np.concatenate(pairs, axis=1)


def both_ways(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers of undirected pairs of shape (2, pair)."""
    return np.concatenate([pairs[0], pairs[1]]), np.concatenate([pairs[1], pairs[0]])


def require_plane(grid: Grid) -> None:
    """Raise a UserError unless a grid is a plane, on which all of our recipes build their meshes."""
    if len(grid.axes) != 2:
        raise UserError(
            f"graph: this recipe builds meshes on a plane, the grid has axes {', '.join(grid.axes)}; give a plane, or "
            "a builder of your own (CONTRIBUTING.md)"
        )


def node_scale(grid: Grid) -> float:
    """Largest absolute coordinate of the grid [R_E], which node positions are divided by."""
    return float(max(np.abs(values).max() for values in grid.coordinates.values()))


def make_graph(
    grid: Grid,
    positions: Sequence[np.ndarray],
    within: Sequence[EdgeList],
    grid_to_mesh: EdgeList,
    mesh_to_grid: EdgeList,
    up: Sequence[EdgeList] = (),
    down: Sequence[EdgeList] = (),
    *,
    recipe: dict[str, Any],
) -> MeshGraph:
    """Scale positions and edges, and put them into a graph.

    Args:
        grid: the plane whose nodes the graph serves.
        positions: (x, z) of the nodes of each level, finest first, in R_E.
        within: edges within each level.
        grid_to_mesh, mesh_to_grid: edges between grid nodes and the finest level.
        up, down: edges between consecutive levels.
        recipe: what the graph was built from.

    Raises:
        UserError: when a node number is out of range.

    """
    scale = float(max((edges.features[:, 0].max() for edges in within if len(edges.senders)), default=0.0)) or 1.0
    sizes = [len(level) for level in positions]

    def finish(edges: EdgeList, num_senders: int, num_receivers: int) -> EdgeSet:
        return EdgeSet(
            senders=torch.as_tensor(edges.senders, dtype=torch.int64),
            receivers=torch.as_tensor(edges.receivers, dtype=torch.int64),
            features=torch.as_tensor(edges.features / scale, dtype=torch.float32),
            num_senders=num_senders,
            num_receivers=num_receivers,
        )

    levels = tuple(
        MeshLevel(
            positions=torch.as_tensor(level, dtype=torch.float32),
            features=torch.as_tensor(level / node_scale(grid), dtype=torch.float32),
            edges=finish(edges, len(level), len(level)),
        )
        for level, edges in zip(positions, within, strict=True)
    )
    return MeshGraph(
        levels=levels,
        grid_to_mesh=finish(grid_to_mesh, grid.num_nodes, sizes[0]),
        mesh_to_grid=finish(mesh_to_grid, sizes[0], grid.num_nodes),
        up=tuple(finish(edges, sizes[level], sizes[level + 1]) for level, edges in enumerate(up)),
        down=tuple(finish(edges, sizes[level + 1], sizes[level]) for level, edges in enumerate(down)),
        length_scale=scale,
        recipe=dict(recipe),
    )
