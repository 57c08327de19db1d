"""Signals: a handler only takes a note; training acts on it at the end of a batch, everything else at once.

Outside of a scheduler SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 all mean: save and end, with exit code 75. In a batch job of
Slurm the scheduler ends the job, and a process that leaves before that would count as completed or failed instead of
being requeued: there SIGTERM and SIGUSR1 mean save and go on, and the signal of the time limit (the one that submitit
asks for, SIGUSR2) means save, then do what whoever listened before wanted to do: requeue the job.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from spacecast.core.text import as_typed
from spacecast.process.exit_codes import AT_ONCE, Interrupted

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def in_batch_job(environment: Mapping[str, str]) -> bool:
    """Whether Slurm runs this process as a batch job, by the same rule as Lightning: not by hand in an allocation."""
    return "SLURM_JOB_ID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def first_process() -> bool:
    """Whether this is the process that writes: the only one, or rank 0 of a distributed run."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


class Interruption:
    """What signals have asked for.

    Args:
        environment: of the process.

    `save` and `leave` are the notes; `name` is the last signal's. Use `listening` around all the work and `deferred`
    around the part that looks at the notes itself; parts far apart find each other by `current`.

    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.scheduled = in_batch_job(environment)
        self.requeue = signal.Signals[f"SIG{environment.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        self.save = self.leave = False
        self.name = "signal"
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def listening(self) -> Iterator["Interruption"]:
        """Receive signals within the block, if this is the main thread; afterwards whoever listened before does."""
        global _current
        outer, _current = _current, self
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.install()
        try:
            yield self
        finally:
            _current = outer
            for number, handler in self._before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def install(self) -> None:
        """Put the handlers in place again, over those of Lightning; nothing happens outside of `listening`."""
        for number in self._before:
            signal.signal(number, self._note)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block signals are only noted; the block is ended by whoever reads the notes."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def check(self) -> None:
        """End now if that was asked for."""
        if self.leave:
            raise Interrupted(self.name)

    def hand_over(self) -> None:
        """In a batch job: let whoever listened before (submitit) requeue it; that does not return where it works."""
        handler: Callable[[int, FrameType | None], Any] | Any = self._before.get(self.requeue)
        if not self.scheduled or self.name != self.requeue.name or not callable(handler):
            return
        for number in (signal.SIGTERM, self.requeue):
            signal.signal(number, signal.SIG_IGN)
        if handler is not signal.default_int_handler:
            handler(self.requeue, None)

    def _note(self, number: int, _: FrameType | None) -> None:
        """The handler: no input or output, nothing collective."""
        again, name = self.leave and self.name == "SIGINT", signal.Signals(number).name
        if again and number == signal.SIGINT:
            raise Interrupted(name, AT_ONCE)
        if self.scheduled and number not in (self.requeue, signal.SIGINT):
            self.save = True
            return
        if self.leave and number != signal.SIGINT:
            return
        self.leave, self.name = True, name
        if not self._deferred:
            raise Interrupted(name)


_current = Interruption({})


def current() -> Interruption:
    """The one that listens; outside of any `listening` one that hears nothing."""
    return _current


@contextmanager
def interruptible(run_dir: Path | None) -> Iterator[None]:
    """Around the work of a command: signals end it with exit code 75, or hand it over to the scheduler.

    Args:
        run_dir: what to give as `paths.run_dir` to go on, where there is something.

    """
    with Interruption().listening() as interruption:
        try:
            yield
        except Interrupted as stop:
            if not first_process():
                raise SystemExit(0) from None  # the first process gives the exit code
            where = "" if run_dir is None else f" with {as_typed(f'paths.run_dir={run_dir}')}"
            stop.explain(f"interrupted by {stop.name}; the same command{where} goes on")
            log.warning("%s", stop, extra={"told_at_end": True})
            with suppress(Interrupted):  # where nobody but `run_command` listened before
                interruption.hand_over()
            raise
