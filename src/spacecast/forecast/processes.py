"""The processes of one forecast or evaluation: who does which part of the work, and how the first gets all of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Processes:
    """One of several processes that share work; by itself the only one, on the CPU.

    Args:
        rank: number of this process.
        world: how many there are.
        device: where this one computes.

    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes what belongs to all."""
        return self.rank == 0

    def share(self, units: Sequence[Unit]) -> list[Unit]:
        """The units of work that are this process's, dealt in turn."""
        return list(units[self.rank :: self.world])

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all processes in the order of their ranks, in the first one; None in the others."""
        return [value]

    def barrier(self) -> None:
        """Wait until all processes are here."""
