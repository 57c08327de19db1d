"""Sums by initial time: what per-run scores, intervals and the merging of processes all follow from."""

from collections.abc import Hashable, Iterable, Mapping

import torch
from torch import Tensor

Start = tuple[int, int]  # number of the run, and of the window's first frame in it: `Batch.window`


class StartSums:
    """Sums of each initial time and lead, float64; never a forecast itself.

    Args:
        leads: number of leads.

    """

    def __init__(self, leads: int) -> None:
        self.leads = leads
        self._sums: dict[Start, dict[Hashable, Tensor]] = {}

    @property
    def starts(self) -> list[Start]:
        """Initial times in order: run after run, by time."""
        return sorted(self._sums)

    def add(self, start: Start, name: Hashable, lead: int, values: Tensor) -> None:
        """Add values of any shape, the same of all that is added under a name, to one start and lead."""
        sums = self._sums.setdefault(start, {})
        if name not in sums:
            sums[name] = torch.zeros(self.leads, *values.shape, dtype=torch.float64, device=values.device)
        sums[name][lead] += values

    def stacked(self, name: Hashable) -> Tensor:
        """Everything that was added under a name, shape (start, lead, ...)."""
        return torch.stack([self._sums[start][name] for start in self.starts]).cpu()

    def parts(self) -> dict[Start, dict[Hashable, Tensor]]:
        """All of it on the CPU, for `merge` in another process."""
        return {start: {name: each.cpu() for name, each in sums.items()} for start, sums in self._sums.items()}

    def merge(self, parts: Iterable[Mapping[Start, dict[Hashable, Tensor]]]) -> None:
        """Take what other processes have of starts that are not here; so the sums are the same bits as of one."""
        for part in parts:
            self._sums = {**part, **self._sums}


def averages(sums: Tensor, counts: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted means over starts.

    Args:
        sums: shape (start, ..., column) of `StartSums`.
        counts: what they were summed over, shape (start, ...).
        weights: of each start, shape (draw, start); None: one each.

    Returns:
        Shape (draw, ..., column), without the first axis where there are no weights; NaN where nothing counts.

    """
    if weights is None:
        return sums.sum(dim=0) / counts.sum(dim=0)[..., None]
    return torch.tensordot(weights, sums, dims=1) / torch.tensordot(weights, counts, dims=1)[..., None]
