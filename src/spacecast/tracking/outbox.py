"""A queue between training and a store that may be slow, full, locked or gone."""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

log = logging.getLogger(__name__)


class Record(NamedTuple):
    """One call for the store: the name of a client method and its keyword arguments, plain types."""

    method: str
    arguments: dict[str, Any]


class Outbox:
    """Delivers records in order and never raises.

    What cannot be delivered waits in memory and is tried again, at growing intervals, when the next record comes; the
    first failure is told in one warning, and so is the recovery.

    Args:
        deliver: hands one record to the store; raises when that fails.
        hopeless: True for an error that would come again for the same record, which is then dropped with a warning.
        retry_seconds: pause after the first failure, doubled after each further one up to ten minutes.
        limit: records kept; beyond it the oldest are dropped.

    """

    def __init__(
        self,
        deliver: Callable[[Record], None],
        hopeless: Callable[[Exception], bool],
        retry_seconds: float = 30.0,
        limit: int = 20_000,
    ) -> None:
        self._deliver = deliver
        self._hopeless = hopeless
        self._base = retry_seconds
        self._pause = retry_seconds
        self._retry_at = 0.0
        self._down = False
        self.waiting: deque[Record] = deque(maxlen=limit)

    def send(self, record: Record) -> None:
        """Queue a record and deliver what waits, unless the store has just failed."""
        self.waiting.append(record)
        if time.monotonic() >= self._retry_at:
            self.flush()

    def flush(self) -> bool:
        """Deliver everything that waits; False when the store does not take it."""
        while self.waiting:
            record = self.waiting[0]
            try:
                self._deliver(record)
            except Exception as error:  # noqa: BLE001 - whatever a store raises must not end a training
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                if not self._hopeless(error):
                    self._fail(reason)
                    return False
                log.warning("tracking: the store refused %s: %s", record.method, reason)
            self.waiting.popleft()
        if self._down:
            log.warning("tracking: the store takes records again; nothing that waited is lost")
        self._down, self._pause, self._retry_at = False, self._base, 0.0
        return True

    def _fail(self, reason: str) -> None:
        """Warn once and pause."""
        if not self._down:
            log.warning("tracking: the store is not reachable (%s); training goes on, records wait in memory", reason)
        self._down = True
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, 600.0)
