"""Parts of the plane that are scored apart, and the sums over them."""

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.regions import Bounds, nodes_within
from spacecast.core.spec import DataSpec

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


class RegionSums:
    """Sums of node values over regions and windows, per lead, in float64; never a forecast itself.

    Args:
        masks: nodes of each region, shape (region, node).
        leads: number of leads.

    """

    def __init__(self, masks: np.ndarray, leads: int) -> None:
        self.weights = torch.as_tensor(np.asarray(masks, dtype=np.float64))
        self.leads = leads
        self.sums: dict[Hashable, Tensor] = {}

    def add(self, lead: int, name: Hashable, values: Tensor) -> None:
        """Add values of shape (window, node, variable) under a name."""
        self.weights = self.weights.to(values.device)
        total = self.weights @ values.sum(dim=0, dtype=torch.float64)
        store = self.sums.setdefault(name, total.new_zeros(self.leads, *total.shape))
        store[lead] += total

    def mean(self, name: Hashable, windows: Tensor) -> Tensor:
        """Mean over the nodes of a region and the windows of each lead; NaN where none counts.

        Args:
            name: of what was added.
            windows: how many were added at each lead, shape (lead,).

        Returns:
            Shape (lead, region, variable).

        """
        entries = windows[:, None] * self.weights.sum(dim=1).cpu()
        return self.sums[name].cpu() / entries[..., None]
