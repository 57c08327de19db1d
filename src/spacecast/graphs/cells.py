"""Cells and blocks of them as a graph: what models that do without the mesh pass messages along (`nn/cells.py`)."""

import itertools

import numpy as np

from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.graphs.edges import EdgeList, both_ways, join, lattice_pairs, make_graph, require_plane


def cell_graph(grid: Grid, levels: int) -> MeshGraph:
    """Cells as the finest level, blocks of 2 x 2, 4 x 4, ... of them above; edges join the eight neighbours.

    Args:
        grid: a plane.
        levels: how many, the cells included, at least one.

    Raises:
        UserError: the grid is no plane.

    """
    require_plane(grid)
    valid = [grid.valid]
    for _ in range(levels - 1):
        valid.append(np.zeros([-(-size // 2) for size in valid[-1].shape], dtype=bool))
        valid[-1][tuple(np.argwhere(valid[-2]).T // 2)] = True
    first = np.array([values[0] for values in grid.coordinates.values()])
    positions = [
        first + (np.argwhere(nodes) * 2**level + (2**level - 1) / 2) * np.array(grid.spacing)
        for level, nodes in enumerate(valid)
    ]
    within = [join(*both_ways(lattice_pairs(nodes)), at, at) for nodes, at in zip(valid, positions, strict=True)]
    up, down = [], []
    for (fine, coarse), (low, high) in zip(itertools.pairwise(valid), itertools.pairwise(positions), strict=True):
        children = np.arange(len(low))
        parents = (np.cumsum(coarse) - 1).reshape(coarse.shape)[tuple(np.argwhere(fine).T // 2)]
        up.append(join(children, parents, low, high))
        down.append(join(parents, children, high, low))
    numbers = np.arange(grid.num_nodes)
    same = EdgeList(numbers, numbers, np.zeros((grid.num_nodes, 3)))
    return make_graph(grid, positions, within, same, same, up, down, recipe={"cells": levels})
