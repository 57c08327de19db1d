"""Beside a journal: where its run is in each store, how much of it is there, and a lock."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def read_place(path: Path | None, store: str) -> tuple[str, int]:
    """Run in a store, and up to where the journal has been delivered to it; empty and 0 when nobody has noted that."""
    noted = _places(path).get(public(store), {}) if path else {}
    return str(noted.get("run_id", "")), int(noted.get("delivered", 0))


def note_place(path: Path | None, store: str, run_id: str, delivered: int) -> None:
    """Note in `tracking.json` what `read_place` gives. A place that cannot be written only costs time later."""
    if path is None:
        return
    partial = path.with_name(f".{path.stem}.json.{os.getpid()}")
    places = _places(path) | {public(store): {"run_id": run_id, "delivered": delivered}}
    try:
        partial.write_text(json.dumps(places, indent=1) + "\n")
        partial.replace(path.with_suffix(".json"))
    except OSError as error:
        log.info("tracking: %s", error)


def _places(path: Path) -> dict[str, Any]:
    """Everything that was noted."""
    try:
        found = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def public(store: str) -> str:
    """An address without user and password."""
    head, slashes, rest = store.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head}{slashes}{host.rpartition('@')[2]}{slash}{path}"


@contextmanager
def exclusive(path: Path | None, seconds: float) -> Iterator[None]:
    """Let one process at a time find or make the run of a journal. Where locks do not work, go without.

    Raises:
        Timeout: another one holds on to it; an OSError.

    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=seconds) if path else None
    try:
        if lock is not None:
            lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        log.info("tracking: %s", error)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
