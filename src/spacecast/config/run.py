"""The work of a command for one configuration: the same in the process of the command and in a job of a scheduler."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacecast.config.command import Command, Inputs, Plain, command_of
from spacecast.core.errors import UserError
from spacecast.process.exit_codes import DONE, GOES_ON, INTERNAL_ERROR, USER_ERROR
from spacecast.process.lock import locked
from spacecast.process.logs import close_logs
from spacecast.process.run_folder import read_facts
from spacecast.process.signals import first_process, interruptible
from spacecast.process.status import FAILED, FINISHED, INTERRUPTED, RUNNING, here, read_status, write_status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its records.

    Args:
        path: of the folder; a run goes on from a checkpoint there.
        log_name: name of the log file without its suffix.
        again: what to give as `paths.run_dir` to go on after an interruption.
        status: whether `status.json` says how it goes.

    """

    path: Path
    log_name: str
    again: Path
    status: bool = True


def run_task(
    command: Command,
    inputs: Callable[[], Inputs[Any]],
    start_logs: Callable[[], object],
    folder: RunFolder | None = None,
) -> Any:
    """Do the work of a command; meanwhile no other process is at work in its folder.

    Args:
        command: whose work.
        inputs: gives what has been checked; a mistake in it counts as one of the run.
        start_logs: sets up what is said on the terminal and in the log file.
        folder: of the run; None: it keeps no records.

    Raises:
        UserError: another process is at work in the folder.
        Exception: whatever the work raises, with its traceback in the log and the attribute `log_file`.

    """
    writes = folder is not None and first_process()
    with locked(folder.path) if folder and writes else nullcontext():
        start_logs()
        logging.captureWarnings(True)
        recorded = _recorded(folder.path) if folder and writes and folder.status else nullcontext()
        try:
            with recorded, interruptible(folder.again if folder else None):
                return _worked(command, inputs, folder)
        finally:
            if folder:
                close_logs(folder.path)


def run_part(path: str, plain: Plain) -> None:
    """The work of a command in a further process that shares it, see `forecast.processes.started`.

    Args:
        path: of the command.
        plain: its checked configuration, the same in all processes.

    """
    command = command_of(path)
    command.task(Inputs.of(plain, command.schema))


def _worked(command: Command, inputs: Callable[[], Inputs[Any]], folder: RunFolder | None) -> Any:
    """What the work returns; what it raises is in the log as well."""
    try:
        return command.task(inputs())
    except UserError as error:
        log.error("%s", error, extra={"told_at_end": True})
        raise
    except Exception as error:
        log.exception("internal error")
        if folder:
            error.log_file = f"traceback in {folder.path / folder.log_name}.log"  # type: ignore[attr-defined]
        raise


@contextmanager
def _recorded(run_dir: Path) -> Iterator[None]:
    """Keep `status.json` up to date within the block; what it raises goes through."""

    def note(state: str, code: int, error: object = None) -> None:
        """Write how it ended."""
        line = None if error is None else " ".join(str(error).split())[:500]
        tracked = read_facts(run_dir).get("mlflow_run_id")
        write_status(run_dir, state=state, exit_code=code, error=line, mlflow_run_id=tracked)

    starts = read_status(run_dir).get("starts", 0) + 1
    write_status(run_dir, state=RUNNING, exit_code=None, error=None, starts=starts, **here())
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as leaving:
        told = isinstance(getattr(leaving, "code", None), str) or not isinstance(leaving, SystemExit)
        note(INTERRUPTED, GOES_ON, leaving if told else "ended by a signal, to be continued")
        raise
    except UserError as error:
        note(FAILED, USER_ERROR, error)
        raise
    except BaseException as error:
        note(FAILED, INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        raise
    note(FINISHED, DONE)
