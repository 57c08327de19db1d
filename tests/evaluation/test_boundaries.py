"""Lines and rectangles of the plane: which cells they hold, and what they are worth on fields that are known."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacecast.core.grid import Grid
from spacecast.core.regions import boundary_nodes
from spacecast.evaluation.boundaries import axis_line, largest_rectangle, sunward_axis, tail_axis


def plane(x, z, radius=3.85):
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z) > radius)


@pytest.fixture
def demo():
    """The cells of the simulated magnetosphere, 180 x 120 of half an Earth radius."""
    return plane(np.arange(-59.75, 30, 0.5), np.arange(-29.75, 30, 0.5))


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25])
def test_a_line_interpolates_to_the_axis(shift):
    grid = plane(np.arange(-59.75, 30, 0.5), np.arange(-29.75, 30, 0.5) + shift)
    x, z = torch.as_tensor(grid.positions.T.copy())
    for line, inside in ((sunward_axis(grid), x[(x >= 6)]), (tail_axis(grid), x[x <= -10])):
        torch.testing.assert_close(line.x, inside.unique())
        torch.testing.assert_close(line.along(3 * x - 7 * z + 2), 3 * line.x + 2)
        assert line.step == pytest.approx(0.5)


def test_a_line_through_cell_centres_takes_their_values():
    grid = plane(np.arange(-20.0, 21), np.arange(-20.0, 21))
    x, z = torch.as_tensor(grid.positions.T.copy())
    field = torch.where(z == 0, x, 1e9)
    torch.testing.assert_close(sunward_axis(grid).along(field.expand(2, 3, -1)), sunward_axis(grid).x.expand(2, 3, -1))


def test_no_line_where_the_grid_has_none(demo):
    x = np.arange(-20.0, 21)
    assert tail_axis(plane(x, np.arange(1.0, 30))) is None  # north of the axis
    assert sunward_axis(plane(np.arange(-20.0, 12), x)) is None  # 6 cells
    holes = demo.valid.copy()
    holes[150, 60] = False
    assert sunward_axis(Grid(demo.coordinates, holes)) is None
    assert axis_line(Grid({"x": x, "y": x}, np.ones((41, 41))), 0, 20) is None
    box = Grid({"x": x, "y": x[:5], "z": x}, np.ones((41, 5, 41)))
    assert axis_line(box, 0, 20) is None
    assert largest_rectangle(box, np.ones(box.num_nodes, dtype=bool)) is None


def test_the_largest_rectangle_of_the_simulated_magnetosphere_is_its_tail(demo):
    interior = ~boundary_nodes(demo, {"x_min": 27})
    rectangle = largest_rectangle(demo, interior)
    x, z = demo.positions[rectangle.nodes.flatten().numpy()].T
    assert rectangle.shape == (112, 120)
    assert (x.min(), x.max()) == (-59.75, -4.25)
    assert (z.min(), z.max()) == (-29.75, 29.75)
    values = torch.as_tensor(demo.positions)
    torch.testing.assert_close(rectangle.within(values)[0][:, 0], torch.arange(-59.75, -4, 0.5, dtype=torch.float64))
    assert rectangle.within(values).shape == (2, 112, 120)


def test_of_two_equal_rectangles_the_one_on_the_side_of_the_tail_is_taken():
    grid = plane(np.arange(-20.0, 21), np.arange(-10.0, 11))
    rectangle = largest_rectangle(grid, np.ones(grid.num_nodes, dtype=bool))
    assert grid.positions[rectangle.nodes.flatten().numpy(), 0].max() < 0


def test_no_node_makes_no_rectangle(demo):
    assert largest_rectangle(demo, np.zeros(demo.num_nodes, dtype=bool)) is None


@given(st.integers(3, 7), st.integers(3, 7), st.data())
def test_no_rectangle_is_larger(rows, columns, data):
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns)))
    grid = Grid({"x": np.arange(rows), "z": np.arange(columns)}, np.ones((rows, columns)))
    found = largest_rectangle(grid, chosen)
    field = chosen.reshape(rows, columns)
    sizes = [
        (b - a) * (d - c)
        for a, b in itertools.combinations(range(rows + 1), 2)
        for c, d in itertools.combinations(range(columns + 1), 2)
        if field[a:b, c:d].all()
    ]
    if not sizes:
        assert found is None
        return
    assert found.nodes.numel() == max(sizes)
    assert chosen[found.nodes.numpy()].all()
    assert (np.diff(found.nodes.numpy(), axis=1) == 1).all()
    assert (np.diff(found.nodes.numpy(), axis=0) == columns).all()
