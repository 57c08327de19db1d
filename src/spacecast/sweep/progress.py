"""What became of the runs of a sweep: the status files held against what the scheduler still has."""

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from spacecast.process.lock import holder
from spacecast.process.status import (
    CANCELLED,
    FINISHED,
    INTERRUPTED,
    LOST,
    RUNNING,
    UNSTARTED,
    WAITING,
    read_status,
    write_status,
)
from spacecast.sweep.folder import LOGS, Run, Sweep
from spacecast.sweep.queue import ENDING, active_jobs, why_gone

CANCELLED_WHY = "by spacecast-sweep cancel"


@dataclass(frozen=True)
class RunProgress:
    """One run of a sweep now.

    Args:
        run: which one.
        state: as in `status.json`, or `unstarted`, `waiting` for its turn in a command that is at work, or `queued` in
            the scheduler.
        active: whether it runs or will run without anybody's doing.
        job: number in the scheduler.
        status: its file; empty when it has never started.
        why: one line.

    """

    run: Run
    state: str
    active: bool
    job: str
    status: Mapping[str, Any]
    why: str = ""


def progress(sweep: Sweep, *, ours: bool = False) -> list[RunProgress]:
    """State of every run. A run that died without a word is marked LOST in its status file.

    Args:
        sweep: whose runs.
        ours: this process is the one to start runs, so that none waits for its turn in another.

    Raises:
        UserError: Slurm does not answer.

    """
    queues = {cluster: active_jobs(cluster) for cluster in _clusters(sweep)}
    turns = sweep.waiting if not ours and holder(sweep.folder) else ()
    return [_one(sweep, run, queues, run.number in turns) for run in sweep.runs]


def unfinished(states: Iterable[RunProgress]) -> list[RunProgress]:
    """Runs that neither have finished nor will without anybody's doing."""
    return [each for each in states if each.state != FINISHED and not each.active]


def settled(states: Iterable[RunProgress]) -> bool:
    """Whether nothing is left to wait for."""
    return not any(each.active for each in states)


def tally(states: Sequence[RunProgress]) -> str:
    """How many runs there are, and how many in each state."""
    counts = Counter(each.state for each in states)
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _clusters(sweep: Sweep) -> set[str]:
    """Schedulers to ask: those of runs that have not finished."""
    open_runs = (run for run in sweep.runs if read_status(sweep.run_dir(run)).get("state") != FINISHED)
    return {sweep.job(run)[0] for run in open_runs} - {""}


def _one(sweep: Sweep, run: Run, queues: Mapping[str, Mapping[str, tuple[str, str]]], waits: bool) -> RunProgress:
    """State of one run."""
    status = read_status(sweep.run_dir(run))
    state, (cluster, job) = status.get("state", ""), sweep.job(run)
    if state == FINISHED:
        return RunProgress(run, FINISHED, False, job, status)
    if waits and not sweep.stopped:
        return RunProgress(run, WAITING, True, "", status)
    queued, remark = queues.get(cluster, {}).get(job, ("", ""))
    if queued:
        ending = remark == ENDING and state not in ("", RUNNING)
        now, why = (state, status.get("error", "")) if ending else (queued, remark.replace(ENDING, ""))
        return RunProgress(run, now, True, job, status, why)
    if cluster != "slurm" and state == RUNNING and _alive(status, job):
        return RunProgress(run, RUNNING, True, job, status)
    if _was_cancelled(sweep, run, state, job):
        write_status(sweep.run_dir(run), state=CANCELLED, error=CANCELLED_WHY)
        return RunProgress(run, CANCELLED, False, job, read_status(sweep.run_dir(run)), CANCELLED_WHY)
    if not state or (job and status.get("job") != job):  # nothing, or only what an earlier submission left
        why = why_gone(cluster, job, sweep.folder / LOGS) if job else ""
        return RunProgress(run, LOST if job else state or UNSTARTED, False, job, status, why)
    if state == RUNNING or (state == INTERRUPTED and cluster == "slurm"):  # Slurm would have queued it again
        why = (why_gone(cluster, job, sweep.folder / LOGS) if job else "") or "it is gone without a word"
        state = CANCELLED if "CANCELLED" in why else LOST
        write_status(sweep.run_dir(run), state=state, error=why)
        status = read_status(sweep.run_dir(run))
    return RunProgress(run, state, False, job, status, status.get("error", ""))


def _was_cancelled(sweep: Sweep, run: Run, state: str, job: str) -> bool:
    """Whether `spacecast-sweep cancel` has ended a run, or kept it from its turn, and no status says so yet."""
    if not sweep.stopped:
        return False
    latest = sweep.submissions[-1] if sweep.submissions else None
    ended = latest is not None and latest.cluster == "local" and latest.jobs.get(run.number) == job != ""
    return run.number in sweep.waiting or (ended and state in ("", RUNNING, INTERRUPTED))


def _alive(status: Mapping[str, Any], job: str) -> bool:
    """Whether the process of a run in no scheduler still runs; that of another machine is believed to."""
    if status.get("host", "") != socket.gethostname():
        return "host" in status or not job
    return not job and psutil.pid_exists(status.get("pid", 0))
