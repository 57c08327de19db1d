"""Regions by bounds: one rule for the driven boundary and for the parts that are scored apart."""

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.regions import boundary_nodes, nodes_within

PLANE = Grid({"x": np.arange(-3.0, 4.0), "z": np.arange(-2.0, 3.0)}, np.ones((7, 5)))


def test_regions_that_share_a_limit_share_no_node_and_leave_none_out():
    for name in ("x", "z", "r"):
        low, high = (nodes_within(PLANE, {f"{name}_{side}": 1.0}, "part") for side in ("max", "min"))
        assert not (low & high).any()
        assert (low | high).all()


def test_a_minimum_counts_and_a_maximum_does_not():
    x, z = PLANE.positions.T
    np.testing.assert_array_equal(nodes_within(PLANE, {"x_min": 1, "z_max": 0}, "part"), (x >= 1) & (z < 0))
    np.testing.assert_array_equal(nodes_within(PLANE, {"r_min": 2}, "part"), np.hypot(x, z) >= 2)


def test_the_boundary_follows_the_same_rule_and_may_have_several_parts():
    np.testing.assert_array_equal(boundary_nodes(PLANE, {"x_min": 2}), nodes_within(PLANE, {"x_min": 2}, "part"))
    parts = [{"x_min": 2}, {"r_max": 1.5}]
    either = np.logical_or(*(nodes_within(PLANE, bounds, "part") for bounds in parts))
    np.testing.assert_array_equal(boundary_nodes(PLANE, parts), either)
    for nothing in (None, {}, []):
        assert not boundary_nodes(PLANE, nothing).any()


def test_bounds_are_those_of_the_axes_that_the_grid_has():
    with pytest.raises(UserError, match="boundary has no bound 'y_min'; did you mean"):
        boundary_nodes(PLANE, {"y_min": 1})
    other = Grid({"y": np.arange(4.0), "z": np.arange(5.0)}, np.ones((4, 5)))
    np.testing.assert_array_equal(nodes_within(other, {"y_min": 2}, "part"), other.positions[:, 0] >= 2)
