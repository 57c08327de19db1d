"""Parts of the plane that are scored apart."""

import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.regions import Bounds, nodes_within
from spacecast.core.spec import DataSpec
from spacecast.evaluation.plasma import PlasmaRegions
from spacecast.evaluation.surfaces import measures, parameters

log = logging.getLogger(__name__)

DEFAULT_REGIONS: Mapping[str, Bounds] = {
    "inner": {"r_max": 10},
    "dayside": {"r_min": 10, "x_min": 0},
    "tail": {"r_min": 10, "x_max": 0},
    "solar_wind": {"bow_shock_min": 1},
    "magnetosheath": {"bow_shock_max": 1, "magnetopause_min": 1},
    "lobes": {"magnetopause_max": 1, "r_min": 10, "x_max": 0, "abs_z_min": 2},
    "plasma_sheet": {"magnetopause_max": 1, "r_min": 10, "x_max": 0, "abs_z_max": 2},
}
"""The regions of `conf/evaluation`, which some planes have no part in."""


def region_masks(
    spec: DataSpec,
    regions: Mapping[str, Bounds] | None = None,
    surfaces: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """Nodes of each region, shape (node,); the first, `all`, is every node outside the boundary.

    Args:
        spec: grid and boundary.
        regions: name to bounds (see `core.regions.nodes_within` and `surfaces.measures`), for example
            {"inner": {"r_max": 10}}. Regions of `DEFAULT_REGIONS` are left out where they hold no node, or the grid
            lacks the axis of a bound.
        surfaces: parameters of bow shock and magnetopause, see `surfaces.measures`.

    Raises:
        UserError: for an unknown bound, a region of the user's own without a node to score, or parameters that make no
            surface.

    """
    masks = {"all": spec.interior}
    if not masks["all"].any():
        raise UserError("datastore.boundary holds every node, none is left to score; make it smaller or null")
    known = measures(spec.grid, surfaces)
    for name, bounds in (regions or {}).items():
        key = f"evaluation.regions.{name}"
        if name in masks:
            raise UserError(f"{key}: {name!r} is the whole domain and always scored; give yours another name")
        default = DEFAULT_REGIONS.get(str(name)) == dict(bounds)
        if default and not all(_has(spec.grid, bound, known) for bound in bounds):
            continue
        mask = spec.interior & nodes_within(spec.grid, bounds, key, known)
        if mask.any():
            masks[str(name)] = mask
        elif not default:
            raise UserError(f"{key}={dict(bounds)} holds no node to score; widen it, or leave it out with ~{key}")
    return masks


def plasma_regions(spec: DataSpec, surfaces: Mapping[str, float] | None = None) -> PlasmaRegions:
    """Regions by plasma; the solar wind is taken from ahead of the bow shock, see `plasma.PlasmaRegions`."""
    return PlasmaRegions(spec, parameters(surfaces)["bow_shock_standoff"])


class Regions:
    """The parts of the plane that are scored apart.

    Args:
        spec: grid and boundary.
        bounds, surfaces: as in `region_masks`.
        by_plasma: add those of `plasma_regions`, by the truth at each lead.

    Raises:
        UserError: as `region_masks`, and where data do not tell plasmas apart.

    """

    def __init__(
        self,
        spec: DataSpec,
        bounds: Mapping[str, Bounds] | None = None,
        surfaces: Mapping[str, float] | None = None,
        by_plasma: bool = False,
    ) -> None:
        fixed = region_masks(spec, bounds, surfaces)
        self._moving = plasma_regions(spec, surfaces) if by_plasma else None
        moving = self._moving.names if self._moving else ()
        if twice := [name for name in moving if name in fixed]:
            raise UserError(f"evaluation.regions.{twice[0]}: plasma_regions=true has that name; give yours another one")
        self.names = [*fixed, *moving]
        self._fixed = torch.as_tensor(np.stack(list(fixed.values())), dtype=torch.float64)
        if empty := [name for name in bounds or () if name not in fixed]:
            log.info("regions without a node of these data, left out of the scores: %s", ", ".join(empty))

    def masks(self, truth: Tensor) -> Tensor:
        """1 on the nodes of each region, else 0, float64, shape (window, region, node).

        Args:
            truth: in physical units, shape (window, node, state); regions may lie elsewhere in each.

        """
        self._fixed = self._fixed.to(truth.device)
        fixed = self._fixed.expand(len(truth), -1, -1)
        return torch.cat([fixed, self._moving.masks(truth).double()], dim=1) if self._moving else fixed


def _has(grid: Grid, bound: str, known: Mapping[str, np.ndarray]) -> bool:
    """Whether a grid has what a bound limits."""
    return bound.rpartition("_")[0] in (*grid.axes, "r", *known)
