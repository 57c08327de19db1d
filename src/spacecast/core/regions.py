"""Regions of a grid by their bounds: one rule for the driven boundary and for the parts that are scored apart."""

from collections.abc import Mapping, Sequence

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid

Bounds = Mapping[str, float]


def nodes_within(
    grid: Grid, bounds: Bounds, key: str, measures: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """True on the nodes of a region, shape (node,).

    A minimum counts, a maximum does not, so that regions that share a limit share no node.

    Args:
        grid: the cells.
        bounds: limits in R_E that all hold: `_min` and `_max` of each axis of the grid, and of `r`, the distance from
            Earth's centre; x_min, x_max, z_min, z_max, r_min and r_max on the plane.
        key: what they are, for the error.
        measures: further values of the nodes that can be bounded, by name, shape (node,) each.

    Raises:
        UserError: a bound is unknown.

    """
    places = {**dict(zip(grid.axes, grid.positions.T, strict=True)), "r": grid.radius, **(measures or {})}
    known = [f"{name}_{side}" for name in places for side in ("min", "max")]
    inside = np.ones(grid.num_nodes, dtype=bool)
    for bound, limit in bounds.items():
        if bound not in known:
            raise UserError(f"{key} has no bound {bound!r}; {nearest(bound, known)}")
        name, _, side = bound.rpartition("_")
        inside &= places[name] >= limit if side == "min" else places[name] < limit
    return inside


def boundary_nodes(grid: Grid, boundary: Bounds | Sequence[Bounds] | None) -> np.ndarray:
    """True on the nodes of the driven region, shape (node,).

    Args:
        grid: the cells.
        boundary: bounds (see `nodes_within`), or a list of such regions; None: none.

    Raises:
        UserError: when a bound is unknown, or the region holds no node or all nodes.

    """
    driven = np.zeros(grid.num_nodes, dtype=bool)
    if not boundary:
        return driven
    for bounds in [boundary] if isinstance(boundary, Mapping) else boundary:
        region = nodes_within(grid, bounds, "boundary")
        if not region.any():
            raise UserError(f"boundary {dict(bounds)} holds no node of the {grid}; widen it or set it to null")
        driven |= region
    if driven.all():
        raise UserError(f"boundary {boundary} holds every node of the {grid}; leave some to forecast")
    return driven
