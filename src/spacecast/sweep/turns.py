"""Whose turn it is: the runs of a sweep are started by one process at a time, here or by a launcher, and awaited."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from spacecast.config.command import Command, Plain
from spacecast.config.compose import conf_dir
from spacecast.core.errors import UserError
from spacecast.core.text import as_typed, several
from spacecast.process.exit_codes import USER_ERROR
from spacecast.process.lock import InUseError, locked
from spacecast.process.run_folder import CONFIG_FILE
from spacecast.process.signals import Interrupted
from spacecast.process.status import CANCELLED
from spacecast.sweep.folder import CODE, FILE, LOGS, Run, Sweep
from spacecast.sweep.launching import run_saved, submit
from spacecast.sweep.progress import failures, progress, settled, unfinished
from spacecast.sweep.saved import check_saved, read_config

POLL_SECONDS = 5.0
RECORD_SECONDS = 60.0  # the most that another command takes to record the same sweep


@contextmanager
def only_one(sweep: Sweep) -> Iterator[str | None]:
    """Within the block no other process starts runs of the sweep; None, or whoever does so already.

    Raises:
        UserError: somebody is at work in the folder who makes no sweep of it.

    """
    with ExitStack() as stack:
        until = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                stack.enter_context(locked(sweep.folder))
            except InUseError as busy:
                if (sweep.folder / FILE).exists():
                    yield busy.who
                    return
                if (sweep.folder / CONFIG_FILE).exists() or time.monotonic() > until:  # a run, and no sweep
                    raise
                time.sleep(0.1)  # the other one may be about to write it
                continue
            break
        yield None


def resume(sweep: Sweep, command: Command, changes: Plain, trusted: Sequence[str]) -> None:
    """Start again what neither has finished nor will by itself, and wait for it if so asked.

    Args:
        sweep: whose runs.
        command: that has made it.
        changes: keys of the launcher to change.
        trusted: modules, classes and functions that the runs may call beside those of conf/.

    Raises:
        UserError: the folder would run code that the user has not allowed.
        UserError, RuntimeError, Interrupted: see `conclude`.

    """
    with only_one(sweep) as under_way:
        begun = under_way or go_on(Sweep.read(sweep.folder), command, changes, trusted, {}, conf_dir())
    conclude(Sweep.read(sweep.folder), begun)


def go_on(
    sweep: Sweep,
    command: Command,
    changes: Plain,
    trusted: Sequence[str],
    composed: Mapping[int, Plain],
    conf: Path,
) -> bool:
    """Start what neither has finished nor will by itself; the snapshots of the first submission hold.

    Args:
        sweep: whose runs; the caller keeps other processes from starting any.
        command: that has made it.
        changes: keys of the launcher to change.
        trusted: modules, classes and functions that the runs may call beside those of conf/.
        composed: configurations of the runs as the user has typed them now; see `saved.check_saved`.
        conf: configuration folder in use.

    Returns:
        whether there was anything to do.

    Raises:
        UserError: the folder would run code that the user has not allowed.

    """
    from spacecast.sweep.snapshot import check_code

    states = progress(sweep, ours=True)
    runs = unfinished(states)
    if not runs:
        return False
    check_saved(sweep, runs, trusted, changes, composed)
    check_code(sweep.folder / CODE, conf, trusted)
    under_way = {f"{each.job}_submitted.pkl" for each in states if each.active}
    for pickle in (sweep.folder / LOGS).glob("*_submitted.pkl"):
        if pickle.name not in under_way:  # a new job of the same number must not find an old one's
            pickle.unlink()
    return start(sweep, command, runs, changes, trusted)


def start(sweep: Sweep, command: Command, runs: Sequence[Run], changes: Plain, trusted: Sequence[str]) -> bool:
    """Run them here, one after the other, or submit them; the caller keeps other processes from it. Returns True."""
    plain = read_config(sweep.run_dir(runs[0]))
    if not plain.get("launcher"):
        _run_here(sweep, command, runs, trusted)
        return True
    launcher = {**plain["launcher"], **changes}
    count, status = several(len(runs), "run"), as_typed("spacecast-sweep", "status", sweep.folder)
    if launcher["cluster"] == "local":
        say(f"{count}, {launcher['parallel']} at once; what they say: {sweep.folder / LOGS}")
        say(status)
        submit(sweep, runs, changes, trusted)
        return True
    sweep = submit(sweep, runs, changes, trusted)
    say(f"{count} submitted as {', '.join(dict.fromkeys(sweep.job(run)[1].partition('_')[0] for run in runs))}")
    say(status)
    return True


def conclude(sweep: Sweep, begun: str | bool) -> None:
    """After runs were started, or were not: wait for all if so asked, and say how it stands.

    Args:
        sweep: as it is now.
        begun: whether this process has started runs; text: it has not, for this other one is about to.

    Raises:
        UserError, RuntimeError: runs that failed, by a mistake of the user alone, or otherwise.
        Interrupted: runs were cancelled.

    """
    launcher = read_config(sweep.run_dir(sweep.runs[0])).get("launcher") or {}
    status = as_typed("spacecast-sweep", "status", sweep.folder)
    if isinstance(begun, str):
        say(f"the sweep is under way ({begun}), nothing was started; {status}")
    elif not begun:
        text = "has finished" if settled(progress(sweep)) else f"has finished or is under way; {status}"
        say(f"every run {text}")
    if launcher.get("wait"):
        wait(sweep.folder)
    elif begun is True and sweep.stopped:
        raise _cancelled(sweep)


def wait(folder: Path) -> None:
    """Stay until every run has ended.

    Raises:
        UserError, RuntimeError: runs that failed, by a mistake of the user alone, or otherwise.
        Interrupted: runs were cancelled.

    """
    while not settled(states := progress(sweep := Sweep.read(folder))):
        time.sleep(POLL_SECONDS)
    left = failures(states)
    if all(each.state == CANCELLED for each in left):
        if left:
            raise _cancelled(sweep)
        return
    first = next(each for each in left if each.state != CANCELLED)
    why = f": {first.why}" if first.why else ""
    text = f"{len(left)} of {several(len(states), 'run')} did not finish; run {first.run.number} {first.state}{why}"
    status = as_typed("spacecast-sweep", "status", folder)
    if all(each.status.get("exit_code") == USER_ERROR for each in left):
        raise UserError(f"{text} ({status})")
    error = RuntimeError(text)
    error.log_file = status  # type: ignore[attr-defined]
    raise error


def _cancelled(sweep: Sweep) -> Interrupted:
    """How a command ends whose runs `spacecast-sweep cancel` has ended."""
    stop = Interrupted("spacecast-sweep cancel")
    stop.explain(f"the sweep was cancelled; {as_typed('spacecast-sweep', 'resume', sweep.folder)} goes on")
    return stop


def _run_here(sweep: Sweep, command: Command, runs: Sequence[Run], trusted: Sequence[str]) -> None:
    """In this process; a run that fails does not keep the others from theirs."""
    failed: list[Exception] = []
    sweep = sweep.await_turns(runs)
    for run in runs:
        if sweep.stopped:
            break
        sweep = sweep.started(run)
        say(f"run {run.number + 1} of {len(sweep.runs)}{': ' + run.name if run.name else ''}")
        try:
            run_saved(command, sweep.run_dir(run), trusted)
        except Exception as error:  # noqa: BLE001 - raised again below
            failed.append(error)
    if failed:
        raise failed[0]


def say(text: str) -> None:
    """A line on the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
