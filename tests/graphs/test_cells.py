"""The graph of cells and blocks of them is the one along which `nn.cells` passes messages."""

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.graphs.cells import cell_graph
from spacecast.graphs.validation import validate
from spacecast.nn.cells import EdgeLevel, level_positions, make_levels

LEVELS = 3


@pytest.fixture(scope="module", params=[(12, 8), (13, 9)], ids=["even", "odd"])
def grid(request) -> Grid:
    valid = np.random.default_rng(0).random(request.param) < 0.8
    return Grid({"x": np.arange(-4.0, request.param[0] - 4), "z": 2.0 * np.arange(request.param[1])}, valid)


def pairs(senders, receivers) -> set[tuple[int, int]]:
    return set(zip(senders.tolist(), receivers.tolist(), strict=True))


def sent(table, size: int) -> set[tuple[int, int]]:
    """Pairs of a table (receiver, kind) of senders, of which those from `size` on are none."""
    receivers = np.broadcast_to(np.arange(len(table))[:, None], table.shape)
    return pairs(table[table < size], receivers[table < size])


def test_nodes_and_edges_are_those_of_the_operators(grid):
    graph, expected = cell_graph(grid, LEVELS), make_levels(grid, LEVELS, "edges")
    for level, at in zip(graph.levels, level_positions(grid, LEVELS), strict=True):
        np.testing.assert_allclose(level.positions, at)
    for number, level in enumerate(graph.levels):
        cells = expected[number]
        assert isinstance(cells, EdgeLevel)
        size, itself = level.num_nodes, {(node, node) for node in range(level.num_nodes)}
        assert pairs(level.edges.senders, level.edges.receivers) == sent(cells.senders.numpy(), size) - itself
        if number + 1 < LEVELS:
            blocks = sent(cells.members.numpy(), size)
            assert pairs(graph.up[number].senders, graph.up[number].receivers) == blocks
            assert pairs(graph.down[number].receivers, graph.down[number].senders) == blocks


def test_one_level_is_a_sound_graph_without_levels_above(plane):
    grid = plane()
    graph = cell_graph(grid, 1)
    validate(graph, grid)
    assert not graph.hierarchical
    assert graph.num_grid_nodes == graph.levels[0].num_nodes == grid.num_nodes


def test_space_is_refused():
    axes = {axis: np.arange(4.0) for axis in "xyz"}
    with pytest.raises(UserError, match="a plane"):
        cell_graph(Grid(axes, np.ones((4, 4, 4), dtype=bool)), 2)
