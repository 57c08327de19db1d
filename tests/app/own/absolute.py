"""A user's own loss: the mean absolute error of the roll-out, and one YAML file in `loss/` beside it."""

import torch

from spacecast.core.protocols import StepModel
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, LossTerms, Stage


class Absolute:
    """Mean absolute error of standardised states outside of the boundary, over all steps of the roll-out."""

    def __init__(self, spec: DataSpec, *, weight: float = 1.0) -> None:
        self.interior, self.weight = torch.as_tensor(spec.interior), weight

    def __call__(self, model: StepModel, batch: Batch, stage: Stage) -> LossTerms:
        """Step by step, each from the states before."""
        prepared, losses = model.prepare(), []
        previous, state = batch.initial[:, 0], batch.initial[:, 1]
        for lead in range(stage.rollout_steps):
            forecast = model.step(previous, state, batch.forcing[:, lead], prepared).state
            previous, state = state, torch.where(self.interior[:, None], forecast, batch.target[:, lead])
            losses.append((state - batch.target[:, lead]).abs().mean())
        error = self.weight * torch.stack(losses).mean()
        return LossTerms(error, {"absolute": error.detach()})
