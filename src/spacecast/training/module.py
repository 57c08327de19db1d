"""The Lightning module: nothing but the wiring of model, objective, schedule and optimiser."""

from collections.abc import Callable, Iterable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spacecast.core.protocols import Objective, StepModel
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch
from spacecast.forecast.rollout import iterate
from spacecast.forecast.standardize import Standardizer
from spacecast.training.schedule import Schedule

MONITOR = "val/rmse_ratio"


class ForecastModule(pl.LightningModule):
    """Trains a step model on roll-outs and validates it against persistence.

    Args:
        model: forecasts one step ahead.
        objective: what is minimised.
        schedule: what holds in which epoch.
        optimizer: builds the optimiser from parameters.
        spec: facts of the data.
        validation_steps: leads of the validation roll-out; the same in all epochs, so that epochs compare.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: nn.Module,
        schedule: Schedule,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
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
        self.validation_steps = validation_steps
        self.standardizer = Standardizer(spec)
        self.register_buffer("boundary", torch.as_tensor(spec.boundary), persistent=False)
        self.register_buffer("interior", torch.as_tensor(spec.interior.nonzero()[0]), persistent=False)
        self._errors = torch.zeros(0)
        self._base_rates: list[float] = []

    @property
    def step_model(self) -> StepModel:
        """The model as what it can do."""
        return self.model  # type: ignore[return-value]

    def configure_optimizers(self) -> Optimizer:
        """Only the optimiser: the learning rate follows the schedule, not the optimiser's memory."""
        optimizer = self.make_optimizer(parameter for parameter in self.model.parameters() if parameter.requires_grad)
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Set the learning rate of this step."""
        progress = self.current_epoch + batch_idx / max(int(self.trainer.num_training_batches), 1)
        factor = self.schedule.at(progress).lr_factor
        for group, rate in zip(self.trainer.optimizers[0].param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Loss of a batch in physical units."""
        objective: Objective = self.objective
        total, terms = objective(self.step_model, self.standardizer.batch(batch), self.schedule.at(self.current_epoch))
        size = batch.initial.shape[0]
        self.log("train/loss", total, prog_bar=True, on_step=True, on_epoch=False, batch_size=size)
        if len(terms) > 1:
            self.log_dict({f"train/{name}": term for name, term in terms.items() if name != "loss"}, batch_size=size)
        return total

    def on_train_epoch_start(self) -> None:
        """Log what the schedule prescribes."""
        stage = self.schedule.at(self.current_epoch)
        self.log_dict({"train/rollout_steps": float(stage.rollout_steps), "train/lr_factor": stage.lr_factor})

    def on_validation_epoch_start(self) -> None:
        """Empty sums: squared error of forecast and persistence by lead and variable, and a count."""
        self._errors = torch.zeros(2, self.validation_steps, len(self.spec.state), dtype=torch.float64)
        self._count = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Add the squared errors of a roll-out."""
        batch = self.standardizer.batch(batch)
        present = batch.initial[:, 1].index_select(1, self.interior)
        steps = iterate(self.step_model, batch, self.validation_steps, boundary=self.boundary)
        for lead, output in enumerate(steps):
            truth = batch.target[:, lead].index_select(1, self.interior)
            forecast = output.state.index_select(1, self.interior)
            for row, guess in enumerate((forecast, present)):
                mean = (guess - truth).float().square().mean(dim=1).sum(dim=0)
                self._errors[row, lead] += mean.double().cpu()
        self._count += batch.initial.shape[0]

    def on_validation_epoch_end(self) -> None:
        """Log the RMSE over persistence's, and the RMSE of each variable at the last lead in its units."""
        sums = torch.cat([self._errors.flatten(), torch.tensor([float(self._count)], dtype=torch.float64)])
        sums = self.trainer.strategy.reduce(sums.to(self.device, torch.float32), reduce_op="sum").cpu()
        errors = (sums[:-1] / sums[-1]).sqrt().view(2, self.validation_steps, -1)
        ratio = (errors[0] / errors[1].clamp(min=1e-12)).mean(dim=1)
        self.log(MONITOR, ratio.mean(), prog_bar=True, sync_dist=False)
        self.log_dict({"val/rmse_ratio_first_lead": ratio[0], "val/rmse_ratio_last_lead": ratio[-1]})
        physical = errors[0, -1] * torch.as_tensor(self.spec.state.std)
        self.log_dict({f"val_rmse/{name}": value for name, value in zip(self.spec.state.names, physical, strict=True)})
