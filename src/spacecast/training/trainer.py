"""The Lightning trainer of a run, and how it shows its progress."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from spacecast.core.errors import UserError
from spacecast.process.arithmetic import exact_single_precision
from spacecast.process.signals import in_batch_job
from spacecast.training.checkpoint_io import AtomicCheckpointIO
from spacecast.training.precision import chosen_precision, set_precision

log = logging.getLogger(__name__)


def make_trainer(
    build: Callable[..., pl.Trainer],
    run_dir: Path,
    logger: Logger | None,
    callbacks: Sequence[Callback],
    *,
    batch_size: int = 1,
    global_batch: int | None = None,
    some_unused: bool = False,
    shards: int = 1,
    opened: MutableMapping[Path, dict[str, Any]] | None = None,
) -> pl.Trainer:
    """Make the trainer with what every run needs; loaders are made anew each epoch, samplers are our own.

    Args:
        build: the trainer with everything that the configuration says.
        run_dir: folder of the run.
        logger: of the tracking; None: none.
        callbacks: what happens beside training.
        batch_size: windows per batch and device.
        global_batch: windows per optimiser step over all devices; batches are accumulated to reach it. None: one batch
            of each device, or as many as `accumulate_grad_batches` says.
        some_unused: some steps leave parameters out of the loss, which several devices must be prepared for.
        shards: processes that share one sample.
        opened: checkpoints that have been read already, see `AtomicCheckpointIO`.

    Raises:
        UserError: the machine does not have what the configuration asks for, or values contradict each other.

    """
    typed = getattr(build, "keywords", {})
    plugins: list[Any] = [AtomicCheckpointIO(opened), *typed.get("plugins", ())]
    if "plugins" not in typed and in_batch_job(os.environ) and SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    always: dict[str, Any] = {
        "logger": logger or False,
        "callbacks": list(callbacks),
        "plugins": plugins,
        "default_root_dir": run_dir,
        "reload_dataloaders_every_n_epochs": 1,
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": any("ProgressBar" in type(callback).__name__ for callback in callbacks),
    }
    exact_single_precision()
    precision = always["precision"] = chosen_precision(typed.get("precision"), typed.get("accelerator", "auto"))
    trainer = _built(build, always, some_unused=some_unused)
    _check_strategy(trainer, typed.get("strategy"))
    _check_processes(shards, trainer.world_size, typed.get("strategy", "auto"))
    set_precision(trainer, precision)
    if global_batch is not None:
        trainer.accumulate_grad_batches = accumulation(
            global_batch, batch_size, trainer.world_size // shards, trainer.accumulate_grad_batches
        )
    return trainer


def _built(build: Callable[..., pl.Trainer], keywords: Mapping[str, Any], *, some_unused: bool) -> pl.Trainer:
    """The trainer; what several devices must know is told them, unless they have a strategy of the user's own."""
    try:
        trainer = build(**keywords)
        plain = getattr(build, "keywords", {}).get("strategy", "auto") in ("auto", "ddp")
        if plain and isinstance(trainer.strategy, DDPStrategy):
            # buffers are facts of data and mesh: the same in all processes, or of the nodes of each shard
            options = {"find_unused_parameters": some_unused, "broadcast_buffers": False}
            trainer = build(**keywords, strategy=DDPStrategy(**options))
    except (MisconfigurationException, ImportError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return trainer


def _check_strategy(trainer: pl.Trainer, typed: object) -> None:
    """Refuse strategies that spread the weights over devices, since checkpoints hold whole ones."""
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise UserError(f"trainer.strategy={typed}: checkpoints need whole weights on each device; take auto or ddp")


def _check_processes(shards: int, processes: int, strategy: object) -> None:
    """Each sample must have as many processes as it is cut into parts.

    Raises:
        UserError: it has not, or a strategy of the user's own would make all parts the same.

    """
    if processes % shards:
        found = f"trainer.devices x trainer.num_nodes is {processes}"
        raise UserError(f"trainer.shards={shards} takes {shards} processes for each sample, {found}: give a multiple")
    if shards > 1 and strategy not in ("auto", "ddp"):
        raise UserError(f"trainer.shards={shards} goes with trainer.strategy=auto or ddp, found {strategy}")


def accumulation(global_batch: int, batch_size: int, devices: int, typed: int = 1) -> int:
    """Batches of each device that make up an optimiser step.

    Raises:
        UserError: the global batch is no multiple of what the devices take at a time, or the number was typed as well.

    """
    at_once = batch_size * devices
    if typed != 1:
        raise UserError(
            f"trainer.global_batch={global_batch} decides on trainer.accumulate_grad_batches, found {typed}: give one"
        )
    if global_batch % at_once:
        below = global_batch // at_once * at_once
        near = [number for number in (below, below + at_once) if number]
        raise UserError(
            f"trainer.global_batch={global_batch} is no multiple of {at_once} = data.batch_size {batch_size} x "
            f"{devices} devices; take {' or '.join(map(str, near))}"
        )
    return global_batch // at_once


class ProgressLines(Callback):
    """One line per epoch, and one every so many seconds within it, for logs and where there is no terminal.

    Args:
        seconds: least time between two lines within an epoch.

    """

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self._start = self._last = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self._start = self._last = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """A line when the last one is old."""
        if trainer.is_global_zero and time.monotonic() - self._last > self.seconds:
            self._say(trainer, f"step {batch_idx + 1} of {int(trainer.num_training_batches)}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """A line with the scores of the epoch."""
        if trainer.is_global_zero:
            self._say(trainer, f"{trainer.global_step} steps")

    def _say(self, trainer: pl.Trainer, where: str) -> None:
        """Epoch, place, the numbers of the progress bar, elapsed time."""
        self._last = time.monotonic()
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
        values = {name: float(value) for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        numbers = "".join(f", {name} {value:.4g}" for name, value in values.items())
        minutes, seconds = divmod(round(self._last - self._start), 60)
        message = f"epoch {trainer.current_epoch + 1}{epochs}, {where}{numbers}, {minutes}:{seconds:02d}"
        log.info(message, extra={"progress": True})


def progress_callbacks() -> list[Callback]:
    """A bar on a terminal, lines in the log."""
    return [ProgressLines(), *([RichProgressBar()] if sys.stdout.isatty() else [])]
