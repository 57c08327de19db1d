"""Beside a journal: where its run is in each store, how much of it is there, and a lock."""

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from spacecast.process.files import read_json, write_json
from spacecast.process.lock import exclusive

log = logging.getLogger(__name__)


def read_delivered(path: Path | None, store: str) -> tuple[str, int]:
    """Run in a store, and up to where the journal has been delivered to it; empty and 0 when nobody has noted that."""
    noted = read_json(path.with_suffix(".json")).get(without_password(store), {}) if path else {}
    return str(noted.get("run_id", "")), int(noted.get("delivered", 0))


def note_delivered(path: Path | None, store: str, run_id: str, delivered: int) -> None:
    """Note in `tracking.json` what `read_delivered` gives. A place that cannot be written only costs time later."""
    if path is None:
        return
    file = path.with_suffix(".json")
    try:
        write_json(file, read_json(file) | {without_password(store): {"run_id": run_id, "delivered": delivered}})
    except OSError as error:
        log.info("tracking: %s", error)


def without_password(store: str) -> str:
    """An address without user and password."""
    head, slashes, rest = store.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def one_at_a_time(path: Path | None, seconds: float) -> AbstractContextManager[object]:
    """Let one process at a time find or make the run of a journal; see `process.lock.exclusive`."""
    if path is None:
        return nullcontext()
    return exclusive(path.with_name(f".{path.name}.lock"), f"journal {path}", seconds)
