"""Small trainings on a wave that runs along x."""

from functools import partial

import pytorch_lightning as pl
import torch

from spacecast.core.types import Batch
from spacecast.forecast.standardize import Standardizer
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.objectives.forecast import ForecastObjective
from spacecast.training.module import ForecastModule
from spacecast.training.schedule import ConstantSchedule

STEPS = 2
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip
"""Of a trainer that does nothing besides."""


def waves(spec, count: int) -> list[Batch]:
    """Windows of a wave that runs along x, in physical units."""
    x = torch.as_tensor(spec.grid.positions[:, 0], dtype=torch.float32)
    batches = []
    for start in range(count):
        times = torch.arange(start, start + 2 + STEPS, dtype=torch.float32)[:, None, None]
        states = torch.sin(x[None, :, None] / 5 + 0.3 * times + torch.arange(12.0))
        physical = Standardizer(spec).state_to_physical(states)
        batches.append(Batch(physical[:2], physical[2:], torch.zeros(STEPS, len(x), 0), torch.tensor([0, start])))
    return batches


def make_module(spec, graph, model=None, objective=None, **schedule) -> ForecastModule:
    torch.manual_seed(0)
    model = model or EncodeProcessDecode(spec, graph, hidden_dim=16, processor_layers=1, inputs="increments")
    optimizer = partial(torch.optim.AdamW, lr=3e-3)
    plan = ConstantSchedule(schedule.pop("epochs", 15), rollout_steps=STEPS, decay="cosine", **schedule)
    return ForecastModule(model, objective or ForecastObjective(spec), plan, optimizer, spec, validation_steps=STEPS)


def fit(module, loader, epochs=1, callbacks=()) -> pl.Trainer:
    trainer = pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **QUIET)
    trainer.fit(module, loader, loader)
    return trainer
