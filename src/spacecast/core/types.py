"""What travels between the parts. Axis names: batch, member, lead, node, variable, hidden, edge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Draw = Callable[[Tensor], Tensor]
"""Standard normal numbers of the shape, type and device of a tensor (batch, ...), such as `torch.randn_like`."""


class Batch(NamedTuple):
    """Some windows of the data; the loader fills it with physical values, the standardiser makes them O(1).

    initial: states at t - 1 and t, shape (batch, 2, node, state).
    target: states at t + 1 ... t + K, shape (batch, lead, node, state).
    forcing: forcing of each step, window of past and future steps folded in, shape (batch, lead, node, forcing).
    window: number of the run and of the window's first frame in it, shape (batch, 2), int64.
    """

    initial: Tensor
    target: Tensor
    forcing: Tensor
    window: Tensor


class StepOutput(NamedTuple):
    """One step ahead, standardised.

    state: the new state, shape (batch, node, state).
    std: predicted standard deviation, same shape, or None.
    """

    state: Tensor
    std: Tensor | None


class Forecast(NamedTuple):
    """A roll-out, standardised.

    states: shape (batch, lead, node, state).
    std: predicted standard deviations, same shape, or None.
    """

    states: Tensor
    std: Tensor | None


class LossTerms(NamedTuple):
    """The objective and its parts before weighting, each a scalar mean per node, variable and step."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """What the schedule prescribes for one epoch.

    lr_factor: multiplies the optimiser's base learning rate.
    rollout_steps: steps of the training roll-out.
    kl, crps, div: multiply the objective's weights of the same name (0 switches a term off).
    """

    lr_factor: float = 1.0
    rollout_steps: int = 1
    kl: float = 1.0
    crps: float = 1.0
    div: float = 1.0


class ScoreRow(NamedTuple):
    """One score: a line of `scores.csv`. `lead_s` is the lead time in seconds, `units` is "1" for ratios."""

    metric: str
    variable: str
    units: str
    lead_s: float
    region: str
    value: float
