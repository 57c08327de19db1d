"""What training of a model that draws minimises: scores of ensembles."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError
from spacecast.core.protocols import LatentStepModel, StepModel, draws
from spacecast.core.ranges import NonNegativeFloat, PositiveInt, Share
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, Keep, LossTerms, Stage, StepOutput
from spacecast.forecast.rollout import model_step, repeat_members, rollout, split_members
from spacecast.formulas.ensemble import check_estimator, crps_ensemble, mean_squared_error_of_mean
from spacecast.objectives.divergence_penalty import DivergencePenalty
from spacecast.objectives.initial_states import InitialStates
from spacecast.objectives.interior_loss import InteriorLoss, Weights

TrainingEstimator = Literal["fair", "almost_fair"]  # `ecdf` rewards an ensemble for too little spread


class EnsembleScores(nn.Module):
    """Ensembles of a model that draws, and their scores: CRPS, and the squared error of the distribution's mean.

    Both are in units of the one-step increments, interior nodes alone.

    Args:
        interior: which nodes count, and the units.
        members: of each ensemble.
        estimator: `fair` or `almost_fair`, see `formulas.ensemble.crps_ensemble`.
        alpha: share of the fair score in `almost_fair`.

    Raises:
        UserError: fewer than two members, or an unknown estimator.

    """

    def __init__(self, interior: InteriorLoss, *, members: int, estimator: TrainingEstimator, alpha: float) -> None:
        super().__init__()
        check_estimator(estimator, get_args(TrainingEstimator))
        if members < 2:
            raise UserError(f"loss.members is {members}: an ensemble needs 2 members or more")
        self.interior, self.members, self.estimator, self.alpha = interior, members, estimator, alpha

    def draw(self, model: StepModel, batch: Batch, stage: Stage, **options: Any) -> Tensor:
        """Roll-outs of the members, (member, batch, lead, node, variable).

        Where the stage has no CRPS there is a single one without noise: a latent variable has the mean of its prior.

        Args:
            model: draws.
            batch: of windows, standardised.
            stage: says how many steps, and whether there is a CRPS.
            options: of `forecast.rollout.iterate`.

        """
        members = self.members if stage.crps else 1
        many = repeat_members(batch, members, axis=0)
        step = model_step if stage.crps else _step_without_noise
        return split_members(rollout(model, many, stage.rollout_steps, step=step, **options).states, members, axis=0)

    def forward(
        self, states: Tensor, target: Tensor, *, crps: bool, mean: bool, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The scores that are asked for, each a scalar.

        Args:
            states: of `draw`.
            target: shape (batch, lead, node, variable).
            crps: see `formulas.ensemble.crps_ensemble`; the published sums of standardised states where `interior` is
                of the `reference`.
            mean: squared error of the mean, estimated without bias.
            weight: of squared errors, see `InteriorLoss.own_weight`; that of the CRPS, an error that is not squared, is
                its root.

        """
        members, truth = self.interior.inside(states), self.interior.inside(target)
        scores = {}
        if crps:
            entries = crps_ensemble(members, truth, estimator=self.estimator, alpha=self.alpha)
            entries = entries if weight is None else weight.sqrt() * entries
            scores["crps"] = self.interior.reduce(entries if self.interior.reference else entries / self.interior.scale)
        if mean:
            entries = mean_squared_error_of_mean(members, truth) / self.interior.scale.square()
            scores["mean"] = (entries if weight is None else weight * entries).mean()
        return scores


class EnsembleObjective(nn.Module):
    """crps_weight * CRPS + mean_weight * squared error of the mean + div_weight * div of a model that draws.

    The almost fair CRPS makes the spread honest (Lang et al. 2024), the squared error of the distribution's mean,
    estimated without bias from the same members, rewards that mean alone. Of two members it is the product of their
    errors, whose gradient is mostly noise where few random numbers move the whole plane. Until the schedule lets the
    CRPS in, one member without noise is trained by its squared error, which is `loss=wmse`, whatever the weights.

    Args:
        spec: facts of the data.
        variable_weights: see `InteriorLoss`.
        crps_weight: weight of the CRPS.
        mean_weight: weight of the squared error of the mean.
        members: members of each ensemble, in training and in validation.
        estimator: `fair` or `almost_fair`, see `formulas.ensemble.crps_ensemble`.
        alpha: share of the fair score in `almost_fair`.
        calibrate: multiply the noise of forecasts, not that of the training, by one number such that the spread is the
            error of the mean in the validation (`nn.conditioning.scale_noise`).
        div_weight: weight of the magnetic divergence penalty.
        input_noise, previous_given, detach: as in `objectives.forecast.ForecastObjective`; the members of a window
            begin with the same states.
        recompute: activation checkpointing of each step.

    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        variable_weights: Weights | None = None,
        crps_weight: NonNegativeFloat = 4.0,
        mean_weight: NonNegativeFloat = 1.0,
        members: PositiveInt = 2,
        estimator: TrainingEstimator = "almost_fair",
        alpha: float = 0.95,
        calibrate: bool = True,
        div_weight: NonNegativeFloat = 0.0,
        input_noise: NonNegativeFloat = 0.0,
        previous_given: Share = 0.7,
        detach: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.interior = InteriorLoss(spec, variable_weights=variable_weights)
        self.scores = EnsembleScores(self.interior, members=members, estimator=estimator, alpha=alpha)
        self.weights = {"crps": crps_weight, "mean": mean_weight, "div": div_weight}
        self.members, self.calibrate = members, calibrate
        self.start = InitialStates(spec, noise=input_noise, previous_given=previous_given)
        self.options = {"detach": detach, "recompute": recompute}
        self.divergence = DivergencePenalty(spec) if div_weight else None

    def check(self, model: nn.Module | StepModel) -> None:
        """Refuse a model that draws nothing."""
        if not draws(model):
            kind = type(model).__name__
            way = "model.noise={local: 12}, or model=graph_efm"
            raise UserError(f"loss=ensemble_crps needs a model that draws ({way}), found {kind}, which draws nothing")

    def forward(self, model: StepModel, batch: Batch, stage: Stage, keep: Keep | None = None) -> LossTerms:
        """See `core.protocols.Objective`; what is kept is of the first member."""
        self.check(model)
        weights = {"crps": self.weights["crps"] * stage.crps, "mean": self.weights["mean"] if stage.crps else 1.0}
        start, weight = self.start(model, batch), self.interior.own_weight(batch)
        states = self.scores.draw(model, start, stage, boundary=self.interior.driven, **self.options)
        if keep is not None:
            keep(start.initial[:, 1], states[0, :, 0])
        target = batch.target[:, : stage.rollout_steps]
        terms = self.scores(states, target, crps=bool(weights["crps"]), mean=bool(weights["mean"]), weight=weight)
        if not terms:
            raise UserError("loss.crps_weight and loss.mean_weight are both 0: raise one of them")
        if self.divergence is not None and stage.div:
            weights["div"], terms["div"] = self.weights["div"] * stage.div, self.divergence(states)
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return LossTerms(total, terms)


def _step_without_noise(
    model: StepModel, previous: Tensor, state: Tensor, batch: Batch, lead: int, prepared: Any
) -> StepOutput:
    """The step of a model that draws, without noise: with the prior's mean where there is a latent variable."""
    forcing = batch.forcing[:, lead]
    if isinstance(model, LatentStepModel):
        mean, _ = model.prior(previous, state, forcing, prepared)
        return model.decode(mean, previous, state, forcing, prepared)
    return model.step(previous, state, forcing, prepared, draw=torch.zeros_like)  # type: ignore[call-arg]
