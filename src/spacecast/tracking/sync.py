"""Journals brought into stores after the fact: what is missing there, the right status, and nothing twice."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.tracking.delivered import note_delivered, one_at_a_time, read_delivered, without_password
from spacecast.tracking.journal import PATTERN, Journal, RunSummary, read_summary, summarise
from spacecast.tracking.mlflow_run import DeletedError, MlflowRun, connect, find_run, reason
from spacecast.tracking.store import check_uri, sqlite_path

log = logging.getLogger(__name__)

LOCK_SECONDS = 600.0


class UnreachableError(RuntimeError):
    """A store does not answer."""


@dataclass(frozen=True)
class Outcome:
    """What has come of a journal.

    Args:
        store: where it was delivered.
        run_id: of the run there.
        status: of that run.
        sent: points, parameters, tags and artifacts that were missing there.
        changed: whether the run was made, or its status set.
        postponed: artifacts that the store did not take.
        refused: records that no store will take.

    """

    store: str
    run_id: str
    status: str
    sent: int
    changed: bool
    postponed: int
    refused: int


def sync(path: Path, store: str | None = None, *, alive: bool = False) -> Outcome:
    """Bring a journal into a store; what is there already stays as it is.

    What was noted as delivered is believed when the newest values in the store are those of the journal, and compared
    record by record otherwise, so a store that was set back is filled up again. It may be ended and repeated at any
    point, and run beside the process of the run.

    Args:
        path: the journal.
        store: where to; default: the one that the run was told to use.
        alive: whether the run still goes on. One that does not, and has not said how it ended, becomes KILLED.

    Raises:
        UserError: the address is none.
        UnreachableError: the store does not answer.
        DeletedError: the run was deleted in the store.
        OSError, MlflowException: the store or the journal failed on the way.

    """
    with one_at_a_time(path, LOCK_SECONDS), Journal(path, writing=False) as journal:
        summary = summarise(journal)
        if not summary.run:
            raise ValueError(f"{path} does not say whose run it is")
        if not store and not summary.store:
            raise ValueError("the run was told no store; give one with --to")
        uri = check_uri(store or summary.store)
        hint, noted = read_delivered(path, uri)
        run = _open(uri, summary, hint, path.parent, inside=not store)
        known = run.run_id == hint and _agree(journal, noted, run.metrics)
        for records, end in journal.pieces(noted if known else 0):
            run.send(records, compare=not run.created)
            if not run.postponed:
                note_delivered(path, uri, run.run_id, end)
        status = summary.ended or ("RUNNING" if alive else "KILLED")
        changed = run.created or run.status != status
        run.set_status(status, summary.last)
        place = without_password(uri)
        return Outcome(place, run.run_id, status, run.sent, changed, run.postponed, run.refused)


def close_abandoned(run_dir: Path) -> None:
    """Close the MLflow runs of a folder whose process is gone, delivering nothing; a failure costs a warning."""
    for path in sorted(run_dir.glob(PATTERN)):
        try:
            summary = read_summary(path)
            known = sqlite_path(summary.store)
            if not summary.store or (known is not None and not known.exists()):
                continue
            client, uri = connect(summary.store)
            run = find_run(client, summary.run, [read_delivered(path, uri)[0]])
            if run is not None and run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, summary.ended or "KILLED", summary.last)
        except Exception as error:  # noqa: BLE001 - whatever the store does, the command goes on
            log.warning("tracking: the run of %s could not be closed: %s", run_dir, reason(error))


def _open(uri: str, summary: RunSummary, hint: str, folder: Path, *, inside: bool) -> MlflowRun:
    """The run in a store; the file of another machine is not made here."""
    path = sqlite_path(uri)
    if path is not None and not path.parent.is_dir():
        raise UnreachableError(f"there is no folder {path.parent} here; give a store with --to")
    try:
        return MlflowRun(uri, summary, [hint], folder, inside=inside)
    except (UserError, DeletedError):
        raise
    except Exception as error:
        raise UnreachableError(f"{without_password(uri)} does not answer: {reason(error)}") from error


def _agree(journal: Journal, noted: int, found: Mapping[str, float]) -> bool:
    """Whether the newest values of all metrics, up to what was noted, are those of the store."""
    summary = RunSummary()
    for records, _ in journal.pieces(0, noted):
        summary.add(records)
    pairs = [(value, found.get(name)) for name, (_, _, value) in summary.latest.items()]
    return all(there is not None and str(value) == str(there) for value, there in pairs)  # NaN is NaN
