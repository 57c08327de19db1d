"""Operators among neighbouring cells: what they compute, that both executions agree, and their symmetries."""

import itertools

import numpy as np
import pytest
import torch

from spacecast.core.grid import Grid
from spacecast.nn.cells import DenseLevel, EdgeLevel, level_positions, make_levels
from spacecast.nn.directional import (
    DirectionalOperator,
    DirectionalUNet,
    ResidualBlock,
    level_widths,
)

SHAPES = {"even": (12, 8), "odd": (13, 9), "line": (12,), "space": (7, 6, 5)}
HOLES = {"full": 1.0, "some": 0.8, "few": 0.3}


def make_grid(shape, share=1.0, seed=0) -> Grid:
    """Cells of one R_E, so many of them nodes."""
    valid = np.random.default_rng(seed).random(shape) < share
    return Grid(dict(zip("xyz", (np.arange(float(size)) for size in shape), strict=False)), valid)


def both(grid, levels, **options):
    """Levels executed densely and on edges."""
    return [[each.double() for each in make_levels(grid, levels, way, **options)] for way in ("dense", "edges")]


def on_nodes(network, levels, nodes, *more):
    """A network from nodes to nodes of the finest level."""
    network = network.double()
    scope = levels if isinstance(network, DirectionalUNet) else levels[0]
    return levels[0].pick(network(levels[0].lay_out(nodes), scope, *more))


@pytest.mark.parametrize("share", HOLES.values(), ids=HOLES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_operator_is_a_matrix_for_each_direction(shape, share):
    """By brute force, node by node and neighbour by neighbour."""
    grid = make_grid(shape, share)
    operator = DirectionalOperator(3, 4, axes=len(shape)).double()
    nodes = torch.randn(2, grid.num_nodes, 3).double()
    number = {tuple(cell): row for row, cell in enumerate(np.argwhere(grid.valid))}
    expected = operator.bias.expand(2, grid.num_nodes, 4).clone()
    for cell, row in number.items():
        for way in itertools.product((-1, 0, 1), repeat=len(shape)):
            sender = number.get(tuple(np.add(cell, way)))
            if sender is not None:
                matrix = operator.weight[(slice(None), slice(None), *(step + 1 for step in way))]
                expected[:, row] += nodes[:, sender] @ matrix.T
    for levels in both(grid, 1):
        torch.testing.assert_close(on_nodes(operator, levels, nodes), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("share", HOLES.values(), ids=HOLES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_both_executions_give_the_same_numbers_and_gradients(shape, share):
    grid = make_grid(shape, share)
    count = 2 if len(shape) == 3 else 3
    network = DirectionalUNet(level_widths(8, count), 1, axes=len(shape)).double()
    nodes, results = torch.randn(2, grid.num_nodes, 8).double(), []
    for levels in both(grid, count):
        network.zero_grad()
        sent = nodes.clone().requires_grad_()
        result = on_nodes(network, levels, sent)
        result.square().sum().backward()
        results.append([result, sent.grad, *(weight.grad.clone() for weight in network.parameters())])
    for dense, edges in zip(*results, strict=True):
        torch.testing.assert_close(dense, edges, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shift", [(4, 0), (-6, 8)])
def test_what_moves_on_the_plane_moves_the_result(shift):
    """By whole blocks of the coarsest level, with the hole; what the edge has seen is left out."""
    shape, reach = (56, 54), 16  # 4 operators on the cells, 4 on blocks of 2, and the blocks themselves
    hole = np.zeros(shape, dtype=bool)
    hole[24:29, 22:26] = True
    network = DirectionalUNet(level_widths(8, 2), 1).double()
    field = torch.randn(1, *shape, 8).double()
    results = []
    for moved, empty in ((field, hole), (field.roll(shift, (1, 2)), np.roll(hole, shift, (0, 1)))):
        grid = Grid({"x": np.arange(float(shape[0])), "z": np.arange(float(shape[1]))}, ~empty)
        levels = both(grid, 2)[0]
        nodes = moved.flatten(1, 2)[:, torch.as_tensor(grid.cells)]
        results.append(torch.as_tensor(grid.to_field(on_nodes(network, levels, nodes)[0].T.detach().numpy())))
    inner = tuple(slice(reach + abs(step), size - reach - abs(step)) for step, size in zip(shift, shape, strict=True))
    back = results[1].roll([-step for step in shift], (1, 2))
    torch.testing.assert_close(back[:, *inner], results[0][:, *inner], equal_nan=True)
    assert results[0][:, *inner].isfinite().any()
    assert results[0][:, *inner].isnan().any()
    assert not torch.allclose(results[1].nan_to_num(), results[0].nan_to_num())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_positions_of_levels_are_the_centres_of_their_blocks(shape):
    grid = make_grid(shape, 0.3)
    fine, coarse = level_positions(grid, 2)
    assert np.array_equal(fine, grid.positions)
    blocks = np.unique(fine // 2, axis=0)
    assert np.array_equal(coarse, blocks * 2 + 0.5)


def test_dense_where_most_cells_are_nodes():
    kinds = [type(make_levels(make_grid((20, 20), share), 1)[0]) for share in (1.0, 0.7, 0.3)]
    assert kinds == [DenseLevel, DenseLevel, EdgeLevel]


def test_cells_of_a_plain_network_send_what_they_hold():
    """Without a mask the hole is a cell like any other behind the first operator."""
    grid = make_grid((8, 8), 0.7)
    nodes, block = torch.randn(1, grid.num_nodes, 4), ResidualBlock(4)
    masked, plain = (make_levels(grid, 1, "dense", masked=mask)[0] for mask in (True, False))
    one, other = (level.pick(block(level.lay_out(nodes), level)) for level in (masked, plain))
    assert not torch.allclose(one, other)
    full = make_grid((8, 8))
    masked, plain = (make_levels(full, 1, "dense", masked=mask)[0] for mask in (True, False))
    nodes = torch.randn(1, full.num_nodes, 4)
    assert torch.equal(*(level.pick(block(level.lay_out(nodes), level)) for level in (masked, plain)))


def test_widths_grow_by_a_root_of_two():
    assert level_widths(48, 3) == [48, 64, 96]
    assert level_widths(64, 4) == [64, 88, 128, 184]
