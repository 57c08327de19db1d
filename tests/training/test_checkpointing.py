"""What is kept of a training on a disk that is full at times, and of the best epoch of another run."""

import errno
import math

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from wave_training import QUIET

from spacecast.checkpoint.files import write_whole
from spacecast.core.errors import UserError
from spacecast.process.signals import Interruption
from spacecast.training import checkpoint_io
from spacecast.training.checkpoint_io import AtomicCheckpointIO
from spacecast.training.checkpointing import CheckpointWriter

MONITOR = "score"


class Counting(pl.LightningModule):
    """Its weight is the number of optimiser steps; the validations score as they are told to."""

    def __init__(self, scores) -> None:
        super().__init__()
        self.scores = scores
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch):
        return -self.weight

    def validation_step(self, batch):
        self.log(MONITOR, self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Describe(pl.Callback):
    """As much of a description as makes it a checkpoint of ours."""

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["spacecast"] = {"format": 1, "versions": {"spacecast": "1"}, "config": {}}


def train(folder, scores, start=None, **options) -> CheckpointWriter:
    """One epoch of two steps for each score, from a checkpoint on."""
    writer = CheckpointWriter(folder, MONITOR, Interruption({}), minutes=None, **options)
    trainer = pl.Trainer(
        max_epochs=len(scores),
        num_sanity_val_steps=0,
        callbacks=[Describe(), writer],
        plugins=[AtomicCheckpointIO()],
        **QUIET,
    )
    loader = DataLoader(torch.zeros(2), batch_size=1)
    trainer.fit(Counting(scores), loader, loader, ckpt_path=start, weights_only=True)
    return writer


def weights(folder) -> dict[str, int]:
    return {path.stem: int(torch.load(path)["state_dict"]["weight"]) for path in sorted(folder.iterdir())}


def best_of(path) -> float:
    return torch.load(path)["progress"]["best"]


@pytest.fixture
def full(monkeypatch) -> set[int]:
    """Numbers of the attempts to write a checkpoint, from 0, that find the disk full."""
    failing: set[int] = set()
    attempts = iter(range(1000))

    def write(*arguments, **options) -> None:
        if next(attempts) in failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(*arguments, **options)

    monkeypatch.setattr(checkpoint_io, "write_whole", write)
    return failing


def test_on_a_disk_that_stays_full_the_training_ends_with_an_error_and_can_go_on(tmp_path, full):
    scores = [5.0, 6.0, 4.0]
    full |= set(range(2, 10))
    with pytest.raises(UserError, match="cannot be written") as caught:
        train(tmp_path, scores)
    assert "\n" not in str(caught.value)
    assert weights(tmp_path) == {"best": 2, "last": 4, "previous": 2}
    assert best_of(tmp_path / "last.ckpt") == 5.0
    full.clear()
    train(tmp_path, scores, tmp_path / "last.ckpt")
    assert weights(tmp_path) == {"best": 6, "last": 6, "previous": 4}


def test_a_signal_on_a_full_disk_ends_the_training_as_ever(tmp_path, full, monkeypatch):
    def signal(module) -> None:
        [writer] = [callback for callback in module.trainer.callbacks if isinstance(callback, CheckpointWriter)]
        writer.interruption.leave = module.current_epoch == 1

    full |= set(range(1, 10))
    monkeypatch.setattr(Counting, "on_validation_epoch_end", signal)
    assert train(tmp_path, [5.0, 4.0, 3.0]).leaving
    assert weights(tmp_path) == {"best": 2, "last": 2}


@pytest.mark.parametrize("scores", [[5.0, 6.0], [5.0, 4.0]])
def test_the_last_checkpoint_is_tried_again_at_the_end_and_can_be_gone_on_from(tmp_path, full, scores):
    train(tmp_path / "whole", [*scores, 4.5])
    full.add(3 + 1)
    train(tmp_path / "full", scores)
    best = 4 if scores[1] < scores[0] else 2
    assert weights(tmp_path / "full") == {"best": best, "last": 4, "previous": 2}
    assert best_of(tmp_path / "full" / "last.ckpt") == min(scores)
    train(tmp_path / "full", [*scores, 4.5], tmp_path / "full" / "last.ckpt")
    assert weights(tmp_path / "full") == weights(tmp_path / "whole")
    for name in ("epoch", "global_step", "loops"):
        whole, again = (torch.load(tmp_path / run / "last.ckpt")[name] for run in ("whole", "full"))
        assert whole == again


def test_a_best_epoch_that_was_not_written_is_written_later(tmp_path, full):
    """The second save finds no room, the third has it again."""
    full.add(1)
    train(tmp_path, [5.0, 3.0, 4.0, 6.0])
    assert weights(tmp_path) == {"best": 4, "last": 8, "previous": 6}
    assert [best_of(tmp_path / f"{name}.ckpt") for name in ("best", "last")] == [3.0, 3.0]


def test_a_better_epoch_takes_the_place_of_one_that_waits(tmp_path, full):
    full |= {1, 2}
    train(tmp_path, [5.0, 3.0, 2.0, 2.5])
    assert weights(tmp_path) == {"best": 6, "last": 8, "previous": 2}
    assert best_of(tmp_path / "last.ckpt") == 2.0


def test_the_best_epoch_of_another_run_comes_along(tmp_path):
    train(tmp_path / "whole", [3.0, 5.0, 4.0])
    train(tmp_path / "parent", [3.0, 5.0])
    start = tmp_path / "parent" / "last.ckpt"
    train(tmp_path / "own", [3.0, 5.0, 4.0], start, source=start)
    assert weights(tmp_path / "whole") == {"best": 2, "last": 6, "previous": 4}
    assert weights(tmp_path / "own") == {"best": 2, "last": 6}
    assert best_of(tmp_path / "own" / "last.ckpt") == 3.0


@pytest.mark.parametrize("own", [True, False])
def test_no_best_score_is_taken_over_without_its_file(tmp_path, own):
    train(tmp_path / "parent", [3.0, 5.0])
    (tmp_path / "parent" / "best.ckpt").unlink()
    start, folder = tmp_path / "parent" / "last.ckpt", tmp_path / ("parent" if own else "own")
    writer = train(folder, [3.0, 5.0, 4.0, 6.0], start, source=None if own else start)
    assert writer.best == best_of(folder / "last.ckpt") == 4.0
    assert weights(folder) == {"best": 6, "last": 8, "previous": 6}


def test_a_best_epoch_after_the_checkpoint_is_not_taken_over(tmp_path):
    train(tmp_path / "parent", [5.0, 3.0])
    start = tmp_path / "parent" / "previous.ckpt"
    writer = train(tmp_path / "own", [5.0, math.nan, 7.0], start, source=start)
    assert writer.best == 7.0
    assert weights(tmp_path / "own") == {"best": 6, "last": 6, "previous": 4}
