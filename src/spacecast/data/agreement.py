"""Runs that are trained on together must agree; regions of their common plane."""

from collections.abc import Mapping, Sequence

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.data.store import RunStore

Box = Mapping[str, float]


def check_agreement(stores: Sequence[RunStore]) -> None:
    """Raise a UserError unless all runs share grid, mask, variables, units, static features and time step."""
    first = stores[0]
    for other in stores[1:]:
        pair = f"{other.label} and {first.label} differ in"
        one, two = other.grid, first.grid
        if one.shape != two.shape or not (np.allclose(one.x, two.x) and np.allclose(one.z, two.z)):
            raise UserError(f"{pair} their grid: {describe_plane(one)} and {describe_plane(two)}; use runs of one grid")
        unlike = int((one.valid != two.valid).sum())
        if unlike:
            raise UserError(f"{pair} their mask in {unlike} cells; prepare both with one static.zarr")
        _check_variables(first, other, pair)
        if abs(other.step_seconds - first.step_seconds) > 1e-6:
            steps = f"{other.step_seconds:g} s and {first.step_seconds:g} s"
            raise UserError(f"{pair} their time step: {steps}; use runs of one cadence")
        if not np.allclose(other.static_values, first.static_values, rtol=1e-4, atol=1e-5):
            raise UserError(f"{pair} their static features; prepare both with one static.zarr")


def _check_variables(first: RunStore, other: RunStore, pair: str) -> None:
    """Names and units of all categories."""
    for category in {**first.names, **other.names}:
        names, found = first.names.get(category, ()), other.names.get(category, ())
        if found != names:
            lists = f"{', '.join(found) or 'none'} and {', '.join(names) or 'none'}"
            raise UserError(f"{pair} their {category} variables: {lists}; prepare both alike")
        for name, unit, expected in zip(names, other.units[category], first.units[category], strict=True):
            if unit != expected:
                raise UserError(
                    f"{pair} the units of {name}: {unit!r} and {expected!r}; convert one and prepare it again"
                )


def boundary_nodes(grid: Grid, boundary: Box | Sequence[Box] | None) -> np.ndarray:
    """True on the nodes of the driven region, shape (node,).

    Args:
        grid: the plane.
        boundary: bounds (x_min, x_max, z_min, z_max, r_min, r_max in R_E) that all hold, or a list of such regions.

    Raises:
        UserError: when a bound is unknown, or the region holds no node or all nodes.

    """
    inside = np.zeros(grid.num_nodes, dtype=bool)
    if not boundary:
        return inside
    coordinates = {"x": grid.positions[:, 0], "z": grid.positions[:, 1], "r": grid.radius}
    known = [f"{axis}_{side}" for axis in coordinates for side in ("min", "max")]
    for box in [boundary] if isinstance(boundary, Mapping) else boundary:
        region = np.ones(grid.num_nodes, dtype=bool)
        for name, bound in box.items():
            if name not in known:
                raise UserError(f"boundary has no bound {name!r}; {nearest(name, known)}")
            values = coordinates[name[0]]
            region &= values > bound if name.endswith("min") else values < bound
        if not region.any():
            raise UserError(
                f"boundary {dict(box)} holds no node of the {describe_plane(grid)}; widen it or set it to null"
            )
        inside |= region
    if inside.all():
        raise UserError(f"boundary {boundary} holds every node of the {describe_plane(grid)}; leave some to forecast")
    return inside


def describe_plane(grid: Grid) -> str:
    """Size and extent of a plane in words."""
    extent = f"x {grid.x[0]:g} to {grid.x[-1]:g}, z {grid.z[0]:g} to {grid.z[-1]:g} R_E"
    return f"{grid.shape[0]} x {grid.shape[1]} plane, {extent}"
