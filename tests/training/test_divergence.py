"""A training whose numbers are no longer finite ends, says where it began, and leaves finite checkpoints."""

import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch.utils.data import DataLoader
from wave_training import QUIET

from spacecast.process.signals import Interruption
from spacecast.training.checkpoint_io import AtomicCheckpointIO
from spacecast.training.checkpointing import CheckpointWriter
from spacecast.training.divergence import DivergenceError, DivergenceWatch

INF, NAN, BATCHES = math.inf, math.nan, 4


class Scripted(pl.LightningModule):
    """Losses and validation scores as they are told to be; its weight grows by 1 in each step but the jump."""

    def __init__(self, losses, scores, jump=None) -> None:
        super().__init__()
        self.losses, self.scores, self.jump = losses, scores, jump
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        number = self.current_epoch * BATCHES + batch_idx
        terms = self.losses.get(number, {"loss": 0.0, "div": 0.0})
        factors = {name: torch.tensor(value) for name, value in terms.items()}
        slope = NAN if number == self.jump else 1.0
        return {"loss": sum(factors.values()) - slope * self.weight, "terms": factors}

    def validation_step(self, batch):
        self.log("score", self.scores[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Describe(pl.Callback):
    """As much of a description as makes it a checkpoint of ours."""

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["spacecast"] = {"format": 1, "versions": {"spacecast": "1"}, "config": {}}


def train(
    folder, losses=(), *, scores=(3.0, 2.0), limit=3, module=None, start=None, plugins=(), **options
) -> CheckpointWriter:
    """Two epochs of four steps."""
    writer = CheckpointWriter(folder, "score", Interruption({}), minutes=options.pop("minutes", None))
    module = module or Scripted(dict(losses), scores, options.pop("jump", None))
    trainer = pl.Trainer(
        max_epochs=len(scores), num_sanity_val_steps=0, plugins=[AtomicCheckpointIO(), *plugins],
        callbacks=[Describe(), DivergenceWatch(limit, folder), writer], **QUIET,
    )  # fmt: skip
    loader = DataLoader(torch.zeros(BATCHES), batch_size=1)
    trainer.fit(module, loader, DataLoader(torch.zeros(1)), ckpt_path=start, weights_only=True)
    writer.check_best()
    return writer


def weights(folder) -> dict[str, int]:
    return {path.stem: float(torch.load(path)["state_dict"]["weight"]) for path in sorted(folder.glob("*.ckpt"))}


def at(*numbers, **terms):
    return {number: {"loss": 0.0, "div": 0.0} | terms for number in numbers}


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (at(1, 2, 3, loss=INF), r"in 3 steps in a row, first in epoch 1, step 2 \(train/loss\)"),
        (at(2, div=NAN) | at(3, 4, loss=NAN, div=NAN), r"first in epoch 1, step 3 \(train/div\)"),
        (at(0, 1, 4, 5, 6, loss=INF, div=-INF), r"first in epoch 2, step 1 \(train/loss and train/div\)"),
        (at(5, 6, 7, loss=3e38, div=3e38), r"first in epoch 2, step 2 \(the sum of finite terms\)"),
    ],
)
def test_some_steps_in_a_row_end_it_and_the_first_is_named(losses, message, tmp_path):
    with pytest.raises(DivergenceError, match=message) as caught:
        train(tmp_path, losses)
    assert "\n" not in str(caught.value)


def test_single_steps_do_not_end_it(tmp_path):
    train(tmp_path, at(0, 2, 3, 5, 6, loss=NAN))
    assert weights(tmp_path)["last"] == 8


def test_the_limit_can_be_another_or_none(tmp_path):
    losses = at(*range(1, 7), loss=NAN)
    with pytest.raises(DivergenceError, match="in 1 steps in a row, first in epoch 1, step 2"):
        train(tmp_path / "one", losses, limit=1)
    with pytest.raises(DivergenceError, match="in 6 steps in a row"):
        train(tmp_path / "six", losses, limit=6)
    train(tmp_path / "none", losses, limit=None)
    assert weights(tmp_path / "none")["last"] == 8


@pytest.mark.parametrize("minutes", [None, 0])
@pytest.mark.parametrize("limit", [3, None])
@pytest.mark.parametrize("jump", [4, 7])
def test_weights_that_are_not_finite_are_never_written(minutes, limit, jump, tmp_path):
    """The loss of the step is finite, its gradient is not; the last step of the last epoch included."""
    with pytest.raises(DivergenceError, match="not finite"):
        train(tmp_path, jump=jump, limit=limit, minutes=minutes)
    before = jump if minutes == 0 else 4
    assert weights(tmp_path)["last"] == before
    assert weights(tmp_path)["best"] == 4
    again = train(tmp_path, start=tmp_path / "last.ckpt")
    assert (weights(tmp_path)["last"], again.best) == (8, 2.0)


def test_an_optimiser_state_that_is_not_finite_is_not_written(tmp_path):
    """The square of a gradient of 1e22 is beyond float32: Adam would never move that weight again."""

    class Steep(Scripted):
        def training_step(self, batch, batch_idx):
            return {"loss": 1e22 * self.weight, "terms": {}}

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    with pytest.raises(DivergenceError, match="state are not finite after epoch 1, step 4, though its loss was"):
        train(tmp_path, module=Steep({}, (3.0, 2.0)))
    assert weights(tmp_path) == {}


def test_a_scaler_may_leave_steps_out(tmp_path):
    """As in 16-mixed: the gradient of a step is not finite, its loss is; the scale is lowered, the training goes on."""
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    train(tmp_path, jump=2, plugins=[plugin])
    assert weights(tmp_path)["last"] == 7


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_validation_that_is_not_finite_is_never_the_best(bad, tmp_path, caplog):
    writer = train(tmp_path, scores=(5.0, bad, 6.0))
    assert (writer.best, weights(tmp_path)["best"]) == (5.0, 4)
    assert f"epoch 2: score is {bad}, never the best" in caplog.text


@pytest.mark.parametrize("bad", [NAN, INF])
def test_without_any_finite_validation_a_training_fails_also_when_it_is_started_again(bad, tmp_path):
    for start in (None, tmp_path / "last.ckpt"):
        with pytest.raises(DivergenceError, match="score was finite after no epoch"):
            train(tmp_path, scores=(bad, bad), start=start)
    assert weights(tmp_path) == {"last": 8, "previous": 4}
    assert train(tmp_path, scores=(bad, bad, 4.0), start=tmp_path / "last.ckpt").best == 4.0
