"""Averages of the weights: their closed form, what validation and checkpoints hold, and going on."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from wave_training import QUIET

from spacecast.training.averaging import KEY, WeightAveraging

RATE, STEPS = 0.1, 6  # steps in an epoch


class Walk(pl.LightningModule):
    """Its weight goes down by a tenth in each step; a second one is not trained."""

    def __init__(self, precision=torch.float32) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, dtype=precision))
        self.fixed = torch.nn.Parameter(torch.full((2,), 7.0), requires_grad=False)
        self.register_buffer("count", torch.tensor(5))
        self.validated = []

    def training_step(self, batch):
        return self.weight.sum()

    def validation_step(self, batch):
        self.validated.append(float(self.weight[0]))

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=RATE)


def fit(module, decay, epochs=2, start=None, **options) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs, num_sanity_val_steps=0, callbacks=[WeightAveraging(decay)], **QUIET, **options
    )
    trainer.fit(module, DataLoader(torch.zeros(STEPS), batch_size=1), DataLoader(torch.zeros(2)), ckpt_path=start)
    return trainer


def expected(decay: float, steps: int) -> float:
    """The recursion, by hand."""
    average = 1.0
    for step in range(steps):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * (1 - RATE * (step + 1))
    return average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.995])
def test_validation_and_checkpoints_have_the_averages_and_training_its_own_weights(decay, tmp_path):
    module = Walk()
    trainer = fit(module, decay)
    averages = [expected(decay, STEPS), expected(decay, 2 * STEPS)]
    assert module.validated == pytest.approx([each for each in averages for _ in range(2)], abs=1e-6)
    assert module.weight.tolist() == pytest.approx([1 - 2 * STEPS * RATE] * 3, abs=1e-6)
    trainer.save_checkpoint(tmp_path / "averaged.ckpt")
    content = torch.load(tmp_path / "averaged.ckpt", weights_only=True)
    assert content["state_dict"]["weight"].tolist() == pytest.approx([averages[1]] * 3, abs=1e-6)
    assert content[KEY].keys() == {"weight"}
    assert torch.equal(content[KEY]["weight"], module.weight)
    assert (content["state_dict"]["fixed"].tolist(), int(content["state_dict"]["count"])) == ([7.0, 7.0], 5)


def test_batches_that_are_accumulated_are_one_step():
    module = Walk()
    fit(module, 0.5, epochs=1, accumulate_grad_batches=3)
    assert module.validated[0] == pytest.approx(expected(0.5, 2))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float64])
def test_a_training_that_goes_on_has_the_same_averages(precision, tmp_path):
    whole, first, second = Walk(precision), Walk(precision), Walk(precision)
    fit(whole, 0.9, epochs=3).save_checkpoint(tmp_path / "whole.ckpt")
    fit(first, 0.9, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    fit(second, 0.9, epochs=3, start=tmp_path / "half.ckpt").save_checkpoint(tmp_path / "resumed.ckpt")
    one, other = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("whole", "resumed"))
    assert torch.equal(one["state_dict"]["weight"], other["state_dict"]["weight"])
    assert torch.equal(one[KEY]["weight"], other[KEY]["weight"])
    assert whole.validated == first.validated + second.validated
    least = torch.promote_types(precision, torch.float32)
    assert one["state_dict"]["weight"].dtype == least  # an average moves by less than half precision can tell


def test_averages_may_be_left_off_or_begun_later(tmp_path):
    """Either way the training goes on with its own weights."""
    fit(Walk(), 0.9, epochs=1).save_checkpoint(tmp_path / "averaged.ckpt")
    module = Walk()
    fit(module, None, start=tmp_path / "averaged.ckpt").save_checkpoint(tmp_path / "plain.ckpt")
    assert module.weight.tolist() == pytest.approx([1 - 2 * STEPS * RATE] * 3, abs=1e-6)
    content = torch.load(tmp_path / "plain.ckpt", weights_only=True)
    assert KEY not in content
    assert torch.equal(content["state_dict"]["weight"], module.weight)
    module = Walk()
    fit(module, 0.0, epochs=3, start=tmp_path / "plain.ckpt")
    assert module.validated[0] == pytest.approx(1 - 3 * STEPS * RATE, abs=1e-6)
