"""Operators on cells around a mesh."""

import numpy as np
import torch

from spacecast.nn.grid_blocks import GridBlocks, make_grid_blocks


def test_no_blocks_are_no_module(tiny_grid):
    assert make_grid_blocks(tiny_grid, 0, 8, 4) is None


def test_a_cell_reaches_as_far_as_its_operators(tiny_grid):
    """Two operators in each block: two cells along each axis before the mesh, four with those after it, and no more."""
    torch.manual_seed(0)
    blocks = GridBlocks(tiny_grid, 1, 8, 4).double()
    number = np.full(tiny_grid.shape, -1)
    number[tiny_grid.valid] = np.arange(tiny_grid.num_nodes)
    batch, cell = 2, (9, 4)
    node = number[cell]
    grid = torch.randn(batch, tiny_grid.num_nodes, 8).double()
    other = grid.clone()
    other[1, node] = torch.randn(8).double()  # not by a constant, to which the norm is blind
    mesh = torch.zeros(batch * tiny_grid.num_nodes, 4).double()
    passed = [blocks.before(each.flatten(0, 1), batch) for each in (grid, other)]
    results = [blocks.after(mesh, each, batch) for each in passed]
    offsets = np.abs(np.argwhere(tiny_grid.valid) - cell).max(axis=1)
    for pair, reach in ((passed, 2), (results, 4)):
        changed = (pair[0] != pair[1]).any(dim=1).view(batch, -1).numpy()
        assert not changed[0].any()
        assert changed[1, offsets <= reach].all()
        assert not changed[1, offsets > reach].any()


def test_what_the_mesh_sends_back_is_added_to_what_goes_round_it(tiny_grid):
    blocks = GridBlocks(tiny_grid, 0, 8, 4)
    embedded, mesh = torch.randn(tiny_grid.num_nodes, 8), torch.randn(tiny_grid.num_nodes, 4)
    assert torch.equal(blocks.before(embedded, 1), embedded)
    torch.testing.assert_close(blocks.after(mesh, embedded, 1), mesh + blocks.round(embedded))
