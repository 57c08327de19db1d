"""Probabilities that an ensemble gives to an event, here that a threshold is exceeded, held against what happened.

The forecast probability is the share of members that exceed the threshold, one of 0, 1 / M, ..., 1. All scores below
follow from one table: how often each of them was forecast, and how often the event then happened.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class BrierParts(NamedTuple):
    """The parts of a Brier score, which is reliability - resolution + uncertainty."""

    reliability: Tensor
    resolution: Tensor
    uncertainty: Tensor


def exceedances(members: Tensor, thresholds: Tensor) -> Tensor:
    """How many members exceed each threshold; what equals it does not, nor does what is no number.

    Args:
        members: shape (member, ..., variable).
        thresholds: shape (threshold, variable) or (threshold, 1).

    Returns:
        Shape (threshold, ..., variable), int16.

    """
    levels = thresholds.reshape(len(thresholds), *(1 for _ in members.shape[1:-1]), -1)
    total = torch.zeros(len(levels), *members.shape[1:], dtype=torch.int16, device=members.device)
    for member in members:
        total += member > levels
    return total


def fair_brier_score(counts: Tensor, events: Tensor, members: int) -> Tensor:
    """Brier score of single entries, unbiased for the distribution that the members are drawn from.

    (i / M - y)^2 - i (M - i) / (M^2 (M - 1)) with i of M members that exceed the threshold and y = 1 where the truth
    does, else 0: Ferro (2014), Q. J. R. Meteorol. Soc. 140, 1917-1923. Of one member the plain (i - y)^2. The integral
    over all thresholds is the fair CRPS.

    Args:
        counts: i, whole numbers.
        events: y, same shape.
        members: M.

    """
    return _squares(members, fair=True).to(counts.device).flatten()[2 * counts.int() + events]


def exceedance_table(counts: Tensor, events: Tensor, members: int) -> Tensor:
    """How often so many members exceeded a threshold, apart by whether the truth did: a reliability diagram in counts.

    Args:
        counts: how many members did, shape (threshold, window, node, variable).
        events: whether the truth did, same shape.
        members: M.

    Returns:
        Shape (window, variable, threshold, M + 1, 2): nodes with i of M members above the threshold, i = 0 ... M, and
        the truth not above it or above it.

    """
    levels, windows, _, variables = counts.shape
    cells = 2 * (members + 1)
    slots = 2 * counts.long() + events
    place = torch.arange(windows, device=counts.device)[:, None, None] * variables
    place = (place + torch.arange(variables, device=counts.device)) * levels * cells
    for level in range(levels):
        slots[level] += place + level * cells
    total = windows * variables * levels * cells
    return torch.bincount(slots.reshape(-1), minlength=total).reshape(windows, variables, levels, members + 1, 2)


def probabilities(members: int) -> Tensor:
    """The probabilities that an ensemble can give: 0, 1 / M, ..., 1, shape (M + 1,)."""
    return torch.arange(members + 1, dtype=torch.float64) / members


def brier_score(table: Tensor, *, fair: bool = True) -> Tensor:
    """Mean Brier score of a table of `exceedance_table`, counts or shares: shape (..., M + 1, 2) to (...).

    With `fair` as in `fair_brier_score`; else the mean of (i / M - y)^2 (Brier 1950), which the parts of `brier_parts`
    make up.
    """
    squares = _squares(table.shape[-2] - 1, fair=fair).to(table.device)
    return (table * squares).sum(dim=(-2, -1)) / table.sum(dim=(-2, -1))


def _squares(members: int, *, fair: bool) -> Tensor:
    """Brier score of each number of members that exceed a threshold, for y = 0 and y = 1, shape (M + 1, 2)."""
    share = probabilities(members)
    excess = share * (1 - share) / max(members - 1, 1) if fair else torch.zeros_like(share)
    return torch.stack([share.square() - excess, (1 - share).square() - excess], dim=-1)


def observed_frequency(table: Tensor) -> Tensor:
    """How often the event happened where a probability was forecast: (..., M + 1, 2) to (..., M + 1), NaN where never.

    Held against the `probabilities`, a reliability diagram: a reliable ensemble lies on the diagonal.
    """
    return table[..., 1].double() / table.sum(dim=-1)


def brier_parts(table: Tensor) -> BrierParts:
    """Parts of the Brier score of a table of `exceedance_table`, each of shape (...): Murphy (1973), J. Appl. Met. 12.

    With n_i the share of forecasts of probability p_i = i / M, o_i the frequency of the event among them and o the one
    among all: reliability sum_i n_i (p_i - o_i)^2, 0 is best; resolution sum_i n_i (o_i - o)^2, more is better;
    uncertainty o (1 - o), the Brier score of the climatology of this sample, which no forecast has a part in.
    """
    share = table.double() / table.sum(dim=(-2, -1), keepdim=True)
    forecast, frequency = share.sum(dim=-1), observed_frequency(table)
    climatology = share[..., 1].sum(dim=-1)
    probability = probabilities(table.shape[-2] - 1).to(table.device)

    def mean(squares: Tensor) -> Tensor:
        return torch.where(forecast > 0, forecast * squares, torch.zeros_like(forecast)).sum(dim=-1)

    return BrierParts(
        mean((probability - frequency).square()),
        mean((frequency - climatology[..., None]).square()),
        climatology * (1 - climatology),
    )


def brier_skill_score(score: Tensor, uncertainty: Tensor) -> Tensor:
    """1 - score / uncertainty: 1 is perfect, 0 no better than always to forecast the frequency of the event.

    NaN where the event always or never happens, and there is nothing to forecast.
    """
    return torch.where(uncertainty > 0, 1 - score / uncertainty, torch.nan)
