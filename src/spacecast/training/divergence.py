"""Ends a training whose numbers are no longer finite, and keeps such numbers out of checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, distributed

from spacecast.checkpoint.files import LAST
from spacecast.core.errors import UserError

STEPS_BETWEEN_LOOKS = 16  # on a GPU, which would have to finish its work for each


class DivergenceError(UserError):
    """Loss, weights or validation scores are not finite."""


class DivergenceWatch(Callback):
    """Looks at the loss of each step, and at weights and optimiser state before a checkpoint is written.

    A scaler (16-mixed) leaves steps out whose gradients are not finite, so that a loss may recover, and it takes some
    steps in a row to end the training. Weights that are not finite never recover, and are never written. All processes
    of a training stop together. Put it before whoever writes the checkpoints.

    Args:
        limit: end the training after so many steps in a row; None: only when a checkpoint would hold such numbers.
        folder: of the checkpoints.

    """

    def __init__(self, limit: int | None, folder: Path) -> None:
        self.limit, self.folder = limit, folder
        self._unseen: list[tuple[str, list[str], Tensor]] = []
        self._in_a_row = 0
        self._first = ""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Note what is finite, and look at the notes when it is time.

        Raises:
            DivergenceError: too many steps in a row.

        """
        terms = {"total": outputs["loss"], **outputs.get("terms", {})}
        fault = ~torch.stack([torch.isfinite(term.detach()) for term in terms.values()])
        self._unseen.append((_place(trainer, batch_idx), list(terms), fault))
        last = batch_idx + 1 >= trainer.num_training_batches
        if last or pl_module.device.type == "cpu" or len(self._unseen) >= STEPS_BETWEEN_LOOKS:
            self._look(trainer)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],  # noqa: ARG002
    ) -> None:
        """Hold weights and optimiser state against what may be written.

        Raises:
            DivergenceError: they are not finite.

        """
        if all(bool(torch.isfinite(value).all()) for value in _state(trainer, pl_module)):
            return
        self._look(trainer)
        where = _place(trainer, trainer.fit_loop.batch_idx)
        since = f", nor is the loss since {self._first}" if self._in_a_row else ", though its loss was finite"
        what = "the weights or the optimiser's state are not finite"
        raise DivergenceError(f"{what} after {where}{since}: {self._advice()}")

    def _look(self, trainer: pl.Trainer) -> None:
        """Count the steps in a row, over all processes alike."""
        if not self._unseen:
            return
        faults = torch.cat([fault for _, _, fault in self._unseen]).to(torch.int32)
        if trainer.world_size > 1:
            distributed.all_reduce(faults, op=distributed.ReduceOp.MAX)
        found = iter(faults.tolist())
        unseen, self._unseen = self._unseen, []
        for place, names, _ in unseen:
            bad = [name for name in names if next(found)]
            if not bad:
                self._in_a_row = 0
                continue
            if not self._in_a_row:
                self._first = f"{place} ({_terms(bad)})"
            self._in_a_row += 1
            if self.limit is not None and self._in_a_row >= self.limit:
                raise DivergenceError(
                    f"the loss is not finite in {self.limit} steps in a row, first in {self._first}: {self._advice()}"
                )

    def _advice(self) -> str:
        """What to do, and what is left."""
        left = "holds the state before" if (self.folder / LAST).is_file() else "was not written yet"
        return (
            "lower optimizer.lr or the weight of that term, limit trainer.gradient_clip_val, or look for faults with "
            f"spacecast-data inspect; {self.folder / LAST} {left}"
        )


def _place(trainer: pl.Trainer, batch_idx: int) -> str:
    """Epoch and step in it as lines of progress count them."""
    return f"epoch {trainer.current_epoch + 1}, step {batch_idx + 1}"


def _terms(bad: list[str]) -> str:
    """Which terms of the loss are meant, by their names in the tracking store."""
    terms = [f"train/{name}" for name in bad if name != "total"]
    return " and ".join(terms) if terms else "the sum of finite terms"


def _state(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[Tensor]:
    """Weights and tensors of the optimisers."""
    yield from (weight.detach() for weight in module.parameters())
    for optimizer in trainer.optimizers:
        for state in optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
