"""Saves all that a run needs to go on as if nothing had happened, and ends the training when a signal asks for it."""

import logging
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import distributed

from spacecast.checkpoint.files import BEST, LAST, PREVIOUS, PROGRESS, bring_best
from spacecast.core.errors import UserError
from spacecast.process.exit_codes import Interrupted
from spacecast.process.signals import Interruption
from spacecast.training.divergence import DivergenceError
from spacecast.training.processes import of_all_processes

log = logging.getLogger(__name__)

_NOT_RUN = {"ready": 1, "started": 1, "processed": 0, "completed": 0}


class CheckpointWriter(Callback):
    """Writes `last.ckpt` (the one before stays as `previous.ckpt`), and `best.ckpt` by the validation score.

    They are written at the end of each epoch, every so many minutes at the end of a batch, and when a signal asks.
    Besides what Lightning keeps (weights, optimiser, precision scaler, counters) they hold the random states of all
    processes and the best score, which is never one whose file is missing.

    What cannot be written is tried again at the end of the training, which fails without it: a run must not count as
    finished whose weights are nowhere.

    Args:
        folder: where to.
        monitor: score of which the best checkpoint has least.
        interruption: notes of signals.
        minutes: between two checkpoints within an epoch; None: only at its end; 0: after every optimiser step.
        max_steps: end the training, with a validation, after so many optimiser steps; -1: no limit. Not left to
            Lightning, which loses count of the epochs when such a training is resumed.
        source: checkpoint of another run that this one goes on from.

    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        interruption: Interruption,
        *,
        minutes: float | None = 15.0,
        max_steps: int = -1,
        source: Path | None = None,
    ) -> None:
        self.folder, self.monitor, self.interruption = folder, monitor, interruption
        self.minutes, self.max_steps, self.source = minutes, max_steps, source
        self.best = math.inf
        self._not_finite = False  # a validation was, and none was finite
        self._waiting = math.inf  # score of a best checkpoint that is not on the disk yet
        self._written = True
        self.leaving = False
        self._random: list[dict[str, Any]] = []
        self._saved_at = time.monotonic()
        self._before_validation = False

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Take over random states, and the best score with its file; without the file the next score is the best."""
        progress = checkpoint.get(PROGRESS, {})
        best = progress.get("best", math.inf)
        self.best = best if trainer.strategy.broadcast(trainer.is_global_zero and self._has_best(best)) else math.inf
        self._random = progress.get("random", [])
        self._not_finite = progress.get("not_finite", False)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add best score, random states and the tracked run; Lightning's counters say if a validation comes next."""
        run_id = getattr(trainer.logger, "run_id", None)
        checkpoint[PROGRESS] = {
            "best": self.best,
            "not_finite": self._not_finite,
            "random": of_all_processes(trainer, random_state(pl_module.device)),
            "run_id": run_id,
        }
        if self._before_validation:
            counters = checkpoint["loops"]["fit_loop"]
            batches = counters["epoch_loop.batch_progress"]
            for counter in (batches["total"], batches["current"]):
                counter["completed"] = counter["processed"]
            counters["epoch_loop.val_loop.batch_progress"] |= {"total": dict(_NOT_RUN), "current": dict(_NOT_RUN)}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the random numbers; take the signals back from Lightning."""
        self.interruption.install()
        self._saved_at = time.monotonic()
        rank = trainer.global_rank
        if rank < len(self._random):
            restore_random_state(self._random[rank], pl_module.device)
        elif rank:
            torch.manual_seed(torch.initial_seed() + rank)
        if self._steps_done(trainer):
            trainer.should_stop = True

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: ARG002
        """Leave here, where the numbers of the last step have been logged."""
        self._leave()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Leave before a validation, which comes when the run goes on."""
        self._leave()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Save when it is time; between two optimiser steps only, for gradients are not saved."""
        last = batch_idx + 1 >= trainer.num_training_batches
        if (batch_idx + 1) % trainer.accumulate_grad_batches and not last:
            return
        if self._steps_done(trainer):
            trainer.should_stop = True
            return
        self._before_validation = _validation_follows(trainer, batch_idx)
        if last and not self._before_validation:
            return  # the end of the epoch comes at once
        overdue = self.minutes is not None and time.monotonic() - self._saved_at >= 60 * self.minutes
        save, leave = self._agree(trainer, pl_module, save=overdue)
        if save or leave:
            self._save(trainer)
        self._before_validation = False
        self.leaving |= leave

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Keep the best model of a validation within an epoch; at its end `on_train_epoch_end` does."""
        loop = trainer.fit_loop.epoch_loop
        if trainer.state.fn == "fit" and not loop.batch_progress.is_last_batch and not trainer.should_stop:
            self._keep_best(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, then leave when asked to: not by force, for the numbers of this epoch are not logged yet."""
        if not self._keep_best(trainer):
            self._save(trainer)
        _, self.leaving = self._agree(trainer, pl_module, save=False)
        if self.leaving:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Try once more what could not be written.

        Raises:
            UserError: it still cannot be. Not when a signal ends the training, which goes on later anyway.

        """
        if self._all_written():
            return
        self._save(trainer)
        if not self._all_written() and not self.leaving:
            raise UserError(
                f"the training has come to its end, but its checkpoint cannot be written in {self.folder}: make room "
                "there and give the same command again, which goes on from the last one that was written"
            )

    def check_best(self) -> None:
        """After a training: there must be a best epoch if there were validations.

        Raises:
            DivergenceError: the roll-outs of all of them have left the finite numbers, though the weights have not.

        """
        if self._not_finite:
            raise DivergenceError(
                f"{self.monitor} was finite after no epoch, so that none is the best: the forecast diverges within "
                f"data.val_steps; train on longer roll-outs (schedule.rollout_steps), or lower optimizer.lr; "
                f"{self.folder / LAST} holds the state of the last epoch"
            )

    def _all_written(self) -> bool:
        """Whether the newest and the best state are on the disk."""
        return self._written and self._waiting == math.inf

    def _has_best(self, score: float) -> bool:
        """Whether the best checkpoint is in the folder; it is brought there when the run goes on from another one."""
        if self.source is not None:
            return bring_best(self.source, self.folder, score)
        return (self.folder / BEST).is_file()

    def _keep_best(self, trainer: pl.Trainer) -> bool:
        """Save under both names if the validation score is the best; True if it is."""
        if self.monitor not in trainer.callback_metrics:
            return False
        score = float(trainer.callback_metrics[self.monitor])
        if not math.isfinite(score):
            log.warning("epoch %d: %s is %s, never the best", trainer.current_epoch + 1, self.monitor, score)
            self._not_finite = self.best == self._waiting == math.inf
        if not score < min(self.best, self._waiting):
            return False
        self._not_finite = False
        before, self.best, self._waiting = self.best, score, math.inf
        if not self._save(trainer, also=self.folder / BEST):
            self.best, self._waiting = before, score
        return True

    def _save(self, trainer: pl.Trainer, **options: Path) -> bool:
        """Write `last.ckpt`, after a best one that waits; False when that failed, in all processes alike."""
        self.interruption.save = False
        files = trainer.strategy.checkpoint_io
        if self._waiting < math.inf and trainer.strategy.broadcast(files.write_waiting(self.folder / BEST)):
            self.best, self._waiting = self._waiting, math.inf
        options["keep"] = self.folder / PREVIOUS
        trainer.save_checkpoint(self.folder / LAST, storage_options=options)
        self._saved_at = time.monotonic()
        self._written = bool(trainer.strategy.broadcast(getattr(files, "written", True)))
        return self._written

    def _agree(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *, save: bool) -> tuple[bool, bool]:
        """Whether any process was asked, or finds it time, to save, and to leave."""
        notes = (save or self.interruption.save, self.interruption.leave)
        if trainer.world_size == 1:
            return notes
        votes = torch.tensor(notes, dtype=torch.int32, device=pl_module.device)
        distributed.all_reduce(votes, op=distributed.ReduceOp.MAX)
        return bool(votes[0]), bool(votes[1])

    def _steps_done(self, trainer: pl.Trainer) -> bool:
        """Whether the limit of optimiser steps is reached."""
        return 0 <= self.max_steps <= trainer.global_step

    def _leave(self) -> None:
        """End the training here if all is saved."""
        if self.leaving:
            raise Interrupted(self.interruption.name)


def _validation_follows(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates right after this batch."""
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or not isinstance(interval, int):
        return False
    if every is None:
        return trainer.fit_loop.total_batch_idx % interval == interval - 1
    return (trainer.current_epoch + 1) % every == 0 and (batch_idx + 1) % interval == 0


def random_state(device: torch.device) -> dict[str, Any]:
    """State of the generators of Python, numpy, torch and, on a GPU, of that GPU."""
    version, words, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - whoever draws from it
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on drawing where `random_state` was taken."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
