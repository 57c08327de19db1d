"""Where mesh nodes stand and which of them see each other."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from spacecast.core.grid import Grid

SPARE_CANDIDATES = 4  # further neighbours to fall back on where Earth hides the nearest ones
TIE_BREAKER = (2e-3, 1.3e-3)  # mesh spacings; cells that lie alike in the mesh get neighbours that lie alike


@dataclass(frozen=True, eq=False)
class Lattice:
    """Mesh nodes of one level on a regular sub-grid of the cells.

    Args:
        columns, rows: cell numbers along x and z of the lattice lines.
        kept: True where the lattice has a node, shape (column, row); nodes are numbered with rows fast.
        stride: cells between two lines, along x and z.

    """

    columns: np.ndarray
    rows: np.ndarray
    kept: np.ndarray
    stride: tuple[int, int]

    @cached_property
    def cells(self) -> np.ndarray:
        """Cell (column, row) that each node stands on, shape (mesh, 2)."""
        column, row = np.nonzero(self.kept)
        return np.stack([self.columns[column], self.rows[row]], axis=-1)

    def positions(self, grid: Grid) -> np.ndarray:
        """(x, z) of each node, shape (mesh, 2), in R_E."""
        return np.stack([at[i] for at, i in zip(grid.coordinates.values(), self.cells.T, strict=True)], axis=-1)


def centred(count: int, stride: int) -> np.ndarray:
    """Every stride-th of `count` numbers, the same margin at both ends (one more at the far end when it is odd)."""
    steps = (count - 1) // stride
    return (count - 1 - steps * stride) // 2 + stride * np.arange(steps + 1)


def finest_lattice(free: np.ndarray, stride: tuple[int, int]) -> Lattice:
    """The finest level: a node on every stride-th free cell."""
    columns, rows = (centred(size, step) for size, step in zip(free.shape, stride, strict=True))
    return Lattice(columns, rows, free[np.ix_(columns, rows)], stride)


def coarser_lattice(lattice: Lattice, factor: int) -> Lattice:
    """The next level: a node on every factor-th node of the level below."""
    column, row = centred(len(lattice.columns), factor), centred(len(lattice.rows), factor)
    stride = (lattice.stride[0] * factor, lattice.stride[1] * factor)
    return Lattice(lattice.columns[column], lattice.rows[row], lattice.kept[np.ix_(column, row)], stride)


class Sight:
    """Tells which straight lines between cells touch the inner boundary.

    Args:
        free: False where a cell is inside the inner boundary, shape (x, z).

    """

    def __init__(self, free: np.ndarray) -> None:
        self.free = free
        self.clearance = None if free.all() else distance_transform_edt(free)

    def blocked(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """True where the line from cell to cell, (line, 2) each, touches a cell that is not free; shape (line,)."""
        result = np.zeros(len(first), dtype=bool)
        if self.clearance is None:
            return result
        reach = np.abs(second - first).sum(axis=1) + 1
        near = np.flatnonzero(self.clearance[first[:, 0], first[:, 1]] <= reach)
        if near.size == 0:
            return result
        start, way = first[near], second[near] - first[near]
        hit = np.zeros(near.size, dtype=bool)
        for fraction in np.linspace(0.0, 1.0, 2 * int(np.abs(way).max()) + 1):
            column, row = np.rint(start + fraction * way).astype(np.intp).T
            hit |= ~self.free[column, row]
        result[near] = hit
        return result


def nearest_in_sight(
    sight: Sight, points: np.ndarray, nodes: np.ndarray, count: int, spacing: tuple[int, int]
) -> np.ndarray:
    """The nearest nodes of each point, those that Earth does not hide first.

    Args:
        sight: knows the inner boundary.
        points: cells, shape (point, 2).
        nodes: cells of the nodes, shape (node, 2).
        count: neighbours per point; fewer when there are fewer nodes.
        spacing: cells per unit of distance along x and z.

    Returns:
        Node numbers, nearest first, shape (point, count).

    """
    tree, scaled = KDTree(nodes / spacing), points / spacing + TIE_BREAKER

    def candidates(chosen: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        most = min(most, len(nodes))
        found = tree.query(scaled[chosen], k=most)[1].reshape(len(chosen), most)
        hidden = sight.blocked(np.repeat(points[chosen], most, axis=0), nodes[found.ravel()])
        return found, hidden.reshape(found.shape)

    nearest, hidden = candidates(np.arange(len(points)), count)
    behind = np.flatnonzero(hidden.any(axis=1))
    if behind.size:
        found, hidden = candidates(behind, count + SPARE_CANDIDATES)
        found = np.take_along_axis(found, np.argsort(hidden, axis=1, kind="stable"), axis=1)
        nearest[behind] = found[:, : nearest.shape[1]]
    return nearest


def within_radius(
    sight: Sight, points: np.ndarray, nodes: np.ndarray, radius: float, spacing: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of points and nodes, cells of shape (., 2), at most `radius` spacings apart and not hidden by Earth."""
    tree, most = KDTree(nodes / spacing), radius * (1 + 1e-9)
    pairs = KDTree(points / spacing).sparse_distance_matrix(tree, most, output_type="ndarray")
    point, node = pairs["i"], pairs["j"]
    seen = ~sight.blocked(points[point], nodes[node])
    return point[seen], node[seen]
