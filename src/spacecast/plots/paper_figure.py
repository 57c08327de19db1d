"""A figure that can be drawn, and what is said of those that cannot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROWS = 6  # variables of a figure; more are split over several


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
