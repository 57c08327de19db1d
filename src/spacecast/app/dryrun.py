"""`dry_run=true`: one forward and backward pass at the largest roll-out, and what it says of the whole run."""

import logging
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import default_collate

from spacecast.app.assemble import Parts, device_of
from spacecast.app.datacheck import epochs_of, longest_rollout
from spacecast.core.types import Batch, Stage

if TYPE_CHECKING:
    from spacecast.training.module import ForecastModule
    from spacecast.training.schedule import Schedule

log = logging.getLogger(__name__)

REPEATS, PATIENCE = 6, 10.0  # of the measurement: passes at most, seconds that are enough
AUTOCAST = {"bf16": torch.bfloat16, "bf16-mixed": torch.bfloat16, "16": torch.float16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Cost:
    """Seconds of a training step and of a validation step, by linear interpolation in the roll-out length."""

    one: float
    most: float
    longest: int
    forward: float

    def step(self, rollout: int) -> float:
        """Seconds of a training step."""
        share = (rollout - 1) / max(self.longest - 1, 1)
        return self.one + share * (self.most - self.one)


def dry_run(plain: Mapping[str, Any], parts: Parts) -> None:
    """Measure a step and log parameters, schedule, memory, seconds per step and the predicted time of the run."""
    epochs = epochs_of(plain)
    longest = longest_rollout(parts.schedule, epochs)
    device = device_of(plain)
    module = parts.module.to(device).train()
    before = _memory(device)
    seconds = {rollout: _step_seconds(plain, parts, module, device, rollout) for rollout in (longest, 1)}
    memory = _memory(device)
    cost = Cost(seconds[1], seconds[longest], longest, _forward_seconds(plain, parts, module, device))
    steps = [_steps_of_epoch(plain, parts, epoch) for epoch in range(epochs)]
    total = _total_seconds(plain, parts, cost, steps)
    weights = sum(weight.numel() for weight in parts.model.parameters())
    log.info("schedule\n%s", "\n".join(schedule_table(parts.schedule, epochs)))
    log.info("parameters            %s", f"{weights:,}")
    log.info("device                %s, precision %s", device, plain["trainer"].get("precision"))
    log.info("peak memory           %.2f GB (%.2f GB before the step)", memory, before)
    log.info("seconds per step      %.3f with 1 step, %.3f with %d steps of roll-out", cost.one, cost.most, longest)
    log.info("optimiser steps       %d in %d epochs", sum(steps), epochs)
    log.info("predicted time        %s on this machine, evaluation not included", _duration(total))


def schedule_table(schedule: "Schedule", epochs: int) -> list[str]:
    """One line per stretch of epochs in which the stage is the same but for the learning rate."""
    lines = [f"  {'epochs':>11}  {'roll-out':>8}  {'lr factor':>16}  {'kl':>6}  {'crps':>6}  {'div':>6}"]
    for first, last, stage in _stretches(schedule, epochs):
        several = first != last
        rates = f"{stage.lr_factor:.3g}" + (f" to {schedule.at(last).lr_factor:.3g}" if several else "")
        span = f"{first + 1}" + (f" to {last + 1}" if several else "")
        weights = f"{stage.kl:>6.3g}  {stage.crps:>6.3g}  {stage.div:>6.3g}"
        lines.append(f"  {span:>11}  {stage.rollout_steps:>8}  {rates:>16}  {weights}")
    return lines


def _stretches(schedule: "Schedule", epochs: int) -> Iterator[tuple[int, int, Stage]]:
    """First and last epoch and first stage of each stretch."""
    first = 0
    for epoch in range(1, epochs + 1):
        if epoch == epochs or _key(schedule.at(epoch - 1)) != _key(schedule.at(epoch)):
            yield first, epoch - 1, schedule.at(first)
            first = epoch


def _key(stage: Stage) -> tuple[float, ...]:
    """All of a stage but the learning rate."""
    return stage.rollout_steps, stage.kl, stage.crps, stage.div


def _batch(plain: Mapping[str, Any], parts: Parts, split: str, rollout: int) -> Batch:
    """The first windows of a split as a batch."""
    windows = parts.data.dataset(split, rollout)
    size = min(plain["data"]["batch_size"], len(windows))
    batch: Batch = default_collate([windows[number] for number in range(size)])
    return batch


def _step_seconds(
    plain: Mapping[str, Any], parts: Parts, module: "ForecastModule", device: torch.device, rollout: int
) -> float:
    """Seconds of a forward and backward pass, every term of the loss switched on; the best of some after the first."""
    batch = Batch(*(field.to(device) for field in _batch(plain, parts, "train", rollout)))
    stage = Stage(rollout_steps=rollout)
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < REPEATS and sum(taken) < PATIENCE):
        start = time.perf_counter()
        with _autocast(plain, device):
            loss = module.objective(module.step_model, module.standardizer.batch(batch), stage).total
        if loss.requires_grad:  # persistence has nothing to train
            loss.backward()
        _wait(device)
        taken.append(time.perf_counter() - start)
        module.zero_grad()
    return min(taken[1:])


def _forward_seconds(plain: Mapping[str, Any], parts: Parts, module: "ForecastModule", device: torch.device) -> float:
    """Seconds of a validation batch."""
    batch = Batch(*(field.to(device) for field in _batch(plain, parts, "val", parts.module.validation_steps)))
    module.on_validation_epoch_start()
    start = time.perf_counter()
    with torch.inference_mode(), _autocast(plain, device):
        module.validation_step(batch, 0)
    _wait(device)
    return time.perf_counter() - start


def _autocast(plain: Mapping[str, Any], device: torch.device) -> Any:
    """The precision of the trainer."""
    kind = AUTOCAST.get(str(plain["trainer"].get("precision")))
    return torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)


def _wait(device: torch.device) -> None:
    """Let the device finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> float:
    """Most memory used so far, in GB: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _steps_of_epoch(plain: Mapping[str, Any], parts: Parts, epoch: int) -> int:
    """Batches of an epoch on each device."""
    windows = len(parts.data.dataset("train", parts.data.steps_at(epoch)))
    windows = min(windows, plain["data"].get("limit_windows") or windows)
    devices = plain["trainer"].get("devices", 1)
    processes = (devices if isinstance(devices, int) and devices > 0 else 1) * plain["trainer"].get("num_nodes", 1)
    batches = -(-windows // (plain["data"]["batch_size"] * processes))
    limit = plain["trainer"].get("limit_train_batches")
    return min(batches, limit) if isinstance(limit, int) else batches


def _total_seconds(plain: Mapping[str, Any], parts: Parts, cost: Cost, steps: list[int]) -> float:
    """Training and validation of all epochs, cut at `max_steps`."""
    windows = len(parts.data.dataset("val", parts.module.validation_steps, plain["data"].get("limit_val_windows")))
    batches = -(-windows // plain["data"]["batch_size"])
    limit = plain["trainer"].get("limit_val_batches")
    validation = cost.forward * (min(batches, limit) if isinstance(limit, int) else batches)
    left = plain["trainer"].get("max_steps", -1)
    left = sum(steps) if left is None or left < 0 else left * plain["trainer"].get("accumulate_grad_batches", 1)
    total = 0.0
    for epoch, number in enumerate(steps):
        done = min(number, left)
        total += done * cost.step(parts.data.steps_at(epoch)) + (validation if done == number else 0.0)
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
