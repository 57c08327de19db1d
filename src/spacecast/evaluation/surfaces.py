"""The bow shock and the magnetopause as surfaces of a known shape, by which regions can be bounded."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.formulas.physics import bow_shock_distance, magnetopause_distance

MAGNETOPAUSE: Mapping[str, float] = {"standoff": 8.5, "flaring": 0.7}
BOW_SHOCK: Mapping[str, float] = {"standoff": 16.0, "eccentricity": 0.81}
"""Of the simulated magnetosphere in a wind of 1 proton per cm3; as in `conf/evaluation`."""


def measures(
    grid: Grid, magnetopause: Mapping[str, float] | None = None, bow_shock: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """What a region can be bounded by besides the axes and the distance from Earth's centre.

    Args:
        grid: the cells.
        magnetopause: `standoff` [R_E] and `flaring`, see `formulas.physics.magnetopause_distance`.
        bow_shock: `standoff` [R_E] and `eccentricity`, see `formulas.physics.bow_shock_distance`.

    Returns:
        `magnetopause` and `bow_shock`, the distance of a node from Earth's centre over that of the surface in the same
        direction, so below 1 inside and above 1 outside; `abs_z`, the distance from the equator [R_E]; shape (node,)
        each. Only what the axes of the grid tell.

    Raises:
        UserError: a parameter is unknown or makes no surface.

    """
    pause = _parameters("magnetopause", magnetopause, MAGNETOPAUSE)
    shock = _parameters("bow_shock", bow_shock, BOW_SHOCK)
    places = dict(zip(grid.axes, grid.positions.T, strict=True))
    found = {}
    if "x" in places:
        cosine = torch.as_tensor(places["x"] / np.maximum(grid.radius, 1e-12))
        found["magnetopause"] = grid.radius / magnetopause_distance(cosine, **pause).numpy()
        found["bow_shock"] = grid.radius / bow_shock_distance(cosine, **shock).numpy()
    if "z" in places:
        found["abs_z"] = np.abs(places["z"])
    return found


def _parameters(name: str, given: Mapping[str, float] | None, known: Mapping[str, float]) -> dict[str, Any]:
    """Parameters of a surface, those that are not given as known."""
    for parameter, value in (given or {}).items():
        key = f"evaluation.{name}.{parameter}"
        if parameter not in known:
            raise UserError(f"evaluation.{name} has no parameter {parameter!r}; {nearest(parameter, list(known))}")
        if not np.isfinite(value) or value < 0 or (parameter == "standoff" and value == 0):
            raise UserError(f"{key}={value}: give a number above 0{'' if parameter == 'standoff' else ', or 0'}")
    return {**known, **(given or {})}
