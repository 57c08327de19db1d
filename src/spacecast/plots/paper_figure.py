"""A figure that can be drawn, and what is said of those that cannot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from spacecast.plots.canvas import panes_across, size_of_now

Item = TypeVar("Item")

ROWS = 6  # variables of a figure; more are split over several


def is_turned() -> bool:
    """Whether what stands in a row on a page stands in a column, since the picture is less high or less wide."""
    return size_of_now().width is not None


def parts_of(items: Sequence[Item], most: int) -> list[list[Item]]:
    """Items split into lists of at most so many, as equal in number as can be."""
    count = -(-len(items) // most)
    ends = [len(items) * number // count for number in range(count + 1)] if count else []
    return [list(items[first:end]) for first, end in pairwise(ends)]


def numbered(name: str, number: int, count: int) -> str:
    """The name of a figure that is one of several, counted from 1; alone it keeps its name."""
    return name if count == 1 else f"{name}_{number}"


def variables_across() -> int:
    """How many variables stand beside each other where figures are turned."""
    return min(3, panes_across())


@dataclass(frozen=True)
class Figure:
    """One picture that can be drawn.

    Args:
        name: of its file, without a suffix.
        draw: writes it to the paths given and returns them.

    """

    name: str
    draw: Callable[[Sequence[Path]], list[Path]]


@dataclass(frozen=True)
class Notes:
    """What could not be drawn and why, a line each."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Keep a line, once."""
        if line not in self.lines:
            self.lines.append(line)
