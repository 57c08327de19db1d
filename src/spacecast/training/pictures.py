"""Forecasts that are looked at while a training goes on."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from spacecast.core.types import Batch
from spacecast.forecast.rollout import iterate
from spacecast.training.module import ForecastModule

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """The first forecast of a validation at its last lead, physical units.

    Args:
        epochs: that are done.
        seconds: lead time.
        truth, forecast: shape (node, state); of an ensemble one member.

    """

    epochs: int
    seconds: float
    truth: np.ndarray
    forecast: np.ndarray


class ForecastPictures(Callback):
    """Hands a forecast to whoever draws it, some times in a training, in the first process alone.

    It is made with the weights that are validated, and drawn after their scores are recorded. Nothing that goes wrong
    here ends a training: it costs a warning. Put it behind whoever exchanges the weights.

    Args:
        times: how often, evenly spread over the epochs, the last one among them; where the number of epochs is not
            known, after 1, 2, 4 epochs and so on. Epochs without a validation have their turn in the next one.
        draw: draws it.

    """

    def __init__(self, times: int, draw: Callable[[Sample], None]) -> None:
        self.times, self.draw = times, draw
        self._due: list[int] = []
        self._sample: Sample | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Choose the epochs, of those that are still to come."""
        chosen = chosen_epochs(self.times, trainer.max_epochs)
        self._due = [epoch for epoch in chosen if epoch > trainer.current_epoch]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Make the forecast of the first window."""
        done = trainer.current_epoch + 1
        if batch_idx or dataloader_idx or not trainer.is_global_zero or not self._due or done < self._due[0]:
            return
        assert isinstance(pl_module, ForecastModule)
        self._due = [epoch for epoch in self._due if epoch > done]
        try:
            self._sample = forecast_of(pl_module, batch, done)
        except Exception as error:  # noqa: BLE001 - no picture ends a training
            log.warning("no forecast was made for the pictures of epoch %d: %s", done, error)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Have it drawn."""
        sample, self._sample = self._sample, None
        if sample is None:
            return
        try:
            self.draw(sample)
        except Exception as error:  # noqa: BLE001 - no picture ends a training
            log.warning("the pictures of epoch %d were not drawn: %s", sample.epochs, error)


def chosen_epochs(times: int, epochs: int | None) -> list[int]:
    """Numbers of epochs after which pictures are drawn, counted from 1; of an endless training the first of them."""
    if not times:
        return []
    if epochs is None or epochs < 0:
        return [2**power for power in range(24)]
    return sorted({-(-epochs * (each + 1) // times) for each in range(times)} - {0})


def forecast_of(module: ForecastModule, batch: Batch, epochs: int) -> Sample:
    """The forecast of the first window of a batch in physical units, as a validation makes it."""
    steps = module.validation_steps
    one = module.standardized(Batch(*(field[:1] for field in batch)))
    with torch.random.fork_rng([module.device] if module.device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(0)
        *_, last = iterate(module.step_model, one, steps, boundary=module.boundary)

    def physical(state: Tensor) -> np.ndarray:
        return module.standardizer.state_to_physical(state.float())[0].cpu().numpy()

    return Sample(epochs, steps * module.spec.step_seconds, physical(one.target[:, steps - 1]), physical(last.state))
