"""What a scheduler knows: which jobs it still has, why one is gone, and their end."""

import getpass
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from spacecast.core.errors import UserError
from spacecast.process.status import QUEUED, RUNNING
from spacecast.sweep.submitit_private import CONTROLLER

SAVE_SECONDS, REPEAT_SECONDS, END_SECONDS = 30.0, 3.0, 10.0


ENDING = "ending"  # why a job that has done its work is still there


def active_jobs(cluster: str) -> dict[str, tuple[str, str]]:
    """Jobs that are queued or run: number to state, `queued` or `running`, and what else the scheduler says of it.

    Raises:
        UserError: Slurm does not answer, so that nobody can tell.

    """
    if cluster != "slurm":
        return _local_jobs()
    done = _run(["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%i|%T|%r"])
    if done is None or done.returncode:
        why = " ".join(done.stderr.split())[-200:] if done is not None else "squeue is missing or silent"
        raise UserError(f"Slurm does not answer ({why}); ask again from a login node")
    jobs = {}
    for line in filter(str.strip, done.stdout.splitlines()):
        number, state, reason = line.strip().split("|", 2)
        jobs[number] = _translated(state, reason)
    return jobs


def _translated(state: str, reason: str) -> tuple[str, str]:
    """State and remark for what squeue says of a job. All that it lists is there, whatever newer words it has."""
    match state:
        case "RUNNING":
            return RUNNING, ""
        case "COMPLETING" | "STAGE_OUT" | "SIGNALING":
            return RUNNING, ENDING
        case "PENDING":
            return QUEUED, "" if reason == "None" else reason
        case _:  # CONFIGURING, REQUEUED, REQUEUE_HOLD, SPECIAL_EXIT, SUSPENDED and so on
            return QUEUED, state.lower().replace("_", " ")


def largest_array() -> int | None:
    """The most jobs that Slurm takes as one array; None: it does not say."""
    done = _run(["scontrol", "show", "config"])
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE) if done is not None else None
    return int(found[1]) if found else None


def why_gone(cluster: str, job: str, logs: Path) -> str:
    """Why a job is gone, as well as Slurm or its last words tell; empty when nobody knows."""
    if cluster == "slurm":
        for command in (
            ["scontrol", "--oneliner", "show", "job", job],
            ["sacct", "--noheader", "--parsable2", "--allocations", "--format", "State,ExitCode", "--jobs", job],
        ):
            done = _run(command)
            if done is not None and done.returncode == 0 and (said := _state(done.stdout)):
                return said
    return _last_words(logs, job)


def cancel_jobs(cluster: str, jobs: Sequence[str]) -> None:
    """End jobs, queued or running; those of this machine are gone when it returns.

    Raises:
        UserError: Slurm refuses.

    """
    if cluster != "slurm":
        end_controllers([process for job in jobs for process in _controllers(int(job))])
        return
    done = _run(["scancel", *jobs])
    if done is None or done.returncode:
        raise UserError(f"scancel failed: {' '.join(done.stderr.split())[-300:] if done else 'it does not answer'}")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str] | None":
    """Output of a command of Slurm; None when it is absent or hangs."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _state(text: str) -> str:
    """State and exit code in what scontrol or sacct say."""
    if found := re.search(r"JobState=(\S+) Reason=(\S+)", text):
        code = re.search(r"\bExitCode=(\S+)", text)
        reason = "" if found[2] in ("None", found[1]) else f" {found[2]}"
        return f"{found[1]}{reason}, exit code {code[1] if code else '?'}"
    first = text.strip().splitlines()[:1]
    return first[0].replace("|", ", exit code ") if first else ""


def _last_words(logs: Path, job: str) -> str:
    """The last line with an error in the logs of a job."""
    lines: Iterable[str] = (
        line
        for path in sorted(logs.glob(f"{job}_*_log.err"))
        for line in path.read_text(errors="replace").splitlines()
        if re.search(r"error|cancelled|killed", line, re.IGNORECASE)
    )
    return " ".join([*lines][-1:])[-300:]


def is_controller(process: psutil.Process) -> bool:
    """Whether a process watches over a job of this machine."""
    try:
        return CONTROLLER in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_controllers(controllers: Sequence[psutil.Process]) -> None:
    """End jobs of this machine, after they have saved.

    The signal is repeated: one that comes while a job still imports is lost. A job that does not end is killed: first
    its tasks, whose end the controller waits for.
    """
    until = time.monotonic() + SAVE_SECONDS
    while (controllers := _left(controllers, 0)) and time.monotonic() < until:
        _signal(controllers, signal.SIGTERM)
        _left(controllers, REPEAT_SECONDS)
    tasks = [task for controller in controllers for task in _below(controller)]
    _signal(tasks, signal.SIGKILL)
    _signal(_left(controllers, END_SECONDS), signal.SIGKILL)
    _left(controllers, END_SECONDS)


def _below(process: psutil.Process) -> list[psutil.Process]:
    """The processes that a process has started, and theirs."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _controllers(job: int) -> list[psutil.Process]:
    """The process of a job, or the one below the shell that sets it up."""
    try:
        process = psutil.Process(job)
    except psutil.Error:
        return []
    return [each for each in (process, *_below(process)) if is_controller(each)]


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _left(controllers: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still there after at most so many seconds."""
    until = time.monotonic() + seconds
    while (left := [each for each in controllers if is_controller(each)]) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def _local_jobs() -> dict[str, tuple[str, str]]:
    """Controllers of submitit's local executor, or the shells around them, by process number."""
    jobs = {}
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        known = any(CONTROLLER in word for word in process.info["cmdline"] or [])
        if known and process.info["status"] != psutil.STATUS_ZOMBIE:
            jobs[str(process.info["pid"])] = RUNNING, ""
    return jobs
