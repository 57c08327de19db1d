"""Runs that are trained on together must agree."""

from collections.abc import Sequence

import numpy as np

from spacecast.core.errors import UserError
from spacecast.data.store import RunStore


def check_consistent(stores: Sequence[RunStore]) -> None:
    """Raise a UserError unless all runs share grid, mask, variables, units, static features and time step."""
    first = stores[0]
    for other in stores[1:]:
        pair = f"{other.label} and {first.label} differ in"
        one, two = other.grid, first.grid
        axes = zip(one.coordinates.values(), two.coordinates.values(), strict=False)
        if one.axes != two.axes or one.shape != two.shape or not all(np.allclose(*each) for each in axes):
            raise UserError(f"{pair} their grid: {one} and {two}; use runs of one grid")
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
