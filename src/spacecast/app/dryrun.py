"""`dry_run=true`: the memory of a step by arithmetic, then steps at the largest roll-out, and what they say of all."""

import logging
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from spacecast.app.assemble import Parts, device_of
from spacecast.app.datacheck import epochs_of, trainer_of
from spacecast.config.build import build
from spacecast.config.schema import Train
from spacecast.core.protocols import draws
from spacecast.core.text import several
from spacecast.data.datamodule import EpochSampler
from spacecast.process.memory import free_memory
from spacecast.training.memory_plan import MemoryPlan, PlanError, plan_step
from spacecast.training.rehearsal import Clock, Cost, first_batch, rehearsal_keywords, rehearse, representative_stages
from spacecast.training.schedule import QUARTERS, Schedule, schedule_table
from spacecast.training.trainer import make_trainer

log = logging.getLogger(__name__)

REPEATS, PATIENCE = 6, 10.0  # of the measurement: steps at most, seconds that are enough


def dry_run(config: Train, parts: Parts) -> None:
    """Say what memory a step takes; take and measure steps; log parameters, schedule and the predicted time of the run.

    The steps are those of a training, by the same trainer, and change the weights of `parts`; no file is written. No
    step is taken where it would not fit.
    """
    epochs, device = epochs_of(config), device_of(config)
    trains = any(weight.requires_grad for weight in parts.model.parameters())
    if not fits(planned_memory(config, parts, epochs) if trains else None, device):
        return
    before = _memory(device)
    cost = _measured(config, parts, epochs)
    memory = _memory(device)
    trainer = trainer_of(config)
    training = [_batches(config, parts, epoch, trainer.world_size) for epoch in range(epochs)]
    training = [_limited(number, trainer.limit_train_batches) for number in training]
    windows = len(parts.data.dataset("val", parts.module.validation_steps, parts.data.limit_val_windows))
    validation = _limited(-(-windows // parts.data.batch_size), trainer.limit_val_batches)
    together, most = trainer.accumulate_grad_batches, config.trainer.max_steps
    steps = sum(-(-number // together) for number in training)
    total = _seconds(parts.schedule, cost, training, validation, most * together if most >= 0 else sum(training))
    weights = sum(weight.numel() for weight in parts.model.parameters())
    (short, least), (longest, slowest) = cost.extremes
    longer = f", {slowest:.3f} with one of {longest}" if longest > short else ""
    log.info("schedule\n%s", "\n".join(schedule_table(parts.schedule, epochs)))
    log.info("parameters            %s", f"{weights:,}")
    log.info("device                %s, precision %s", device, config.trainer.precision)
    log.info("peak memory           %.2f GB (%.2f GB before the step)", memory, before)
    log.info("seconds per step      %.3f with a roll-out of %d%s", least, short, longer)
    log.info("optimiser steps       %d in %s", min(steps, most) if most >= 0 else steps, several(epochs, "epoch"))
    log.info("predicted time        %s on this machine, evaluation not included", _duration(total))


def planned_memory(config: Train, parts: Parts, epochs: int) -> MemoryPlan | None:
    """The memory of the step that takes most, by part, in the log; None where that is not known beforehand."""
    stages = representative_stages(parts.schedule, epochs)
    longest = [stage for stage in stages if stage.rollout_steps == stages[0].rollout_steps]
    batch = first_batch(parts.data.dataset("train", longest[0].rollout_steps), parts.data.batch_size)
    trainer = trainer_of(config)
    options = {
        "precision": str(trainer.precision),
        "device": device_of(config).type,
        "averaged": config.trainer.ema is not None,
        "several_devices": trainer.world_size > 1,
    }
    make_optimizer, objective = config.optimizer.build(), parts.module.objective
    try:
        plans = [plan_step(parts.model, objective, make_optimizer, batch, stage, **options) for stage in longest]
    except PlanError as error:
        log.info("memory of a step      not known before it is taken: %s", error)
        return None
    plan = max(plans, key=lambda plan: plan.total)
    log.info("memory of a step, by arithmetic\n%s", "\n".join(plan.lines()))
    return plan


def fits(plan: MemoryPlan | None, device: torch.device) -> bool:
    """Whether this machine can hold a step, as far as is known; if not, the log says so."""
    if device.type == "cuda":
        free, place = torch.cuda.mem_get_info(device)[0], "GPU"
    else:
        free, place = free_memory(), "machine"
    log.info("free on this %-8s %.2f GB", place, free / 1e9)
    if plan is None or plan.needed <= free:
        return True
    log.warning(
        "a step needs %.2f GB more than this process has, and this %s has %.2f GB left: no step is taken. "
        "loss.recompute=true, trainer.precision=bf16-mixed, a smaller data.batch_size or shorter roll-outs take less",
        plan.needed / 1e9, place, free / 1e9,
    )  # fmt: skip
    return False


def _measured(config: Train, parts: Parts, epochs: int) -> Cost:
    """What steps in representative stages and validation batches take, on the first windows of each split."""
    keywords = rehearsal_keywords(config.trainer.keywords, REPEATS)
    validation = first_batch(parts.data.dataset("val", parts.module.validation_steps), parts.data.batch_size)
    cost = Cost()
    for stage in representative_stages(parts.schedule, epochs):
        batch = first_batch(parts.data.dataset("train", stage.rollout_steps), parts.data.batch_size)
        clock, some_unused = Clock(PATIENCE), draws(parts.model)
        with TemporaryDirectory() as folder:
            trainer = make_trainer(build(keywords), Path(folder), None, [clock], some_unused=some_unused)
            rehearse(trainer, parts.module, stage, [batch] * REPEATS, [validation])
        cost.add(stage, clock)
    return cost


def _batches(config: Train, parts: Parts, epoch: int, processes: int) -> int:
    """Batches of an epoch on each device, by the sampler of the training."""
    windows = len(parts.data.dataset("train", parts.data.steps_at(epoch)))
    step = config.trainer.global_batch or 1
    sampler = EpochSampler(windows, 0, limit=parts.data.limit_windows, world=processes, multiple=step)
    return -(-len(sampler) // parts.data.batch_size)


def _limited(batches: int, limit: float) -> int:
    """What `limit_train_batches` and its like leave: a number, or a share."""
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _seconds(schedule: Schedule, cost: Cost, training: list[int], validation: int, left: int) -> float:
    """Of all epochs: their batches, as many as are left of all, and a validation of so many after each."""
    total = 0.0
    for epoch, number in enumerate(training):
        done = min(number, left)
        total += done * float(np.mean([cost.step(schedule.at(epoch + quarter)) for quarter in QUARTERS]))
        total += validation * cost.validation if done == number else 0.0
        left -= done
        if left <= 0:
            break
    return total


def _memory(device: torch.device) -> float:
    """Most memory used so far, in GB: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _duration(seconds: float) -> str:
    """Days, hours and minutes, or seconds when it is short."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    return f"{days} d {hours} h {minutes} min" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
