"""Progress of slow work: a bar on a terminal, a few lines in a log otherwise."""

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

log = logging.getLogger(__name__)

ProgressCallback = Callable[[str, int, int], None]  # what, done, total

STEPS = 4  # lines per task where there is no terminal
PATIENCE = 2.0  # seconds that a task may take without a line


class ProgressBar:
    """Call it as progress(what, done, total), from one thread; tasks may run side by side.

    Args:
        verb: what is done to the tasks, for example "simulating".

    """

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._told: dict[str, int] = {}
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far a task is."""
        if sys.stdout.isatty():
            self._draw(what, done, total)
        quarter = STEPS * done // max(total, 1)
        if quarter > self._told.get(what, 0) and time.monotonic() - self._since > PATIENCE:
            self._told[what] = quarter
            log.info("%s %s: %d of %d", self.verb, what, done, total, extra={"progress": True})

    def _draw(self, what: str, done: int, total: int) -> None:
        """Draw the bars."""
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns)
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(f"{self.verb} {what}", total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
