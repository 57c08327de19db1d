"""The length of a training that takes so many seconds, from short ones: its schedule must come to its end."""

import math
from collections.abc import Callable
from typing import NamedTuple

from spacecast.core.errors import UserError

FIRST, SHARES = 1, (1 / 16, 1 / 4)  # windows per epoch of the first short training; share of the seconds of the others


class Plan(NamedTuple):
    """Length of a training.

    Args:
        epochs: of which the schedule's stages are shares.
        windows: optimiser steps per epoch.
        measured: windows per epoch and seconds of each short training of as many epochs as the configuration has.

    """

    epochs: int
    windows: int
    measured: tuple[tuple[int, float], ...]


def make_plan(seconds: float, epochs: int, most: int, measure: Callable[[int], float]) -> Plan:
    """A training of so many seconds: a straight line through short trainings with the whole schedule each.

    Args:
        seconds: of the training.
        epochs: that the configuration has; more where an epoch would have more windows than there are.
        most: training windows that there are.
        measure: trains with so many windows per epoch; the seconds that it took.

    Raises:
        UserError: the seconds are too few.

    """
    points = [(FIRST, measure(FIRST))]
    for share in SHARES:
        least = 2 * FIRST if len(points) == 1 else 1  # a line needs two points
        windows = min(max(_reach(points, share * seconds), least), most)
        if windows > points[-1][0]:
            points.append((windows, measure(windows)))
    fixed, each = _line(points)
    fixed, each = fixed / epochs, each / epochs  # of an epoch, of a step
    for length in range(epochs, 100 * epochs):
        windows = math.floor((seconds / length - fixed) / each)
        if windows <= most:
            if windows < 1:
                least = length * (fixed + each)
                raise UserError(f"{seconds:g} s are too few: {length} epochs of one step take {least:.0f} s")
            return Plan(length, windows, tuple(points))
    raise UserError(f"{seconds:g} s are more than {100 * epochs} epochs; give fewer")


def _line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Seconds without windows, and seconds of a window in each epoch, from the shortest and the longest training."""
    (few, short), (many, long) = points[0], points[-1]
    each = (long - short) / (many - few) if many > few else 0.0
    if each <= 0 or short < each * few:  # of trainings that are too short to tell
        return 0.0, long / many
    return short - each * few, each


def _reach(points: list[tuple[int, float]], seconds: float) -> int:
    """Windows per epoch of a training of so many seconds, as far as it can be told yet."""
    fixed, each = _line(points)
    return max(math.floor((seconds - fixed) / each), 1)
