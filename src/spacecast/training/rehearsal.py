"""Some optimiser steps, taken as a real training takes them, which leave no file behind, and what they cost."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader, default_collate

from spacecast.core.types import Batch, Stage
from spacecast.data.windows import WindowDataset
from spacecast.training.module import ForecastModule
from spacecast.training.schedule import QUARTERS, Schedule

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


class Cost:
    """Seconds of training steps, by the terms of the loss that are on and the roll-out length, and of validation."""

    def __init__(self) -> None:
        self.training: dict[tuple[bool, ...], dict[int, float]] = {}
        self.validation = 0.0

    def add(self, stage: Stage, clock: Clock) -> None:
        """Take over what was measured in a stage; the first step, which is slower, does not count."""
        self.training.setdefault(_terms(stage), {})[stage.rollout_steps] = min(clock.training[1:], default=0.0)
        self.validation = max(self.validation, *clock.validation)

    def step(self, stage: Stage) -> float:
        """Seconds of a training step, by linear interpolation in the roll-out length."""
        lengths, seconds = zip(*sorted(self.training[_terms(stage)].items()), strict=True)
        return float(np.interp(stage.rollout_steps, lengths, seconds))

    @property
    def extremes(self) -> list[tuple[int, float]]:
        """Roll-out length and seconds of the shortest and of the longest step."""
        measured = [(length, seconds) for each in self.training.values() for length, seconds in each.items()]
        return [min(measured), max(measured)]


def _terms(stage: Stage) -> tuple[bool, ...]:
    """Which terms of the loss are on."""
    return bool(stage.kl), bool(stage.crps), bool(stage.div)


def representative_stages(schedule: Schedule, epochs: int) -> list[Stage]:
    """For each set of terms the stages of the longest and of the shortest roll-out, the longest of all first."""
    moments = [schedule.at(epoch + quarter) for epoch in range(epochs) for quarter in QUARTERS]
    stages = {(_terms(stage), stage.rollout_steps): stage for stage in moments}
    lengths = {terms: [length for other, length in stages if other == terms] for terms, _ in stages}
    ends = {(terms, pick(each)) for terms, each in lengths.items() for pick in (min, max)}
    return [stages[end] for end in sorted(ends, key=lambda end: (-end[1], end[0]))]


class OneStage:
    """A schedule that stays in one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def at(self, epoch: float) -> Stage:  # noqa: ARG002 - the signature of Schedule
        """See `Schedule`."""
        return self.stage


def first_batch(windows: WindowDataset, size: int) -> Batch:
    """The first windows of a data set as a batch."""
    batch: Batch = default_collate([windows[number] for number in range(min(size, len(windows)))])
    return batch


def rehearse(
    trainer: pl.Trainer, module: ForecastModule, stage: Stage, train: Sequence[Batch], val: Sequence[Batch]
) -> None:
    """Train on given batches as in a stage, or only validate a module that has nothing to train."""
    loaders: list[DataLoader[Any]] = [DataLoader(cast(Any, batches), batch_size=None) for batches in (train, val)]
    schedule, module.schedule = module.schedule, OneStage(stage)
    try:
        if any(weight.requires_grad for weight in module.parameters()):
            trainer.fit(module, *loaders)
        else:
            trainer.validate(module, loaders[1], verbose=False)
    finally:
        module.schedule = schedule


def _now(device: torch.device) -> float:
    """Seconds, once the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
