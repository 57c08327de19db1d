"""What holds for every trainer of conf/trainer, made for the processor: not every machine has what it is for."""

import pytest
import pytorch_lightning as pl

from spacecast.training.precision import AUTO, PRECISIONS
from spacecast.training.trainer import make_trainer

ON_ONE_PROCESSOR = ("trainer.accelerator=cpu", "trainer.devices=1", "trainer.strategy=auto")


@pytest.fixture
def section(trainer_member, composed):
    return composed(f"trainer={trainer_member}", *ON_ONE_PROCESSOR).trainer


def test_it_builds_with_what_it_says(section, trainer_member, tmp_path):
    trainer = make_trainer(section.build(), tmp_path, None, [], batch_size=2)
    assert isinstance(trainer, pl.Trainer)
    assert trainer.max_epochs == section.max_epochs
    assert section.precision in (AUTO, *PRECISIONS)
    assert trainer.precision in PRECISIONS
    assert trainer.gradient_clip_val == section.content["gradient_clip_val"]
    assert trainer.accumulate_grad_batches == section.content["accumulate_grad_batches"]
    assert not trainer.loggers
    assert not list(tmp_path.iterdir())


def test_windows_per_step_are_reached_by_accumulation(section, trainer_member, tmp_path):
    trainer = make_trainer(section.build(), tmp_path, None, [], batch_size=2, global_batch=8)
    assert trainer.accumulate_grad_batches == 4


def test_it_saves_now_and_then_and_ends_what_diverges(section, trainer_member):
    assert section.checkpoint_minutes is not None
    assert section.checkpoint_minutes > 0
    assert section.max_nonfinite_steps is not None
