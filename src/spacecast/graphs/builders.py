"""The default recipe: an isotropic, nested mesh around Earth."""

import logging
from typing import Any

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.core.ranges import NonNegativeFloat, PositiveInt
from spacecast.graphs.edges import EdgeList, both_ways, join, lattice_pairs, make_graph, require_plane
from spacecast.graphs.lattice import Lattice, Sight, coarser_lattice, finest_lattice, nearest_in_sight, within_radius

logger = logging.getLogger(__name__)

LAYOUTS = ("simple", "multiscale", "hierarchical")
SPACING_BY_CELLS = ((2_000, 2), (200_000, 3))  # mesh spacing up to so many cells of the plane
LARGEST_SPACING = 5


class MeshGraphBuilder:
    """Builds mesh graphs on a regular sub-grid of the cells, the same spacing along x and z, levels nested.

    A mesh node stands on a cell outside the inner boundary and is joined, both ways, to those of its eight neighbours
    that it sees: no edge touches a cell inside Earth. Layouts: `simple` has one level; `multiscale` adds the edges of
    the coarser levels to the finest nodes (GraphCast, Lam et al. 2023); `hierarchical` keeps the levels apart and joins
    each node to its parents in the next level (Graph-FM, Oskarsson et al. 2024). Every cell feeds its nearest mesh
    nodes, and those within a radius where one is given, so every mesh node is fed by the cell that it stands on; every
    cell is reached from its nearest mesh nodes. All edge vectors are sender minus receiver and belong to the nodes that
    are joined.

    Args:
        layout: `simple`, `multiscale` or `hierarchical`.
        levels: most mesh levels; fewer when a further one would have less than two nodes along x or z.
        coarsening: nodes of a level per node of the next, along each axis.
        mesh_spacing: cells between two nodes of the finest level; None: 2, 3 or 5 by the size of the plane.
        inner_radius: no mesh node and no mesh edge within so many R_E of Earth either; None: the data's mask alone.
        grid_to_mesh_nearest: nearest mesh nodes that each cell feeds.
        grid_to_mesh_radius: each cell also feeds the mesh nodes within so many mesh spacings; None: only the nearest.
        mesh_to_grid_nearest: nearest mesh nodes that each cell is fed by.
        parents: nearest nodes of the next level that each node is joined to (hierarchical only).

    Raises:
        UserError: for values out of range.

    """

    def __init__(
        self,
        layout: str = "simple",
        *,
        levels: PositiveInt = 1,
        coarsening: int = 3,
        mesh_spacing: int | None = None,
        inner_radius: NonNegativeFloat | None = None,
        grid_to_mesh_nearest: int = 1,
        grid_to_mesh_radius: NonNegativeFloat | None = None,
        mesh_to_grid_nearest: int = 1,
        parents: int = 1,
    ) -> None:
        check_layout(layout, levels)
        for name, value, least in (
            ("coarsening", coarsening, 2),
            ("mesh_spacing", mesh_spacing, 1),
            ("grid_to_mesh_nearest", grid_to_mesh_nearest, 1),
            ("mesh_to_grid_nearest", mesh_to_grid_nearest, 1),
            ("parents", parents, 1),
        ):
            check_integer(name, value, least, optional=name == "mesh_spacing")
        for name, number in (("inner_radius", inner_radius), ("grid_to_mesh_radius", grid_to_mesh_radius)):
            if number is not None and (not isinstance(number, int | float) or not number > 0):
                raise UserError(f"graph.{name}={number!r}: give a positive number or null")
        self.layout = layout
        self.levels = levels
        self.coarsening = coarsening
        self.mesh_spacing = mesh_spacing
        self.inner_radius = inner_radius
        self.grid_to_mesh_nearest = grid_to_mesh_nearest
        self.grid_to_mesh_radius = grid_to_mesh_radius
        self.mesh_to_grid_nearest = mesh_to_grid_nearest
        self.parents = parents
        self.recipe: dict[str, Any] = {"builder": "mesh", **vars(self)}

    def build(self, grid: Grid) -> MeshGraph:
        """Build the graph for the nodes of a grid; seconds for 675,000 cells.

        Raises:
            UserError: when the mesh is too coarse for the plane.

        """
        require_plane(grid)
        free = grid.valid
        if self.inner_radius is not None:
            free = free & (grid.distance >= self.inner_radius)
        sight = Sight(free)
        lattices, pairs = self._levels(grid, sight)
        positions = [lattice.positions(grid) for lattice in lattices]
        finest = lattices[0]
        if self.layout == "multiscale":
            number = np.full(free.shape, -1)
            number[tuple(finest.cells.T)] = np.arange(len(finest.cells))
            levels = zip(lattices, pairs, strict=True)
            pairs = [np.concatenate([number[tuple(level.cells.T)][pair] for level, pair in levels], axis=1)]
            lattices, positions = lattices[:1], positions[:1]
        within = [join(*both_ways(pair), at, at) for pair, at in zip(pairs, positions, strict=True)]
        up, down = self._between(sight, lattices, positions)
        g2m, m2g = self._grid_edges(grid, sight, finest, positions[0])
        return make_graph(grid, positions, within, g2m, m2g, up, down, recipe=self.recipe)

    def _stride(self, grid: Grid) -> tuple[int, int]:
        """Cells between mesh nodes along x and z, as close to isotropic as whole cells allow."""
        cells = grid.valid.size
        spacing = self.mesh_spacing or next((few for most, few in SPACING_BY_CELLS if cells <= most), LARGEST_SPACING)
        dx, dz = grid.spacing
        mean = float(np.sqrt(dx * dz))
        stride = max(1, round(spacing * mean / dx)), max(1, round(spacing * mean / dz))
        most = min(size - 1 for size in grid.shape)
        if max(stride) > most:
            raise UserError(
                f"graph.mesh_spacing={spacing} leaves a single row of mesh nodes on {grid.shape[0]} x {grid.shape[1]} "
                f"cells; use at most {most}"
            )
        return stride

    def _levels(self, grid: Grid, sight: Sight) -> tuple[list[Lattice], list[np.ndarray]]:
        """Nodes and neighbour pairs of each level that makes sense, finest first."""
        lattice = finest_lattice(sight.free, self._stride(grid))
        lattices, pairs = [lattice], [visible_pairs(sight, lattice)]
        if has_loner(lattice, pairs[0]):
            raise UserError(
                "the finest mesh has nodes without a neighbour in sight; use a smaller graph.mesh_spacing or look at "
                "the mask of the data"
            )
        while len(lattices) < self.levels:
            lattice = coarser_lattice(lattice, self.coarsening)
            pair = visible_pairs(sight, lattice)
            if min(lattice.kept.shape) < 2 or (self.layout == "hierarchical" and has_loner(lattice, pair)):
                break
            lattices.append(lattice)
            pairs.append(pair)
        if len(lattices) < self.levels:
            logger.warning("the plane has room for %d of graph.levels=%d mesh levels", len(lattices), self.levels)
        if len(lattices) == 1 and self.layout != "simple":
            raise UserError(
                f"a {self.layout} graph of {self.levels} levels has no room for a second one on {grid.shape[0]} x "
                f"{grid.shape[1]} cells; use a smaller graph.mesh_spacing or graph.coarsening, or graph=simple"
            )
        return lattices, pairs

    def _between(
        self, sight: Sight, lattices: list[Lattice], positions: list[np.ndarray]
    ) -> tuple[list[EdgeList], list[EdgeList]]:
        """Edges from each level to the next and back."""
        up, down = [], []
        for level in range(len(lattices) - 1):
            fine, coarse = lattices[level], lattices[level + 1]
            parent = nearest_in_sight(sight, fine.cells, coarse.cells, self.parents, coarse.stride)
            child = np.repeat(np.arange(len(fine.cells)), parent.shape[1])
            up.append(join(child, parent.ravel(), positions[level], positions[level + 1]))
            down.append(join(parent.ravel(), child, positions[level + 1], positions[level]))
        return up, down

    def _grid_edges(
        self, grid: Grid, sight: Sight, mesh: Lattice, mesh_positions: np.ndarray
    ) -> tuple[EdgeList, EdgeList]:
        """Edges from the cells to the finest mesh and back."""
        cells = np.stack(np.unravel_index(grid.cells, grid.shape), axis=-1)
        feeds, fed = self.grid_to_mesh_nearest, self.mesh_to_grid_nearest
        close = nearest_in_sight(sight, cells, mesh.cells, max(feeds, fed), mesh.stride)
        numbers = np.arange(len(cells))
        sender, receiver = np.repeat(numbers, close[:, :feeds].shape[1]), close[:, :feeds].ravel()
        if self.grid_to_mesh_radius is not None:
            point, node = within_radius(sight, cells, mesh.cells, self.grid_to_mesh_radius, mesh.stride)
            both = np.sort(np.concatenate([sender * len(mesh.cells) + receiver, point * len(mesh.cells) + node]))
            sender, receiver = np.divmod(both[np.append(True, np.diff(both) > 0)], len(mesh.cells))
        g2m = join(sender, receiver, grid.positions, mesh_positions)
        sender, receiver = close[:, :fed].ravel(), np.repeat(numbers, close[:, :fed].shape[1])
        return g2m, join(sender, receiver, mesh_positions, grid.positions)


def check_layout(layout: str, levels: int | None) -> None:
    """Refuse an unknown layout or a number of levels that it cannot have."""
    if layout not in LAYOUTS:
        raise UserError(f"graph.layout={layout!r} is unknown; {nearest(layout, LAYOUTS)}")
    check_integer("levels", levels, 1, optional=True)
    if layout == "simple" and levels != 1:
        raise UserError(f"graph.levels={levels}: a simple graph has one level; use graph=multiscale or hierarchical")


def check_integer(name: str, value: object, least: int, optional: bool = False) -> None:
    """Refuse what is not a whole number of at least `least`."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"graph.{name}={value!r}: give a whole number of at least {least}{' or null' * optional}")


def visible_pairs(sight: Sight, lattice: Lattice) -> np.ndarray:
    """Neighbours on a lattice that Earth does not hide from each other, every pair once, shape (2, pair)."""
    pairs = lattice_pairs(lattice.kept)
    return pairs[:, ~sight.blocked(lattice.cells[pairs[0]], lattice.cells[pairs[1]])]


def has_loner(lattice: Lattice, pairs: np.ndarray) -> bool:
    """True when a node has no neighbour."""
    return bool((np.bincount(pairs.ravel(), minlength=len(lattice.cells)) == 0).any())
