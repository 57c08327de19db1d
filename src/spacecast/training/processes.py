"""What the processes of a training have each, gathered for a checkpoint."""

from typing import TypeVar

import pytorch_lightning as pl
from torch import distributed

Value = TypeVar("Value")


def of_all_processes(trainer: pl.Trainer, value: Value) -> list[Value]:
    """The values of all processes in their order, in each of them; they must be what pickle takes, and on the CPU."""
    values = [value] * trainer.world_size
    if trainer.world_size > 1:
        distributed.all_gather_object(values, value)
    return values
