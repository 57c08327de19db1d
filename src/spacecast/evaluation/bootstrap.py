"""How much scores would differ with other initial times."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEVEL = 0.95  # of the intervals


def block_length(sizes: Sequence[int], leads: int) -> int:
    """Initial times per block: as many as there are leads, for so many forecasts share frames, but four blocks a run.

    Args:
        sizes: initial times of each run.
        leads: number of leads.

    """
    return max(1, min(leads, max(sizes) // 4))


def block_bootstrap(runs: Sequence[int | str], block: int, draws: int, seed: int = 0) -> Tensor:
    """How often each initial time is drawn, by the circular block bootstrap within each run (Politis & Romano 1992).

    Blocks of neighbouring initial times are drawn, since scores of forecasts that start one step apart are alike; each
    run keeps its number of initial times. So an interval says what other times of the same runs would give, not what
    other runs would.

    Args:
        runs: run of each initial time, those of a run in order and side by side.
        block: neighbouring initial times that are drawn together.
        draws: number of draws.
        seed: of the draws.

    Returns:
        Shape (draw, start), whole numbers in float64.

    """
    generator = np.random.default_rng(seed)
    labels, counts = np.asarray(runs), np.zeros((draws, len(runs)))
    for run in dict.fromkeys(runs):
        places = np.flatnonzero(labels == run)
        number = len(places)
        first = generator.integers(number, size=(draws, -(-number // block)))
        drawn = (first[..., None] + np.arange(min(block, number))) % number
        drawn = drawn.reshape(draws, -1)[:, :number]
        for row, numbers in zip(counts, drawn, strict=True):
            row[places] += np.bincount(numbers, minlength=number)
    return torch.as_tensor(counts)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end of the interval that holds `LEVEL` of the draws, first axis; NaN where one is no number."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high
