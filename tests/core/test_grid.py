"""The plane and its nodes."""

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid


def test_neighbours_are_the_next_nodes_and_the_node_itself_where_there_is_none(tiny_grid):
    places = {tuple(place): number for number, place in enumerate(tiny_grid.positions.round(6))}
    dx, dz = tiny_grid.spacing
    shifts = [(dx, 0.0), (-dx, 0.0), (0.0, dz), (0.0, -dz)]
    for shift, found in zip(shifts, tiny_grid.neighbours, strict=True):
        for number, place in enumerate(tiny_grid.positions):
            assert found[number] == places.get(tuple((place + shift).round(6)), number)


def test_the_stencil_has_every_node_with_four_neighbours_and_no_other(tiny_grid):
    centre, *around = tiny_grid.stencil
    full = [number for number in range(tiny_grid.num_nodes) if number not in tiny_grid.neighbours[:, number]]
    assert centre.tolist() == full
    np.testing.assert_array_equal(np.stack(around), tiny_grid.neighbours[:, centre])


def test_central_differences_of_a_linear_field_are_its_slope(tiny_grid):
    x, z = torch.as_tensor(tiny_grid.positions).T
    slope = tiny_grid.divergence(2 * x + z, 3 * z - x)
    torch.testing.assert_close(slope, torch.full_like(slope, 5.0))
    assert len(slope) == tiny_grid.stencil.shape[1] < tiny_grid.num_nodes


def test_the_divergence_of_a_curl_vanishes_on_every_stencil(tiny_grid):
    """With any values inside Earth, and whatever lies beside the edges."""
    torch.manual_seed(0)
    potential = torch.randn(3, *tiny_grid.shape, dtype=torch.float64)
    nodes = [component.flatten(-2)[..., tiny_grid.cells] for component in tiny_grid.curl(potential)]
    assert nodes[0].abs().max() > 0.1
    assert tiny_grid.divergence(*nodes).abs().max() < 1e-14


@pytest.mark.parametrize(("axes", "components"), [("xz", (-2, 1)), ("xy", (2, -1)), ("yz", (2, -1)), ("zy", (-2, 1))])
def test_the_curl_is_that_of_a_right_handed_space(axes, components):
    """Of A = x + 2 z out of the plane, (curl A)_x = -dA/dz and (curl A)_z = dA/dx; the edges are straight."""
    one, two = np.arange(5.0), np.arange(4.0)
    grid = Grid(dict(zip(axes, (one, two), strict=True)), np.ones((5, 4), dtype=bool))
    found = grid.curl(torch.as_tensor(one[:, None] + 2 * two))
    for component, value in zip(found, components, strict=True):
        torch.testing.assert_close(component, torch.full((5, 4), float(value), dtype=torch.float64))


def test_a_space_of_three_axes_has_no_curl_of_one_number():
    grid = Grid({axis: np.arange(3.0) for axis in "xyz"}, np.ones((3, 3, 3), dtype=bool))
    with pytest.raises(UserError, match="needs a plane, the grid has the axes x, y, z"):
        grid.curl(torch.zeros(3, 3, 3))
