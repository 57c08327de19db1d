"""The schedule of a training run: a pure function of the epoch, so that a resumed run needs no memory of it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, Protocol

from spacecast.core.errors import UserError
from spacecast.core.ranges import NonNegativeFloat, PositiveInt
from spacecast.core.types import Stage

Decay = Literal["constant", "cosine"]
QUARTERS = (0.0, 0.25, 0.5, 0.75)  # of an epoch: when one is looked at, for a stage may begin within it


class Schedule(Protocol):
    """`at(epoch)` is all there is to know of it."""

    def at(self, epoch: float) -> Stage:
        """What holds in an epoch, counted from 0.

        A fraction is allowed: the learning rate follows it smoothly and terms of the loss may come in within an epoch;
        the roll-out length changes from one epoch to the next.
        """


def switch_epochs(points: Sequence[float], epochs: int) -> list[float]:
    """Switch points as epochs, of which they may be fractions: numbers up to 1 are shares of the run.

    Raises:
        UserError: when they do not ascend.
    """
    switches = [round(point * epochs if point <= 1 else point, 9) for point in points]
    if switches != sorted(switches) or any(point < 0 for point in points):
        raise UserError(f"schedule switch points {list(points)} of a run of {epochs} epochs do not ascend")
    return switches


def ramp(epoch: int, start: int, end: float, steps: int) -> int:
    """Roll-out length of an epoch: 1 before `start`, then 2 to `steps` for equally long, `steps` at `end`."""
    if epoch < start:
        return 1
    share = min((epoch - start + 1) / max(end - start, 1), 1.0)
    return 1 + math.ceil(share * (steps - 1) - 1e-9)


class WarmUp:
    """A factor of the learning rate that rises from a hundredth to 1.

    Args:
        epochs: length of the run.
        length: when it is 1, as an epoch or, up to 1, as a share of the run; 0: from the beginning.
    """

    def __init__(self, epochs: int, length: float) -> None:
        [self.end] = switch_epochs([length], epochs)

    def __call__(self, epoch: float) -> float:
        """Factor in an epoch."""
        return 1.0 if epoch >= self.end else 0.01 + 0.99 * epoch / self.end


class ConstantSchedule:
    """The same in every epoch, except for an optional cosine decay of the learning rate.

    Args:
        epochs: length of the run.
        rollout_steps: steps of the training roll-out.
        decay: `cosine` lets the learning rate fall to `final_lr_factor` at the last epoch.
        final_lr_factor: share of the learning rate that is left then.
        warmup: the learning rate rises linearly for so many epochs, or such a share of the run.
    """

    def __init__(
        self,
        epochs: PositiveInt,
        *,
        rollout_steps: PositiveInt = 1,
        decay: Decay = "cosine",
        final_lr_factor: NonNegativeFloat = 0.01,
        warmup: NonNegativeFloat = 0.0,
    ) -> None:
        self.warm = WarmUp(epochs, warmup)
        self.epochs, self.rollout_steps, self.decay, self.final = epochs, rollout_steps, decay, final_lr_factor

    def at(self, epoch: float) -> Stage:
        """See `Schedule`."""
        factor = _cosine(epoch, 0, self.epochs, self.final) if self.decay == "cosine" else 1.0
        return Stage(lr_factor=self.warm(epoch) * factor, rollout_steps=self.rollout_steps)


@dataclass(frozen=True)
class TwoRates:
    """Learning rate factor 1 before epoch `switch` and `factor` after it; a cosine falls from one to the other."""

    epochs: int
    switch: float
    factor: float
    decay: Decay
    final: float

    def at(self, epoch: float) -> float:
        """Factor in an epoch."""
        if self.decay == "constant":
            return self.factor if epoch >= self.switch else 1.0
        if epoch >= self.switch:
            final = self.final / self.factor if self.factor else 0.0
            return self.factor * _cosine(epoch, self.switch, self.epochs, final)
        return _cosine(epoch, 0, self.switch, self.factor)


class GraphFMSchedule:
    """One step at the full learning rate, then longer roll-outs at a lower one, then the divergence penalty.

    Args:
        epochs: length of the run.
        switches: where the roll-out ramp and the divergence penalty begin, as epochs or as shares of the run; the ramp
            begins with the nearest whole epoch.
        rollout_steps: length that the roll-out grows to; it has it when the divergence penalty begins.
        rollout_lr_factor: multiplies the learning rate from the first switch on.
        decay: `cosine` lets the learning rate fall to `rollout_lr_factor` until the first switch, and on to
            `final_lr_factor` until the end.
        final_lr_factor: share of the learning rate that is left then.
        warmup: the learning rate rises linearly for so many epochs, or such a share of the run.
    """

    def __init__(
        self,
        epochs: PositiveInt,
        *,
        switches: Sequence[float] = (0.7, 1.0),
        rollout_steps: PositiveInt = 2,
        rollout_lr_factor: NonNegativeFloat = 0.3,
        decay: Decay = "cosine",
        final_lr_factor: NonNegativeFloat = 0.01,
        warmup: NonNegativeFloat = 0.0,
    ) -> None:
        self.warm = WarmUp(epochs, warmup)
        if len(switches) != 2:
            raise UserError(f"schedule needs 2 switch points (roll-out, divergence), found {len(switches)}")
        self.epochs, self.rollout_steps = epochs, rollout_steps
        ramp_start, self.div_start = switch_epochs(switches, epochs)
        self.ramp_start = round(ramp_start)
        self.lr = TwoRates(epochs, self.ramp_start, rollout_lr_factor, decay, final_lr_factor)

    def at(self, epoch: float) -> Stage:
        """See `Schedule`."""
        return Stage(
            lr_factor=self.warm(epoch) * self.lr.at(epoch),
            rollout_steps=ramp(int(epoch), self.ramp_start, self.div_start, self.rollout_steps),
            div=float(epoch >= self.div_start),
        )


class GraphEFMSchedule:
    """Stages of a latent-variable model: auto-encoder, prior, longer roll-outs, ensemble score, divergence penalty.

    The Kullback-Leibler term is off until the first switch; at the second the learning rate falls and the roll-out
    begins to grow, and it has its full length when the ensemble score (CRPS) comes in at the third; the divergence
    penalty comes last.

    Args:
        epochs: length of the run.
        switches: where KL, roll-out ramp, CRPS and divergence penalty begin, as epochs or as shares of the run; the
            ramp begins with the nearest whole epoch.
        rollout_steps: length that the roll-out grows to.
        rollout_lr_factor: multiplies the learning rate from the second switch on.
        decay, final_lr_factor, warmup: as in `GraphFMSchedule`, with the second switch.
    """

    def __init__(
        self,
        epochs: PositiveInt,
        *,
        switches: Sequence[float] = (0.4, 0.6, 0.8, 0.9),
        rollout_steps: PositiveInt = 4,
        rollout_lr_factor: NonNegativeFloat = 0.1,
        decay: Decay = "constant",
        final_lr_factor: NonNegativeFloat = 0.01,
        warmup: NonNegativeFloat = 0.0,
    ) -> None:
        self.warm = WarmUp(epochs, warmup)
        if len(switches) != 4:
            raise UserError(f"schedule needs 4 switch points (KL, roll-out, CRPS, divergence), found {len(switches)}")
        self.epochs, self.rollout_steps = epochs, rollout_steps
        self.kl_start, ramp_start, self.crps_start, self.div_start = switch_epochs(switches, epochs)
        self.ramp_start = round(ramp_start)
        self.lr = TwoRates(epochs, self.ramp_start, rollout_lr_factor, decay, final_lr_factor)

    def at(self, epoch: float) -> Stage:
        """See `Schedule`."""
        return Stage(
            lr_factor=self.warm(epoch) * self.lr.at(epoch),
            rollout_steps=ramp(int(epoch), self.ramp_start, self.crps_start, self.rollout_steps),
            kl=float(epoch >= self.kl_start),
            crps=float(epoch >= self.crps_start),
            div=float(epoch >= self.div_start),
        )


class EnsembleSchedule:
    """Single steps without noise, then ensembles and their CRPS in single steps, then these in longer roll-outs.

    Args:
        epochs: length of the run.
        switches: where ensembles and the roll-out ramp begin, as epochs or as shares of the run; the ramp begins with
            the nearest whole epoch.
        rollout_steps: length that the roll-out has grown to in the last epoch.
        ensemble_lr_factor: multiplies the learning rate from the first switch on.
        noise_lr_factor: multiplies that of the weights by which noise enters once more: these begin at zero when the
            others are nearly done.
        decay, final_lr_factor, warmup: as in `GraphFMSchedule`.
    """

    def __init__(
        self,
        epochs: PositiveInt,
        *,
        switches: Sequence[float] = (0.5, 0.75),
        rollout_steps: PositiveInt = 2,
        ensemble_lr_factor: NonNegativeFloat = 0.2,
        noise_lr_factor: NonNegativeFloat = 1.0,
        decay: Decay = "cosine",
        final_lr_factor: NonNegativeFloat = 0.01,
        warmup: NonNegativeFloat = 0.0,
    ) -> None:
        if len(switches) != 2:
            raise UserError(f"schedule needs 2 switch points (ensembles, roll-out), found {len(switches)}")
        self.epochs, self.rollout_steps = epochs, rollout_steps
        self.crps_start, ramp_start = switch_epochs(switches, epochs)
        self.ramp_start = round(ramp_start)
        self.warm = WarmUp(epochs, warmup)
        self.lr = TwoRates(epochs, self.crps_start, ensemble_lr_factor, decay, final_lr_factor)
        self.noise_lr_factor = noise_lr_factor

    def at(self, epoch: float) -> Stage:
        """See `Schedule`."""
        return Stage(
            lr_factor=self.warm(epoch) * self.lr.at(epoch),
            rollout_steps=ramp(int(epoch), self.ramp_start, self.epochs, self.rollout_steps),
            crps=float(epoch >= self.crps_start),
            noise_lr_factor=self.noise_lr_factor,
        )


def _cosine(epoch: float, start: float, end: float, final: float) -> float:
    """Half a cosine from 1 in epoch `start` to `final` in epoch `end`."""
    share = min(max((epoch - start) / ((end - start) or 1), 0.0), 1.0)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share))


def schedule_table(schedule: Schedule, epochs: int) -> list[str]:
    """One line per stretch of the training in which the stage is the same but for the learning rate."""
    lines = [f"  {'epochs done':>12}  {'roll-out':>8}  {'lr factor':>16}  {'kl':>6}  {'crps':>6}  {'div':>6}"]
    for first, last, stage in _stretches(schedule, epochs):
        rates = f"{stage.lr_factor:.3g} to {schedule.at(last).lr_factor:.3g}"
        own = "" if stage.own_states is None else f"  own states up to age {stage.own_states.max_age}"
        weights = f"{stage.kl:>6.3g}  {stage.crps:>6.3g}  {stage.div:>6.3g}"
        lines.append(f"  {f'{first:g} to {last:g}':>12}  {stage.rollout_steps:>8}  {rates:>16}  {weights}{own}")
    return lines


def changes(schedule: Schedule, epochs: int | None) -> list[tuple[float, str]]:
    """Epochs at which something else than the learning rate changes, and what, in a few words.

    None, and Lightning's -1: nobody knows how many epochs there will be, and so none of what changes.
    """
    stages = [(first, stage) for first, _, stage in _stretches(schedule, max(epochs or 0, 0))]
    return [(epoch, _difference(before, after)) for (_, before), (epoch, after) in pairwise(stages)]


def _difference(before: Stage, after: Stage) -> str:
    """What a stage has that the one before had not."""
    words = []
    if after.rollout_steps != before.rollout_steps:
        words.append("1 step" if after.rollout_steps == 1 else f"{after.rollout_steps} steps")
    for name, text in (("kl", "KL"), ("crps", "CRPS"), ("div", "div B")):
        then, now = getattr(before, name), getattr(after, name)
        if then != now:
            words.append(text if not then else f"no {text}" if not now else f"{text} x {now:g}")
    if after.own_states != before.own_states:
        words.append("own states" if after.own_states else "true states")
    return ", ".join(words)


def _stretches(schedule: Schedule, epochs: int) -> Iterator[tuple[float, float, Stage]]:
    """Begin, end and first stage of each stretch."""
    first = 0.0
    moments = [epoch + quarter for epoch in range(epochs) for quarter in QUARTERS]
    for moment in [*moments[1:], float(epochs)]:
        stage = schedule.at(first)
        if moment == epochs or replace(schedule.at(moment), lr_factor=stage.lr_factor) != stage:
            yield first, moment, stage
            first = moment
