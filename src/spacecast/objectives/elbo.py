"""What training of a latent-variable model minimises: evidence lower bound, score of ensembles, penalties."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError
from spacecast.core.protocols import LatentStepModel, StepModel
from spacecast.core.ranges import NonNegativeFloat, PositiveInt, Share
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, Forecast, LossTerms, Stage
from spacecast.forecast.rollout import iterate, stack
from spacecast.formulas.pointwise import Loss, LossName, Reduction, kl_gauss
from spacecast.objectives.divergence_penalty import DivergencePenalty
from spacecast.objectives.ensemble import EnsembleScores, TrainingEstimator
from spacecast.objectives.initial_states import InitialStates
from spacecast.objectives.interior_loss import InteriorLoss, Weights


class ElboObjective(nn.Module):
    """Negative evidence lower bound of a roll-out, the CRPS of ensembles drawn from the prior, and div B.

    reconstruction_weight * reconstruction + kl_weight * KL + crps_weight * CRPS + div_weight * div (Oskarsson et al.
    2024, equations 8 and 13). The reconstruction is the loss of a roll-out whose latent variables come from the
    posterior, as KL is of. KL is divided by the number of values on the grid, so that with `loss=nll` and weights of 1
    the first two terms are the bound, per value. CRPS is in units of the one-step increments, like the loss.

    Args:
        spec: facts of the data.
        loss: name of a loss in `formulas.pointwise.LOSSES`, or a function like those.
        variable_weights: see `InteriorLoss`.
        reconstruction_weight: weight of the loss; where this and the KL weight are 0 the posterior is left out.
        kl_weight: weight of the divergence of the posterior from the prior.
        crps_weight: weight of the ensemble score.
        mean_weight: weight of the squared error of the distribution's mean, estimated from the same ensembles without
            bias. Until the ensemble score comes in, it is that of a roll-out whose latent variables are the prior's
            mean instead: a deterministic training, at the cost of one member.
        members: members of those ensembles.
        estimator: `fair` or `almost_fair`, see `formulas.ensemble.crps_ensemble`.
        alpha: share of the fair score in `almost_fair`.
        div_weight: weight of the magnetic divergence penalty.
        reduction: `mean`, or `reference` for the published definitions: sums over nodes, variables, latent numbers and
            steps for loss and KL, the CRPS of standardised states summed over variables, div B of the posterior's
            roll-out only.
        input_noise: of the initial states, in one-step increments, see `InitialStates`.
        previous_given: share of the windows in which a model that can do without it has the state before.
        detach: no gradients through the states of a roll-out (push-forward).
        recompute: activation checkpointing of each step.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        loss: LossName | Loss = "wmse",
        variable_weights: Weights | None = None,
        reconstruction_weight: NonNegativeFloat = 1.0,
        kl_weight: NonNegativeFloat = 1.0,
        crps_weight: NonNegativeFloat = 1.0,
        mean_weight: NonNegativeFloat = 0.0,
        members: PositiveInt = 2,
        estimator: TrainingEstimator = "fair",
        alpha: float = 0.95,
        div_weight: NonNegativeFloat = 0.0,
        reduction: Reduction = "mean",
        input_noise: NonNegativeFloat = 0.0,
        previous_given: Share = 0.7,
        detach: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.interior = InteriorLoss(spec, loss=loss, variable_weights=variable_weights, reduction=reduction)
        self.reference = reduction == "reference"
        self.weights = {
            "reconstruction": reconstruction_weight,
            "kl": kl_weight,
            "crps": crps_weight,
            "mean": mean_weight,
            "div": div_weight,
        }
        self.scores = EnsembleScores(self.interior, members=members, estimator=estimator, alpha=alpha)
        self.members = members
        self.start = InitialStates(spec, noise=input_noise, previous_given=previous_given)
        self.options = {"detach": detach, "recompute": recompute}
        self.divergence = DivergencePenalty(spec, reduction=reduction) if div_weight else None

    def forward(self, model: StepModel, batch: Batch, stage: Stage) -> LossTerms:
        """See `core.protocols.Objective`."""
        if not isinstance(model, LatentStepModel):
            kind = type(model).__name__
            raise UserError(f"loss=elbo needs a model with a latent variable (model=graph_efm), found {kind}")
        weights = self.weights | {
            "kl": self.weights["kl"] * stage.kl,
            "crps": self.weights["crps"] * stage.crps,
            "div": self.weights["div"] * stage.div,
        }
        steps = stage.rollout_steps
        target = batch.target[:, :steps]
        batch = self.start(model, batch)
        options = {**self.options, "boundary": self.interior.driven, "prepared": model.prepare()}
        terms: dict[str, Tensor] = {}
        fields = []
        if weights["reconstruction"] or weights["kl"]:
            forecast, kl = self._reconstruct(model, batch, steps, with_kl=bool(weights["kl"]), **options)
            fields.append(forecast.states)
            values = self.interior.nodes.numel() * steps if self.reference else 1
            terms["reconstruction"] = self.interior(forecast, target) * values
            if kl is not None:
                terms["kl"] = kl
        if weights["crps"] or weights["mean"]:
            states = self.scores.draw(model, batch, stage, **options)
            fields += [] if self.reference else [states.flatten(0, 1)]
            terms |= self.scores(states, target, crps=bool(weights["crps"]), mean=bool(weights["mean"]))
        if self.divergence is not None and weights["div"] and fields:
            terms["div"] = torch.stack([self.divergence(states) for states in fields]).mean()
        if not terms:
            raise UserError("every weight of the loss is 0 in this stage: raise reconstruction_weight or crps_weight")
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return LossTerms(total, terms)

    def _reconstruct(
        self, model: LatentStepModel, batch: Batch, steps: int, *, with_kl: bool, **options: Any
    ) -> tuple[Forecast, Tensor | None]:
        """Roll-out with latent variables of the posterior, and the divergence from the prior."""
        step = partial(_posterior_step, with_kl=with_kl)
        outputs = list(iterate(model, batch, steps, step=step, **options))
        forecast = stack(outputs)
        if not with_kl:
            return forecast, None
        total = torch.stack([output.kl for output in outputs]).sum() / len(batch.initial)
        values = 1 if self.reference else steps * self.interior.nodes.numel() * forecast.states.shape[-1]
        return forecast, total / values


class PosteriorOutput(NamedTuple):
    """A `StepOutput`, and the divergence of the posterior from the prior summed over everything."""

    state: Tensor
    std: Tensor | None
    kl: Tensor


def _posterior_step(
    model: LatentStepModel, previous: Tensor, state: Tensor, batch: Batch, lead: int, prepared: Any, *, with_kl: bool
) -> PosteriorOutput:
    """Decoded sample of the posterior; without `with_kl` the divergence is left at zero."""
    forcing = batch.forcing[:, lead]
    mean, std = model.posterior(previous, state, batch.target[:, lead], forcing, prepared)
    output = model.decode(mean + std * torch.randn_like(mean), previous, state, forcing, prepared)
    if not with_kl:
        return PosteriorOutput(*output, mean.new_zeros(()))
    prior_mean, prior_std = model.prior(previous, state, forcing, prepared)
    kl = kl_gauss(mean.float(), std.float(), prior_mean.float(), prior_std.float())
    return PosteriorOutput(*output, kl.sum())
