"""Some optimiser steps, taken as a real training takes them, which leave nothing behind, and how long they take."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader

# Keywords of the trainer that decide how a step is made; the others say how many there are and who hears of them.
STEP = (
    "accelerator", "strategy", "precision", "gradient_clip_val", "gradient_clip_algorithm", "deterministic",
    "detect_anomaly", "benchmark", "inference_mode", "use_distributed_sampler",
)  # fmt: skip


def rehearsal_keywords(section: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The section `trainer` for a rehearsal: the same steps, a few of them, on one device of this machine.

    Args:
        section: keywords of Lightning's trainer.
        steps: optimiser steps, one per batch.

    """
    kept = {name: value for name, value in section.items() if name in STEP or name.startswith("_")}
    devices = section.get("devices", 1)
    many = (isinstance(devices, int) and devices > 1) or section.get("num_nodes", 1) > 1
    if many and kept.get("strategy", "auto") == "auto":
        kept["strategy"] = "ddp"
    limits = {"max_epochs": 1, "limit_train_batches": steps, "limit_val_batches": 1}
    return {**kept, **limits, "devices": 1, "num_nodes": 1, "plugins": [LightningEnvironment()]}


class Clock(Callback):
    """Measures training steps, the optimiser's part included, and validation batches; ends when it has seen enough.

    Args:
        patience: seconds of training that are enough, after two steps.

    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.training: list[float] = []
        self.validation: list[float] = []
        self._start = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._start = _now(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note the seconds of a step."""
        self.training.append(_now(pl_module.device) - self._start)
        if len(self.training) > 1 and sum(self.training) >= self.patience:
            trainer.should_stop = True

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._start = _now(pl_module.device)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ARG002
        """Note the seconds of a batch."""
        self.validation.append(_now(pl_module.device) - self._start)


def rehearse(trainer: pl.Trainer, module: pl.LightningModule, train: Sequence[Any], val: Sequence[Any]) -> None:
    """Train on given batches, or only validate a module that has nothing to train."""
    loaders: list[DataLoader[Any]] = [DataLoader(cast(Any, batches), batch_size=None) for batches in (train, val)]
    if any(weight.requires_grad for weight in module.parameters()):
        trainer.fit(module, *loaders)
    else:
        trainer.validate(module, loaders[1], verbose=False)


def _now(device: torch.device) -> float:
    """Seconds, once the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
