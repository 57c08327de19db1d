"""`dry_run=true`: optimiser steps at the largest roll-out, and what they say of the whole run."""

import logging
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import default_collate

from spacecast.app.assemble import Parts, device_of
from spacecast.app.datacheck import epochs_of
from spacecast.config.build import build
from spacecast.config.schema import Train
from spacecast.core.protocols import LatentStepModel
from spacecast.core.text import several
from spacecast.core.types import Batch, Stage
from spacecast.training.rehearsal import Clock, rehearsal_keywords, rehearse
from spacecast.training.trainer import lightning_keywords, make_trainer

if TYPE_CHECKING:
    from spacecast.training.schedule import Schedule

log = logging.getLogger(__name__)

REPEATS, PATIENCE = 6, 10.0  # of the measurement: steps at most, seconds that are enough
QUARTERS = (0.0, 0.25, 0.5, 0.75)  # of an epoch: a stage may begin within it

Terms = tuple[bool, bool, bool]


@dataclass(frozen=True)
class Cost:
    """Seconds of training steps, by the terms of the loss that are on and the roll-out length, and of validation."""

    training: Mapping[Terms, Mapping[int, float]]
    forward: float

    def step(self, stage: Stage) -> float:
        """Seconds of a training step, by linear interpolation in the roll-out length."""
        lengths, seconds = zip(*sorted(self.training[_terms(stage)].items()), strict=True)
        return float(np.interp(stage.rollout_steps, lengths, seconds))

    @property
    def extremes(self) -> list[tuple[int, float]]:
        """Roll-out length and seconds of the shortest and of the longest step."""
        measured = [(length, seconds) for each in self.training.values() for length, seconds in each.items()]
        return [min(measured), max(measured)]


@dataclass(frozen=True)
class Always:
    """A schedule that stays in one stage."""

    stage: Stage

    def at(self, epoch: float) -> Stage:  # noqa: ARG002 - the signature of Schedule
        """See `Schedule`."""
        return self.stage


def dry_run(config: Train, parts: Parts) -> None:
    """Take and measure steps; log parameters, schedule, memory, seconds per step and the predicted time of the run.

    The steps are those of a training, by the same trainer, and change the weights of `parts`; no file is written.
    """
    epochs = epochs_of(config)
    device = device_of(config)
    before = _memory(device)
    training: dict[Terms, dict[int, float]] = {}
    forward = 0.0
    for stage in _measured(parts.schedule, epochs):
        clock = _rehearsed(config, parts, stage)
        training.setdefault(_terms(stage), {})[stage.rollout_steps] = min(clock.training[1:], default=0.0)
        forward = max(forward, *clock.validation)
    memory = _memory(device)
    cost = Cost(training, forward)
    steps = [_steps_of_epoch(config, parts, epoch) for epoch in range(epochs)]
    total = _total_seconds(config, parts, cost, steps)
    weights = sum(weight.numel() for weight in parts.model.parameters())
    (short, least), (longest, most) = cost.extremes
    longer = f", {most:.3f} with one of {longest}" if longest > short else ""
    log.info("schedule\n%s", "\n".join(schedule_table(parts.schedule, epochs)))
    log.info("parameters            %s", f"{weights:,}")
    log.info("device                %s, precision %s", device, config.trainer.precision)
    log.info("peak memory           %.2f GB (%.2f GB before the step)", memory, before)
    log.info("seconds per step      %.3f with a roll-out of %d%s", least, short, longer)
    log.info("optimiser steps       %d in %s", sum(steps), several(epochs, "epoch"))
    log.info("predicted time        %s on this machine, evaluation not included", _duration(total))


def _terms(stage: Stage) -> Terms:
    """Which terms of the loss are on."""
    return bool(stage.kl), bool(stage.crps), bool(stage.div)


def _measured(schedule: "Schedule", epochs: int) -> list[Stage]:
    """For each set of terms the stages of the longest and of the shortest roll-out, the longest of all first."""
    stages = {(_terms(stage), stage.rollout_steps): stage for stage in map(schedule.at, _moments(epochs))}
    lengths = {terms: [length for other, length in stages if other == terms] for terms, _ in stages}
    ends = {(terms, pick(each)) for terms, each in lengths.items() for pick in (min, max)}
    return [stages[end] for end in sorted(ends, key=lambda end: (-end[1], end[0]))]


