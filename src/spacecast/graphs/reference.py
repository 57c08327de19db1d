"""The recipe of the published graphs, faults included, for published weights and comparisons."""

import logging
import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.core.ranges import PositiveInt
from spacecast.graphs.builders import check_integer, check_layout
from spacecast.graphs.edges import EdgeList, both_ways, join, lattice_pairs, make_graph, require_plane

logger = logging.getLogger(__name__)
INNER_RADIUS = 3.85  # R_E
SAMPLES = 10  # points along an edge that are tested for being inside Earth
MOST_INSIDE = 1  # of these points may be


class ReferenceGraph:
    """Rebuilds the graphs of the published models: same nodes in the same order, same edges, same features.

    Each level is an n x n mesh stretched over the plane (so spacings differ along x and z, and levels are not nested);
    each cell feeds one mesh node and is fed by three. Two known faults are kept, since weights were trained with them:
    in the multiscale graph a coarse edge keeps the vector it had before its ends moved to the nearest fine nodes, and
    an up edge carries receiver minus sender. Published: coarsening 5 and at most 3 levels (arXiv 2601.12614), or
    coarsening 3 (arXiv 2509.19605).

    Args:
        layout: `simple`, `multiscale` or `hierarchical`.
        coarsening: nodes of a level per node of the next, along each axis; also sets the size of the finest level.
        levels: most mesh levels, fewer on small planes; None: as many as there are.

    Raises:
        UserError: for values out of range.

    """

    def __init__(self, layout: str = "simple", *, coarsening: int = 5, levels: PositiveInt | None = 1) -> None:
        check_layout(layout, levels)
        check_integer("coarsening", coarsening, 2)
        self.layout = layout
        self.coarsening = coarsening
        self.levels = levels
        self.recipe: dict[str, Any] = {"builder": "reference", **vars(self)}

    def build(self, grid: Grid) -> MeshGraph:
        """Build the graph for the nodes of a grid.

        Raises:
            UserError: when the plane is too small for a mesh of this coarsening, or for a second level where the layout
                needs one.

        """
        require_plane(grid)
        levels = [_level(grid, size) for size in self._sizes(grid)]
        up: list[EdgeList] = []
        down: list[EdgeList] = []
        if self.layout == "multiscale":
            levels = [_merge(levels)]
        for fine, coarse in pairwise(levels):
            parent = KDTree(coarse.positions).query(fine.positions)[1]
            edges = join(parent, np.arange(len(parent)), coarse.positions, fine.positions)
            down.append(edges)
            up.append(EdgeList(edges.receivers, edges.senders, edges.features))
        mesh = levels[0].positions
        cells, (nearest, near) = np.arange(grid.num_nodes), nearest_nodes(mesh, grid.positions)
        g2m = join(cells, nearest, grid.positions, mesh)
        m2g = join(near.ravel(), np.repeat(cells, 3), mesh, grid.positions)
        positions, within = [level.positions for level in levels], [level.edges for level in levels]
        return make_graph(grid, positions, within, g2m, m2g, up, down, recipe=self.recipe)

    def _sizes(self, grid: Grid) -> list[int]:
        """Mesh nodes along each axis, level by level."""
        depth = int(math.log(max(grid.shape)) / math.log(self.coarsening))
        room, plane = depth - 1, f"{grid.shape[0]} x {grid.shape[1]} cells"
        if room < 1 or self.coarsening**depth // self.coarsening < 2:
            raise UserError(f"graph.coarsening={self.coarsening} leaves no mesh on {plane}; use a smaller one")
        count = room if self.levels is None else min(room, self.levels)
        if count < 2 and self.layout != "simple":
            wanted = "null" if self.levels is None else self.levels
            remedy = "graph.levels=2" if room > 1 else "a smaller graph.coarsening"
            raise UserError(
                f"graph.levels={wanted}: a {self.layout} graph needs 2 levels, and with graph.coarsening="
                f"{self.coarsening} {plane} have room for {room}; use {remedy}, or graph=reference for one level"
            )
        if self.levels is not None and count < self.levels:
            logger.warning("the plane has room for %d of graph.levels=%d mesh levels", count, self.levels)
        return [self.coarsening**depth // self.coarsening**level for level in range(1, count + 1)]


def nearest_nodes(mesh: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the mesh node nearest to each point, and of the three nearest ones, (point, 3).

    Where two are equally near the first is that of a search for one, as in the published graphs.
    """
    tree = KDTree(mesh)
    distances, near = tree.query(points, k=3)
    nearest, tied = near[:, 0].copy(), distances[:, 0] == distances[:, 1]
    nearest[tied] = tree.query(points[tied])[1]
    return nearest, near


class _Level(NamedTuple):
    """Positions (x, z) of the nodes and the edges between them."""

    positions: np.ndarray
    edges: EdgeList


def _level(grid: Grid, size: int) -> _Level:
    """A size x size mesh over the plane, without the nodes and edges inside the inner boundary."""
    x, z = (values[np.linspace(0, values.size - 1, size, dtype=int)] for values in grid.coordinates.values())
    kept = np.hypot(x[:, None], z[None, :]) >= INNER_RADIUS
    column, row = np.nonzero(kept)
    positions = np.stack([x[column], z[row]], axis=-1)
    pairs = lattice_pairs(kept)
    first, second = positions[pairs[0]], positions[pairs[1]]
    inside = np.zeros(pairs.shape[1], dtype=int)
    for fraction in np.linspace(0.0, 1.0, SAMPLES):
        inside += np.linalg.norm(first * (1 - fraction) + second * fraction, axis=1) < INNER_RADIUS
    senders, receivers = both_ways(pairs[:, inside <= MOST_INSIDE])
    loners = np.flatnonzero(np.bincount(senders, minlength=len(positions)) == 0)
    senders, receivers = np.concatenate([senders, loners]), np.concatenate([receivers, loners])
    return _Level(positions, join(senders, receivers, positions, positions))


def _merge(levels: list[_Level]) -> _Level:
    """One level with all edges: coarse nodes replace their nearest fine nodes, coarse edges keep their old vectors."""
    positions = levels[0].positions.copy()
    parts = [levels[0].edges]
    for level in levels[1:]:
        fine = KDTree(positions).query(level.positions)[1]
        positions[fine] = level.positions
        parts.append(EdgeList(fine[level.edges.senders], fine[level.edges.receivers], level.edges.features))
    newest_first = parts[::-1]
    senders, receivers, features = (np.concatenate([part[field] for part in newest_first]) for field in range(3))
    last = np.unique(receivers * len(positions) + senders, return_index=True)[1]
    return _Level(positions, EdgeList(senders[last], receivers[last], features[last]))
