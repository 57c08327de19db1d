"""`spacecast-sweep sync`: what runs have recorded, brought into an MLflow store."""

import os
import socket
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.process.lock import alive
from spacecast.process.logs import print_line
from spacecast.sweep import queue
from spacecast.sweep.folder import FILE, Sweep
from spacecast.sweep.progress import RunProgress, progress
from spacecast.tracking.delivered import without_password
from spacecast.tracking.journal import PATTERN, RunSummary, read_summary
from spacecast.tracking.mlflow_run import DeletedError, reason
from spacecast.tracking.store import check_uri, ensure_store, sqlite_path
from spacecast.tracking.sync import Outcome, UnreachableError
from spacecast.tracking.sync import sync as deliver

DEPTH = 3  # a folder of days, that of a day, a sweep, its runs


def sync(folders: Sequence[Path], to: str | None) -> bool:
    """Deliver every journal in and below some folders, with a line for each; True when all went well.

    Args:
        folders: of runs, of sweeps, or of such folders.
        to: address of the store; None: that of each run.

    Raises:
        UserError: no such folder, nothing tracked in it, no such store.

    """
    paths = list(dict.fromkeys(path for folder in folders for path in _journals(folder)))
    store = None if to is None else _checked(to)
    going_on, silent, failed = Liveness(), set[str](), 0
    for number, path in enumerate(paths, 1):
        try:
            summary = read_summary(path)
            uri = store or summary.store
            if uri and uri in silent:
                raise UnreachableError(f"{without_password(uri)} does not answer")
            text = _told(deliver(path, store, alive=going_on(path.parent, summary)))
        except UnreachableError as error:
            silent.add(uri)
            failed, text = failed + 1, f"failed: {reason(error)}"
        except DeletedError as error:
            text = f"left alone: {reason(error)}"
        except Exception as error:  # noqa: BLE001 - the others have their turn
            failed, text = failed + 1, f"failed: {reason(error)}"
        print_line(f"[{number}/{len(paths)}] {_shown(path)}: {text}")
    if failed:
        print_line(f"{failed} of {len(paths)} runs were not delivered; the same command tries again")
    return not failed


class Liveness:
    """Whether runs still go on. One that nobody can judge from here is believed to."""

    def __init__(self) -> None:
        self._sweeps: dict[Path, dict[str, RunProgress]] = {}

    def __call__(self, run_dir: Path, summary: RunSummary) -> bool:
        """What a scheduler says of a run of a sweep or of a job, otherwise whether its process is there."""
        try:
            if (run_dir.parent / FILE).is_file() and (run := self._sweep(run_dir.parent).get(run_dir.name)):
                return run.active
            process = summary.process
            if process.get("host") == socket.gethostname():
                return alive(process["pid"], process["time"] / 1000)
            return not process.get("job") or process["job"] in self._slurm_jobs
        except UserError:
            return True

    def _sweep(self, folder: Path) -> dict[str, RunProgress]:
        """What became of the runs of a sweep, by the names of their folders."""
        if folder not in self._sweeps:
            self._sweeps[folder] = {str(each.run.number): each for each in progress(Sweep.read(folder))}
        return self._sweeps[folder]

    @cached_property
    def _slurm_jobs(self) -> Collection[str]:
        """Jobs that Slurm has."""
        return queue.active_jobs("slurm")


def _journals(folder: Path) -> list[Path]:
    """Journals in a folder and below it.

    Raises:
        UserError: there is no folder, or nothing in it.

    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder of a run, of a sweep, or of several of them")
    found = [path for depth in range(DEPTH + 1) for path in sorted(folder.glob("*/" * depth + PATTERN))]
    if not found:
        raise UserError(f"{folder} holds no run that was tracked: there is no {PATTERN} in it or below it")
    return found


def _checked(to: str) -> str:
    """The store that was typed; a file is made now."""
    uri = check_uri(to, "--to")
    try:
        return ensure_store(uri) if sqlite_path(uri) else uri
    except OSError as error:
        raise UserError(f"--to={to} cannot be made: {error}") from error


def _told(outcome: Outcome) -> str:
    """One line."""
    count = f"{outcome.sent} value{'s' if outcome.sent != 1 else ''}"
    did = f"{count} delivered to" if outcome.sent or outcome.changed else "already complete in"
    rest = f", {outcome.refused} refused" if outcome.refused else ""
    text = f"{did} {outcome.store}, {outcome.status}{rest}"
    if outcome.postponed:
        raise RuntimeError(f"{outcome.postponed} artifacts were not taken; {text}")
    return text


def _shown(path: Path) -> str:
    """The run folder as one would type it, with the journal where it is not the only one."""
    folder = Path(os.path.relpath(path.parent)) if path.is_relative_to(Path.cwd()) else path.parent
    return str(folder if path.stem == "tracking" else folder / path.name)