def _moments(epochs: int) -> list[float]:
    """Every quarter of every epoch."""
    return [epoch + quarter for epoch in range(epochs) for quarter in QUARTERS]


def schedule_table(schedule: "Schedule", epochs: int) -> list[str]:
    """One line per stretch of the run in which the stage is the same but for the learning rate."""
    lines = [f"  {'epochs done':>12}  {'roll-out':>8}  {'lr factor':>16}  {'kl':>6}  {'crps':>6}  {'div':>6}"]
    for first, last, stage in _stretches(schedule, epochs):
        rates = f"{stage.lr_factor:.3g} to {schedule.at(last).lr_factor:.3g}"
        weights = f"{stage.kl:>6.3g}  {stage.crps:>6.3g}  {stage.div:>6.3g}"
        lines.append(f"  {f'{first:g} to {last:g}':>12}  {stage.rollout_steps:>8}  {rates:>16}  {weights}")
    return lines


def _stretches(schedule: "Schedule", epochs: int) -> Iterator[tuple[float, float, Stage]]:
    """Begin, end and first stage of each stretch."""
    first = 0.0
    for moment in [*_moments(epochs)[1:], float(epochs)]:
        stage = schedule.at(first)
        if moment == epochs or _key(schedule.at(moment)) != _key(stage):
            yield first, moment, stage
            first = moment


def _key(stage: Stage) -> tuple[float, ...]:
    """All of a stage but the learning rate."""
    return stage.rollout_steps, stage.kl, stage.crps, stage.div


def _batch(parts: Parts, split: str, rollout: int) -> Batch:
    """The first windows of a split as a batch."""
    windows = parts.data.dataset(split, rollout)
    size = min(parts.data.batch_size, len(windows))
    batch: Batch = default_collate([windows[number] for number in range(size)])
    return batch


def _rehearsed(config: Train, parts: Parts, stage: Stage) -> Clock:
    """What some steps in a stage and a validation batch take, on the first windows of each split."""
    clock = Clock(PATIENCE)
    batch = _batch(parts, "train", stage.rollout_steps)
    keywords = rehearsal_keywords(lightning_keywords(dict(config.trainer.content)), REPEATS)
    some_unused = isinstance(parts.model, LatentStepModel)
    parts.module.schedule = Always(stage)
    try:
        with TemporaryDirectory() as folder:
            trainer = make_trainer(build(keywords), Path(folder), None, [clock], some_unused=some_unused)
            validation = _batch(parts, "val", parts.module.validation_steps)
            rehearse(trainer, parts.module, [batch] * REPEATS, [validation])
    finally:
        parts.module.schedule = parts.schedule
    return clock


def _memory(device: torch.device) -> float:
    """Most memory used so far, in GB: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _steps_of_epoch(config: Train, parts: Parts, epoch: int) -> int:
    """Batches of an epoch on each device."""
    trainer, windows = config.trainer.content, len(parts.data.dataset("train", parts.data.steps_at(epoch)))
    windows = min(windows, parts.data.limit_windows or windows)
    devices = trainer.get("devices", 1)
    processes = (devices if isinstance(devices, int) and devices > 0 else 1) * trainer.get("num_nodes", 1)
    batches = -(-windows // (parts.data.batch_size * processes))
    limit = trainer.get("limit_train_batches")
    return min(batches, limit) if isinstance(limit, int) else batches


def _total_seconds(config: Train, parts: Parts, cost: Cost, steps: list[int]) -> float:
    """Training and validation of all epochs, cut at `max_steps`."""
    trainer = config.trainer.content
    windows = len(parts.data.dataset("val", parts.module.validation_steps, parts.data.limit_val_windows))
    batches = -(-windows // parts.data.batch_size)
    limit = trainer.get("limit_val_batches")
    validation = cost.forward * (min(batches, limit) if isinstance(limit, int) else batches)
    left = config.trainer.max_steps
    left = sum(steps) if left is None or left < 0 else left * trainer.get("accumulate_grad_batches", 1)
    total = 0.0
    for epoch, number in enumerate(steps):
        done = min(number, left)
        seconds = [cost.step(parts.schedule.at(epoch + quarter)) for quarter in QUARTERS]
        total += done * float(np.mean(seconds)) + (validation if done == number else 0.0)
        left -= done
        if left <= 0:
            break
    return total


def _duration(seconds: float) -> str:
    """Days, hours and minutes, or seconds when it is short."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days} d {hours} h {minutes} min" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
