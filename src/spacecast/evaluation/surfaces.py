"""The bow shock and the magnetopause as surfaces of a known shape, by which regions can be bounded."""

from collections.abc import Mapping

import numpy as np
import torch

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.formulas.physics import bow_shock_distance, magnetopause_distance

SURFACES: Mapping[str, float] = {
    "magnetopause_standoff": 8.5,
    "magnetopause_flaring": 0.7,
    "bow_shock_standoff": 16.0,
    "bow_shock_eccentricity": 0.81,
}
"""Of the simulated magnetosphere in a wind of 1 proton per cm3; as in `conf/evaluation`."""


def measures(grid: Grid, surfaces: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """What a region can be bounded by besides the axes and the distance from Earth's centre.

    Args:
        grid: the cells.
        surfaces: what is not as in `SURFACES`: distance of both on the line to the Sun [R_E], the flaring of
            `formulas.physics.magnetopause_distance` and the eccentricity of `formulas.physics.bow_shock_distance`.

    Returns:
        `magnetopause` and `bow_shock`, the distance of a node from Earth's centre over that of the surface in the same
        direction, so below 1 inside and above 1 outside; `abs_z`, the distance from the equator [R_E]; shape (node,)
        each. Only what the axes of the grid tell.

    Raises:
        UserError: a parameter is unknown, or makes no surface.

    """
    known = parameters(surfaces)
    pause = (known["magnetopause_standoff"], known["magnetopause_flaring"])
    shock = (known["bow_shock_standoff"], known["bow_shock_eccentricity"])
    places = dict(zip(grid.axes, grid.positions.T, strict=True))
    found = {}
    if "x" in places:
        cosine = torch.as_tensor(places["x"] / np.maximum(grid.radius, 1e-12))
        found["magnetopause"] = grid.radius / magnetopause_distance(cosine, *pause).numpy()
        found["bow_shock"] = grid.radius / bow_shock_distance(cosine, *shock).numpy()
    if "z" in places:
        found["abs_z"] = np.abs(places["z"])
    return found


def parameters(surfaces: Mapping[str, float] | None = None) -> dict[str, float]:
    """All parameters of the surfaces, from those that are not as in `SURFACES`.

    Raises:
        UserError: a parameter is unknown, or makes no surface.

    """
    for name, value in (surfaces or {}).items():
        if name not in SURFACES:
            raise UserError(f"evaluation.surfaces has no parameter {name!r}; {nearest(name, list(SURFACES))}")
        standoff = name.endswith("standoff")
        if not np.isfinite(value) or value < 0 or (standoff and value == 0):
            raise UserError(f"evaluation.surfaces.{name}={value}: give a number above 0{'' if standoff else ', or 0'}")
    return {**SURFACES, **(surfaces or {})}
