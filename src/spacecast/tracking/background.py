"""A thread that carries the journal of a run to its store, so that training never waits for the store."""

import logging
import threading
import time
from collections.abc import Callable

from spacecast.tracking.delivered import note_delivered, read_delivered, without_password
from spacecast.tracking.journal import Journal
from spacecast.tracking.mlflow_run import DeletedError, MlflowRun, reason

log = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two looks into the journal
NOTE_SECONDS = 60.0
LONGEST_PAUSE = 300.0

OpenRun = Callable[[str, bool], MlflowRun]
"""Opens the run in the store, by the identifier that it had last; says whether another is made for a deleted one."""


class BackgroundDelivery:
    """Delivers what the journal holds, in order, and never raises.

    A store that fails is left alone for a while, and after each further failure for twice as long; then everything
    from the first record that may not have arrived is sent again. The first failure is told in one warning, and so is
    the recovery.

    Args:
        journal: what to carry.
        store: address of the store, for the notes beside the journal.
        open_run: see `OpenRun`; it raises when that fails.
        retry_seconds: pause after the first failure.

    `run_id` is the identifier in the store, empty as long as there is none.

    """

    def __init__(self, journal: Journal, store: str, open_run: OpenRun, retry_seconds: float = 30.0) -> None:
        self._journal, self._store, self._open_run = journal, store, open_run
        self.run_id, self._delivered = read_delivered(journal.path, store)
        self._run: MlflowRun | None = None
        self._opened = self._compare = self._down = self._gone = self._last = False
        self._postponed: int | None = None  # before the first artifact that was not taken
        self._base = self._pause = retry_seconds
        self._noted = 0.0
        self._begun = self._ended = 0
        self._state = threading.Condition()
        self._urgent = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def wait(self, seconds: float, *, last: bool = False) -> bool:
        """Deliver now, and wait for that; True when everything so far has arrived."""
        size = self._journal.size
        with self._state:
            self._last = last
            ticket = self._begun + 1
            self._urgent.set()
            self._state.wait_for(lambda: self._ended >= ticket, seconds)
            return self._delivered >= size

    def close(self, seconds: float) -> int:
        """Try a last time, for some seconds; the number of records that have not arrived."""
        self.wait(seconds, last=True)
        self._thread.join(0.1)
        waiting = self._delivered if self._postponed is None else self._postponed
        count = sum(len(records) for records, _ in self._journal.pieces(waiting))
        if not self._thread.is_alive():
            self._journal.close()
        return count

    def _work(self) -> None:
        """The thread."""
        while True:
            self._urgent.wait(self._pause if self._down else INTERVAL)
            self._urgent.clear()
            with self._state:
                last = self._last
                self._begun += 1
            self._try(last)
            with self._state:
                self._ended = self._begun
                self._state.notify_all()
            if last:
                return

    def _try(self, last: bool) -> None:
        """One attempt; whatever a store raises must not end a training."""
        try:
            if not self._gone:
                self._deliver(last)
        except DeletedError as error:
            log.warning("tracking: %s; nothing more is sent", error)
            self._gone = True
        except Exception as error:  # noqa: BLE001 - see above
            self._run = None
            if self._down:
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            else:
                kept = "" if self._journal.path is None else f", records are kept in {self._journal.path}"
                text = "tracking: the store %s is not reachable (%s); training goes on%s"
                log.warning(text, without_password(self._store), reason(error), kept)
            self._down = True
        else:
            if self._down and not self._gone:
                log.warning("tracking: the store takes records again; nothing that waited is lost")
            self._down, self._pause = False, self._base

    def _deliver(self, last: bool) -> None:
        """Everything that the journal holds."""
        run = self._run or self._open()
        if last and self._postponed is not None:
            self._delivered, self._postponed, self._compare, run.postponed = self._postponed, None, True, 0
        for records, end in self._journal.pieces(self._delivered):
            run.send(records, compare=self._compare)
            if run.postponed and self._postponed is None:
                self._postponed = self._delivered
            if "end" in records[-1] and end == self._journal.size:
                run.set_status(records[-1]["end"], records[-1]["time"])
            self._delivered = end
        self._compare = False
        if last or time.monotonic() > self._noted + NOTE_SECONDS:
            self._note()

    def _open(self) -> MlflowRun:
        """Find or make the run, which is RUNNING from now on."""
        run = self._open_run(self.run_id, not self._opened)
        if run.run_id != self.run_id:
            self.run_id, self._delivered, self._postponed = run.run_id, 0, None
        self._note()
        run.set_status("RUNNING")
        self._compare = not run.created
        self._run, self._opened = run, True
        return run

    def _note(self) -> None:
        """Write down how far it is."""
        delivered = self._delivered if self._postponed is None else self._postponed
        note_delivered(self._journal.path, self._store, self.run_id, delivered)
        self._noted = time.monotonic()
