"""The forecast that nothing changes: the baseline of every score."""

from torch import Tensor, nn

from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec
from spacecast.core.types import StepOutput


class Persistence(nn.Module):
    """X_{t+1} = X_t + trend (X_t - X_{t-1}).

    Args:
        spec, graph: unused, as every model is built with them.
        trend: 0 for persistence, 1 for linear extrapolation.
    """

    cell_levels = 0

    def __init__(self, spec: DataSpec, graph: MeshGraph, *, trend: float = 0.0) -> None:  # noqa: ARG002
        super().__init__()
        self.trend = trend

    def prepare(self) -> None:
        """Nothing is static."""

    def step(self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: None) -> StepOutput:  # noqa: ARG002
        """See `core.protocols.StepModel`."""
        return StepOutput(state + self.trend * (state - previous), None)
