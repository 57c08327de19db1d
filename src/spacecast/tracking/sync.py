"""Journals brought into stores after the fact: what is missing there, the right status, and nothing twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.tracking.delivery import DeletedError, Delivery, reason
from spacecast.tracking.journal import Journal, Story, story_of
from spacecast.tracking.places import note_place, one_at_a_time, public, read_place
from spacecast.tracking.store import check_uri, sqlite_path

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
        held: artifacts that the store did not take.
        refused: records that no store will take.

    """

    store: str
    run_id: str
    status: str
    sent: int
    changed: bool
    held: int
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
        story = story_of(journal)
        if not story.run:
            raise ValueError(f"{path} does not say whose run it is")
        if not store and not story.store:
            raise ValueError("the run was told no store; give one with --to")
        uri = check_uri(store or story.store)
        hint, noted = read_place(path, uri)
        delivery = _open(uri, story, hint, path.parent, inside=not store)
        known = delivery.run_id == hint and _agree(journal, noted, delivery.metrics)
        for records, end in journal.pieces(noted if known else 0):
            delivery.send(records, compare=not delivery.created)
            if not delivery.held:
                note_place(path, uri, delivery.run_id, end)
        status = story.ended or ("RUNNING" if alive else "KILLED")
        changed = delivery.created or delivery.status != status
        delivery.set_status(status, story.last)
        return Outcome(public(uri), delivery.run_id, status, delivery.sent, changed, delivery.held, delivery.refused)


def _open(uri: str, story: Story, hint: str, folder: Path, *, inside: bool) -> Delivery:
    """The run in a store; the file of another machine is not made here."""
    path = sqlite_path(uri)
    if path is not None and not path.parent.is_dir():
        raise UnreachableError(f"there is no folder {path.parent} here; give a store with --to")
    try:
        return Delivery(uri, story, [hint], folder, inside=inside)
    except (UserError, DeletedError):
        raise
    except Exception as error:
        raise UnreachableError(f"{public(uri)} does not answer: {reason(error)}") from error


def _agree(journal: Journal, noted: int, found: Mapping[str, float]) -> bool:
    """Whether the newest values of all metrics, up to what was noted, are those of the store."""
    story = Story()
    for records, _ in journal.pieces(0, noted):
        story.add(records)
    pairs = [(value, found.get(name)) for name, (_, _, value) in story.latest.items()]
    return all(there is not None and str(value) == str(there) for value, there in pairs)  # NaN is NaN
