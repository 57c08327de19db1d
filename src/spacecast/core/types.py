"""What travels between the parts. Axis names: batch, member, lead, node, variable, hidden, edge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Draw = Callable[[Tensor], Tensor]
"""Standard normal numbers of the shape, type and device of a tensor (batch, ...), such as `torch.randn_like`."""


Keep = Callable[[Tensor, Tensor], None]
"""Receives the state at t that a forecast started from and the one that it made of it, each (batch, node, state)."""


class Batch(NamedTuple):
    """Some windows of the data; the loader fills it with physical values, the standardiser makes them O(1).

    initial: states at t - 1 and t, shape (batch, 2, node, state). In a training on own states they may be the model's
        own; the true one at t is then the third, shape (batch, 3, node, state).
    target: states at t + 1 ... t + K, shape (batch, lead, node, state).
    forcing: forcing of each step, window of past and future steps folded in, shape (batch, lead, node, forcing).
    window: number of the run and of the window's first frame in it, shape (batch, 2), int64. In a training on
        own states also the place of the pool that it visits (-1: none), the visits that its trajectory has had before,
        and whether the model may have the state before, shape (batch, 5).
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
class OwnStates:
    """How a training takes initial states from a pool of those that the model has made.

    since: first epoch of it.
    size: places of the pool, each with one state.
    max_age: most steps from a true state to one in the pool.
    fresh: share of windows with true initial states.
    previous: share of trajectories in which the model has the state before for some leads, if it can do without it.
    """

    since: int = 0
    size: int = 16
    max_age: int = 60
    fresh: float = 0.4
    previous: float = 0.5


@dataclass(frozen=True)
class Stage:
    """What the schedule prescribes for one epoch.

    lr_factor: multiplies the optimiser's base learning rate.
    noise_lr_factor: multiplies that of the weights by which noise enters once more; the same in all epochs.
    rollout_steps: steps of the training roll-out.
    kl, crps, div: multiply the objective's weights of the same name (0 switches a term off).
    own_states: train on the model's own states too; the same from the epoch in which it begins on.
    """

    lr_factor: float = 1.0
    rollout_steps: int = 1
    kl: float = 1.0
    crps: float = 1.0
    div: float = 1.0
    own_states: OwnStates | None = None
    noise_lr_factor: float = 1.0


def shown_leads(count: int) -> list[int]:
    """Leads of tables that have no room for all of so many, 1 being the first: 1, 2, 5, 10, 20, 50 and so on."""
    steps = (digit * 10**power for power in range(len(str(count))) for digit in (1, 2, 5))
    leads = [lead for lead in steps if lead <= count]
    return leads if not leads or 5 * count < 6 * leads[-1] else [*leads, count]


class ScoreRow(NamedTuple):
    """One score: a line of `scores.csv`. `lead_s` is the lead time in seconds, `units` is "1" for ratios."""

    metric: str
    variable: str
    units: str
    lead_s: float
    region: str
    value: float
