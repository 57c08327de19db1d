"""What training of a deterministic model minimises: a loss over a roll-out, and the divergence of B."""

from torch import nn

from spacecast.core.protocols import StepModel
from spacecast.core.ranges import NonNegativeFloat, Share
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, Keep, LossTerms, Stage
from spacecast.forecast.rollout import rollout
from spacecast.formulas.pointwise import Loss, LossName, Reduction
from spacecast.objectives.divergence_penalty import DivergencePenalty
from spacecast.objectives.initial_states import InitialStates
from spacecast.objectives.interior_loss import InteriorLoss, Weights


class ForecastObjective(nn.Module):
    """Mean loss of a roll-out over batch, lead, node and variable, boundary nodes left out; see `InteriorLoss`.

    Args:
        spec: facts of the data.
        loss: name of a loss in `formulas.pointwise.LOSSES`, or a function like those.
        variable_weights: see `InteriorLoss`.
        div_weight: weight of the magnetic divergence penalty.
        reduction: `mean`, or `reference` for the published definitions.
        input_noise: of the initial states, in one-step increments, see `InitialStates`.
        previous_given: share of the windows in which a model that can do without it has the state before.
        detach: no gradients through the states of a roll-out (push-forward): each step learns to make the best of what
            the steps before have made, at the cost of the sum of single ones.
        recompute: activation checkpointing of each step.

    Attributes:
        whole_grid: see `core.protocols.whole_grid_of`.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        loss: LossName | Loss = "wmse",
        variable_weights: Weights | None = None,
        div_weight: NonNegativeFloat = 0.0,
        reduction: Reduction = "mean",
        input_noise: NonNegativeFloat = 0.0,
        previous_given: Share = 0.7,
        detach: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.interior = InteriorLoss(spec, loss=loss, variable_weights=variable_weights, reduction=reduction)
        self.start = InitialStates(spec, noise=input_noise, previous_given=previous_given)
        self.div_weight = div_weight
        self.whole_grid = [name for name, on in (("div_weight", div_weight), ("input_noise", input_noise)) if on]
        self.options = {"detach": detach, "recompute": recompute}
        self.divergence = DivergencePenalty(spec, reduction=reduction) if div_weight else None

    def forward(self, model: StepModel, batch: Batch, stage: Stage, keep: Keep | None = None) -> LossTerms:
        """See `core.protocols.Objective`."""
        steps = stage.rollout_steps
        start = self.start(model, batch)
        forecast = rollout(model, start, steps, boundary=self.interior.driven, **self.options)
        if keep is not None:
            keep(start.initial[:, 1], forecast.states[:, 0])
        terms = {"loss": self.interior(forecast, batch.target[:, :steps], self.interior.own_weight(batch))}
        total = terms["loss"]
        if self.divergence is not None and stage.div:
            terms["div"] = self.divergence(forecast.states)
            total = total + self.div_weight * stage.div * terms["div"]
        return LossTerms(total, terms)
