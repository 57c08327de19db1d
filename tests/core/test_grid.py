"""The plane and its nodes."""

import numpy as np
import torch


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
