"""What training minimises: a loss over a roll-out, and penalties."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import StepModel
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, LossTerms, Stage
from spacecast.forecast.rollout import rollout
from spacecast.forecast.standardize import Standardizer
from spacecast.losses.divergence import DivergencePenalty
from spacecast.losses.pointwise import LOSSES


class ForecastObjective(nn.Module):
    """Mean loss of a roll-out over batch, lead, node and variable, boundary nodes left out.

    Errors are measured in units of the one-step increments of the data, so that 1 is the error of persistence after one
    step (up to the mean increment) for every variable.

    Args:
        spec: facts of the data.
        loss: name of a loss in `losses.pointwise.LOSSES`.
        variable_weights: multiplies a variable's squared error, by name; 1 where it is not named.
        div_weight: weight of the magnetic divergence penalty.
        recompute: activation checkpointing of each step.
    """

    interior: Tensor
    boundary: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        loss: str = "wmse",
        variable_weights: Mapping[str, float] | None = None,
        div_weight: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise UserError(f"unknown loss {loss!r}; {nearest(loss, LOSSES)}")
        self.loss = LOSSES[loss]
        self.div_weight = div_weight
        self.recompute = recompute
        weights = torch.ones(len(spec.state))
        for name, weight in (variable_weights or {}).items():
            if weight < 0:
                raise UserError(f"loss weight of {name} is {weight:g}: it must not be negative")
            weights[spec.state.index(name)] = weight
        diff_std = torch.as_tensor(spec.increment_statistics[1])
        self.register_buffer("scale", diff_std / weights.sqrt(), persistent=False)
        self.register_buffer("interior", torch.as_tensor(spec.interior.nonzero()[0]), persistent=False)
        self.register_buffer("boundary", torch.as_tensor(spec.boundary), persistent=False)
        self.standardizer = Standardizer(spec)
        self.divergence = DivergencePenalty(spec) if div_weight else None

    def forward(self, model: StepModel, batch: Batch, stage: Stage) -> LossTerms:
        """See `core.protocols.Objective`."""
        steps = stage.rollout_steps
        boundary = self.boundary if self.interior.numel() < self.boundary.numel() else None
        forecast = rollout(model, batch, steps, boundary=boundary, recompute=self.recompute)
        target = batch.target[:, :steps]
        if boundary is None:
            states, std = forecast.states, forecast.std
        else:
            states, target = forecast.states.index_select(2, self.interior), target.index_select(2, self.interior)
            std = None if forecast.std is None else forecast.std.index_select(2, self.interior)
        terms = {"loss": self.loss(states, target, self.scale if std is None else std).mean()}
        total = terms["loss"]
        if self.divergence is not None and stage.div:
            terms["div"] = self.divergence(self.standardizer.state_to_physical(forecast.states))
            total = total + self.div_weight * stage.div * terms["div"]
        return LossTerms(total, terms)
