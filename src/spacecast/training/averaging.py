"""An exponential moving average of the weights: what is validated, saved as the model's weights, and used after."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

KEY = "training_weights"  # of a checkpoint whose `state_dict` holds averages: the weights that training goes on with


class WeightAveraging(Callback):
    """Averages the weights after each optimiser step: a <- d a + (1 - d) w, d = min(decay, (1 + n) / (10 + n)).

    n is the number of steps before it, so that an average of few steps is not that of the initial weights (as in
    `tf.train.ExponentialMovingAverage`). Validation sees the averages, and checkpoints hold them where weights are
    looked for; the weights of the training stand beside them. Put it before whoever writes the checkpoints.

    Not Lightning's own, which copies every buffer of the module in each step and keeps its copies where the module was
    before it went to its device.

    Args:
        decay: share of an average that a step leaves, later on; None: no averages. A training goes on with its own
            weights either way.

    """

    def __init__(self, decay: float | None) -> None:
        self.decay = decay
        self._averages: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] = {}  # the weights of the training while the module holds the averages
        self._steps = 0

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Take the averages over, and give the module the weights of the training."""
        own = checkpoint.get(KEY)
        if own is not None:
            self._averages = {name: checkpoint["state_dict"][name] for name in own}
            _give(pl_module, own)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Put the averages in the place of the weights."""
        if self._averages:
            weights = checkpoint["state_dict"]
            checkpoint[KEY] = {name: weights[name] for name in self._averages}
            checkpoint["state_dict"] = {**weights, **self._averages}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, or with the averages of the checkpoint that the training goes on from."""
        self._steps = trainer.global_step
        found, self._averages = self._averages, {}
        if self.decay is not None:
            for name, weight in _weights(pl_module).items():
                average = found.get(name, weight.detach())
                self._averages[name] = average.to(weight.device, _precision(weight), copy=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Average after an optimiser step."""
        if self.decay is None or trainer.global_step == self._steps:
            return
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        self._steps = trainer.global_step
        weights = [weight.detach().to(_precision(weight)) for weight in _weights(pl_module).values()]
        get_ema_multi_avg_fn(decay)(list(self._averages.values()), weights, None)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Give the module the averages."""
        if self._averages:
            self._own = {name: weight.detach().clone() for name, weight in _weights(pl_module).items()}
            _give(pl_module, self._averages)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Give the module its own weights back."""
        _give(pl_module, self._own)
        self._own = {}


def _weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained, under the names that a checkpoint has for it."""
    named = module.named_parameters(remove_duplicate=False)
    return {name: weight for name, weight in named if weight.requires_grad}


def _give(module: nn.Module, values: dict[str, Tensor]) -> None:
    """Overwrite weights."""
    weights = _weights(module)
    with torch.no_grad():
        for name, value in values.items():
            weights[name].copy_(value)


def _precision(weight: Tensor) -> torch.dtype:
    """Of an average: it changes by less than half precision can tell."""
    return torch.promote_types(weight.dtype, torch.float32)
