"""What happens beside training: progress."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar

log = logging.getLogger(__name__)


class Lines(Callback):
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


def make_callbacks() -> list[Callback]:
    """A bar on a terminal, lines in the log."""
    return [Lines(), *([RichProgressBar()] if sys.stdout.isatty() else [])]
