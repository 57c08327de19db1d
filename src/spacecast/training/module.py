"""The Lightning module: nothing but the wiring of model, objective, schedule and optimiser."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import Optimizer

from spacecast.core.errors import UserError
from spacecast.core.protocols import Objective, StepModel, noise_of
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch
from spacecast.forecast.rollout import iterate, repeat_members, split_members
from spacecast.forecast.standardize import Standardizer
from spacecast.training.own_states import OWN_STATES, OwnStatePool
from spacecast.training.processes import of_all_processes
from spacecast.training.schedule import Schedule
from spacecast.training.validation import ValidationSums, summary

RECORDED = {"loss": "error"}  # terms of a loss that are recorded by another name: `train/loss` is the total


class ForecastModule(pl.LightningModule):
    """Trains a step model on roll-outs and validates it against persistence.

    Args:
        model: forecasts one step ahead.
        objective: what is minimised, with the members of the validation ensembles if it draws any.
        schedule: what holds in which epoch.
        optimizer: builds the optimiser from parameters, or from groups of them.
        spec: facts of the data.
        validation_steps: leads of the validation roll-out; the same in all epochs, so that epochs compare.

    Where `spec` is that of a part of a grid (`core.shards`), batches hold its nodes, and scores are those of all parts.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: nn.Module,
        schedule: Schedule,
        optimizer: Callable[[Any], Optimizer],
        spec: DataSpec,
        *,
        validation_steps: int = 4,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.schedule = schedule
        self.make_optimizer = optimizer
        self.spec = spec
        self.validation_steps, self.validation_members = validation_steps, getattr(objective, "members", 1)
        if not isinstance(self.validation_members, int) or self.validation_members < 1:
            name = f"{type(objective).__name__}.members"
            raise UserError(f"loss: {name} is {self.validation_members!r}; give a positive whole number")
        self.calibrates = bool(getattr(objective, "calibrate", False))
        self.standardizer = Standardizer(spec)
        self.register_buffer("boundary", torch.as_tensor(spec.boundary), persistent=False)
        self.register_buffer("interior", torch.as_tensor(spec.interior_nodes), persistent=False)
        self._sums = ValidationSums(validation_steps, len(spec.state))
        self._base_rates: list[float] = []
        self.pool = OwnStatePool()

    def setup(self, stage: str) -> None:  # noqa: ARG002 - the signature of Lightning
        """Meet the processes that have the other parts of the grid."""
        if self.spec.part is not None:
            self.spec.part.group.join()

    @property
    def monitor(self) -> str:
        """Name of the score that the best checkpoint has least of."""
        return "val/crps_ratio" if self.validation_members > 1 else "val/rmse_ratio"

    @property
    def step_model(self) -> StepModel:
        """The model as what it can do."""
        return self.model  # type: ignore[return-value]

    def configure_optimizers(self) -> Optimizer:
        """Only the optimiser: the learning rate follows the schedule, not the optimiser's memory."""
        noise, factor = noise_of(self.model), self.schedule.at(0).noise_lr_factor
        own = {id(weight) for weight in noise.parameters()} if noise is not None and factor != 1 else set[int]()
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        groups = [{"params": [each for each in weights if (id(each) in own) is wanted]} for wanted in (False, True)]
        optimizer = self.make_optimizer(groups if own else weights)
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        if own:
            self._base_rates[1] *= factor
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the gradients by their norm or by value, also those of a fused optimiser, which Lightning refuses.

        With a scaler such an optimiser unscales within its step, so that here its gradients and the limit are scaled.
        """
        if not gradient_clip_val:
            return
        limit = float(gradient_clip_val)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and optimizer.defaults.get("fused"):
            limit *= scaler.get_scale()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        by_value = gradient_clip_algorithm == "value"
        (nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_)(weights, limit)

    def standardized(self, batch: Batch) -> Batch:
        """A batch in physical units as the model takes it: standardised in the precision that it was read in."""
        batch = self.standardizer.batch(batch)
        precision = next((weight.dtype for weight in self.model.parameters()), torch.float32)
        initial, target, forcing = (field.to(precision) for field in (batch.initial, batch.target, batch.forcing))
        return Batch(initial, target, forcing, batch.window)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Set the learning rate of this step."""
        factor = self.schedule.at(self.progress(batch_idx)).lr_factor
        for group, rate in zip(self.trainer.optimizers[0].param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def progress(self, batch_idx: int) -> float:
        """Epochs done at the beginning of an optimiser step; where batches are accumulated, its first one counts."""
        first = batch_idx // self.trainer.accumulate_grad_batches * self.trainer.accumulate_grad_batches
        return self.current_epoch + first / max(int(self.trainer.num_training_batches), 1)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Loss of a batch in physical units, and its terms for callbacks."""
        objective: Objective = self.objective
        stage = self.schedule.at(self.progress(batch_idx))
        batch = self.standardized(batch)
        options: dict[str, Any] = {}
        if stage.own_states is not None and batch.window.shape[1] > 2:
            optional = getattr(self.model, "previous_leads", None) is not None
            batch = self.pool.enter(batch, stage.own_states.size, optional=optional)
            options["keep"] = partial(self.pool.keep, batch)
        total, terms = objective(self.step_model, batch, stage, **options)
        size = batch.initial.shape[0]
        shown: dict[str, Any] = {"prog_bar": True, "on_step": True, "on_epoch": False, "batch_size": size}
        self.log("train/loss", total, **shown)
        self.log("train/rollout_steps", float(stage.rollout_steps), **shown)  # longer roll-outs have larger losses
        if set(terms) != {"loss"}:  # alone it is the total
            self.log_dict({f"train/{RECORDED.get(name, name)}": term for name, term in terms.items()}, batch_size=size)
        return {"loss": total, "terms": {name: term.detach() for name, term in terms.items()}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the states that the model has made and is to go on from, of all processes."""
        states = of_all_processes(self.trainer, self.pool.state_dict())
        if any(states):
            checkpoint[OWN_STATES] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from these states."""
        states = checkpoint.get(OWN_STATES, [])
        if self.trainer.global_rank < len(states):
            self.pool.load_state_dict(states[self.trainer.global_rank])

    def on_train_epoch_start(self) -> None:
        """Log what the schedule prescribes."""
        self.log("train/lr_factor", self.schedule.at(self.current_epoch).lr_factor)

    def on_validation_epoch_start(self) -> None:
        """Empty sums."""
        self._sums = ValidationSums(self.validation_steps, len(self.spec.state))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the scores of a roll-out; ensembles are drawn alike in all epochs."""
        batch, members = self.standardized(batch), self.validation_members
        many = repeat_members(batch, members, axis=0)
        present = batch.initial[:, 1].index_select(1, self.interior)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(batch_idx)
            for lead, output in enumerate(
                iterate(self.step_model, many, self.validation_steps, boundary=self.boundary)
            ):
                states = split_members(output.state.index_select(1, self.interior), members, axis=0)
                self._sums.add(lead, states, batch.target[:, lead].index_select(1, self.interior), present)

    def on_validation_epoch_end(self) -> None:
        """Log the scores; the one that chooses the best checkpoint is on the progress bar."""
        share = 1.0 if self.spec.part is None else self.spec.part.share
        flat = (share * self._sums.flat()).to(self.device, torch.float32)
        means = self._sums.means(self.trainer.strategy.reduce(flat, reduce_op="sum").cpu())
        scores = summary(means, self.spec.state, ensemble=self.validation_members > 1)
        self.log(self.monitor, scores.pop(self.monitor), prog_bar=True, sync_dist=False)
        self.log_dict(scores)
        noise = noise_of(self.model) if self.calibrates else None
        if noise is not None and self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            ratio = float(scores["val/spread_skill_first_lead"])
            factor = 1 / ratio if math.isfinite(ratio) and ratio > 0 else 1.0  # as long as there is no noise
            self.log("val/noise_amplitude", noise.scale(factor))
