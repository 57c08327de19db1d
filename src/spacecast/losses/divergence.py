"""Penalty on the divergence of the magnetic field."""

import torch
from torch import Tensor, nn

from spacecast.core.spec import DataSpec


class DivergencePenalty(nn.Module):
    """Mean squared div B, non-dimensional: mean of (div B * cell size / scale)^2.

    In physical units, by central differences, on the nodes that have all four neighbours. One scale serves Bx and Bz,
    the root mean square of the one-step increments of both, so that the penalty vanishes exactly where div B does, and
    a random error of one increment's size costs about 1.

    Args:
        spec: facts of the data; must have Bx and Bz.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.components = spec.state.indices(["Bx", "Bz"])
        self.grid = spec.grid
        scale = float((spec.diff_std[self.components] ** 2).mean() ** 0.5)
        self.factor = min(spec.grid.spacing) / scale

    def forward(self, physical: Tensor) -> Tensor:
        """Physical states (..., node, state) to a scalar."""
        bx, bz = (physical[..., index].to(torch.float32) for index in self.components)
        return (self.grid.divergence(bx, bz) * self.factor).square().mean()
