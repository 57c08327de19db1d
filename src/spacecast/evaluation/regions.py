"""Parts of the plane that are scored apart."""

import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.regions import Bounds, nodes_within
from spacecast.core.spec import DataSpec
from spacecast.evaluation.sample import Sample

log = logging.getLogger(__name__)

DEFAULT_REGIONS: Mapping[str, Bounds] = {
    "inner": {"r_max": 10},
    "dayside": {"r_min": 10, "x_min": 0},
    "tail": {"r_min": 10, "x_max": 0},
}
"""The regions of `conf/evaluation`, which some planes have no part in."""


def region_masks(spec: DataSpec, regions: Mapping[str, Bounds] | None = None) -> dict[str, np.ndarray]:
    """Nodes of each region, shape (node,); the first, `all`, is every node outside the boundary.

    Args:
        spec: grid and boundary.
        regions: name to bounds (see `core.regions.nodes_within`), for example {"inner": {"r_max": 10}}. Regions of
            `DEFAULT_REGIONS` are left out where they hold no node.

    Raises:
        UserError: for an unknown bound or a region of the user's own without a node to score.

    """
    masks = {"all": spec.interior}
    if not masks["all"].any():
        raise UserError("datastore.boundary holds every node, none is left to score; make it smaller or null")
    for name, bounds in (regions or {}).items():
        key = f"evaluation.regions.{name}"
        if name in masks:
            raise UserError(f"{key}: {name!r} is the whole domain and always scored; give yours another name")
        mask = spec.interior & nodes_within(spec.grid, bounds, key)
        if mask.any():
            masks[str(name)] = mask
        elif DEFAULT_REGIONS.get(str(name)) != dict(bounds):
            raise UserError(f"{key}={dict(bounds)} holds no node to score; widen it, or leave it out with ~{key}")
    return masks


class Regions:
    """The parts of the plane that are scored apart.

    Args:
        spec: grid and boundary.
        bounds: as in `region_masks`.

    """

    def __init__(self, spec: DataSpec, bounds: Mapping[str, Bounds] | None = None) -> None:
        fixed = region_masks(spec, bounds)
        self.names = list(fixed)
        self._fixed = torch.as_tensor(np.stack(list(fixed.values())), dtype=torch.float64)
        if empty := [name for name in bounds or () if name not in fixed]:
            log.info("regions without a node of these data, left out of the scores: %s", ", ".join(empty))

    def masks(self, sample: Sample) -> Tensor:
        """1 on the nodes of each region, else 0, float64, shape (window, region, node).

        Args:
            sample: the forecasts; regions may lie elsewhere in each.

        """
        self._fixed = self._fixed.to(sample.truth.device)
        return self._fixed.expand(len(sample.truth), -1, -1)
