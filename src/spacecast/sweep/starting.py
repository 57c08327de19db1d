"""The runs of a sweep are started by one process at a time, here or by a launcher, and awaited."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from spacecast.config.command import Command, Plain
from spacecast.config.compose import conf_dir
from spacecast.core.errors import UserError
from spacecast.core.text import as_typed, several
from spacecast.process.exit_codes import USER_ERROR, Interrupted
from spacecast.process.lock import InUseError, locked
from spacecast.process.logs import print_line
from spacecast.process.run_folder import CONFIG_FILE
from spacecast.process.status import CANCELLED
from spacecast.sweep.folder import CODE, FILE, LOGS, Run, Sweep
from spacecast.sweep.progress import progress, settled, unfinished
from spacecast.sweep.saved import check_saved, read_config, run_saved
from spacecast.sweep.snapshot import check_code, snapshot
from spacecast.sweep.submission import submit

POLL_SECONDS = 5.0
RECORD_SECONDS = 60.0  # the most that another command takes to record the same sweep


@contextmanager
def exclusive(sweep: Sweep) -> Iterator[str | None]:
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
    with exclusive(sweep) as under_way:
        begun = under_way or start_missing(Sweep.read(sweep.folder), command, changes, trusted, {}, conf_dir())
    conclude(Sweep.read(sweep.folder), begun)


def start_missing(
    sweep: Sweep,
    command: Command,
    changes: Plain,
    trusted: Sequence[str],
    composed: Mapping[int, Plain],
    conf: Path,
) -> bool:
    """Start what neither has finished nor will by itself; the code of the first submission holds where it is there.

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
    states = progress(sweep, ours=True)
    runs = [each.run for each in unfinished(states)]
    if not runs:
        return False
    check_saved(sweep, runs, trusted, changes, composed)
    check_code(sweep.folder / CODE, conf, trusted)
    plains = {str(run.number): read_config(sweep.run_dir(run)) for run in runs}
    if any(plain.get("launcher") for plain in plains.values()):
        snapshot(sweep.folder / CODE, conf, plains)  # where the user has removed it
    under_way = {f"{each.job}_submitted.pkl" for each in states if each.active}
    for pickle in (sweep.folder / LOGS).glob("*_submitted.pkl"):
        if pickle.name not in under_way:  # a new job of the same number must not find an old one's
            pickle.unlink()
    start(sweep, command, runs, changes, trusted)
    return True


def start(sweep: Sweep, command: Command, runs: Sequence[Run], changes: Plain, trusted: Sequence[str]) -> None:
    """Run them here, one after the other, or submit them; the caller keeps other processes from it."""
    section = read_config(sweep.run_dir(runs[0])).get("launcher")
    if not section:
        _run_here(sweep, command, runs, trusted)
        return
    launcher = {**section, **changes}
    count, status = several(len(runs), "run"), as_typed("spacecast-sweep", "status", sweep.folder)
    if launcher["cluster"] == "local":
        print_line(f"{count}, {launcher['parallel']} at once; what they say: {sweep.folder / LOGS}")
        print_line(status)
        submit(sweep, runs, changes, trusted)
        return
    sweep = submit(sweep, runs, changes, trusted)
    jobs = dict.fromkeys(sweep.job(run)[1].partition("_")[0] for run in runs)
    print_line(f"{count} submitted as {', '.join(jobs)}")
    print_line(status)


def _run_here(sweep: Sweep, command: Command, runs: Sequence[Run], trusted: Sequence[str]) -> None:
    """In this process; a run that fails does not keep the others from theirs."""
    failed: list[Exception] = []
    sweep = sweep.await_turns(runs)
    for run in runs:
        if sweep.stopped:
            break
        sweep = sweep.started(run)
        print_line(f"run {run.number + 1} of {len(sweep.runs)}{': ' + run.name if run.name else ''}")
        try:
            run_saved(command, sweep.run_dir(run), trusted)
        except Exception as error:  # noqa: BLE001 - raised again below
            failed.append(error)
    if failed:
        raise failed[0]


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
        print_line(f"the sweep is under way ({begun}), nothing was started; {status}")
    elif not begun:
        text = "has finished" if settled(progress(sweep)) else f"has finished or is under way; {status}"
        print_line(f"every run {text}")
    if launcher.get("wait"):
        _wait(sweep.folder)
    elif begun is True and sweep.stopped:
        raise _cancelled(sweep)


def _wait(folder: Path) -> None:
    """Stay until every run has ended; raises as `conclude` does."""
    while not settled(states := progress(sweep := Sweep.read(folder))):
        time.sleep(POLL_SECONDS)
    left = unfinished(states)
    failed = [each for each in left if each.state != CANCELLED]
    if left and not failed:
        raise _cancelled(sweep)
    if not failed:
        return
    why = f": {failed[0].why}" if failed[0].why else ""
    ended = f"run {failed[0].run.number} {failed[0].state}{why}"
    text = f"{len(left)} of {several(len(states), 'run')} did not finish; {ended}"
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
