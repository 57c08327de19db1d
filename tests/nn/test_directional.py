"""Operators among neighbouring cells: what they compute, that both executions agree, and their symmetries."""

import itertools

import numpy as np
import pytest
import torch

from spacecast.core.grid import Grid
from spacecast.nn.cells import make_levels
from spacecast.nn.directional import (
    DirectionalOperator,
    DirectionalUNet,
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
