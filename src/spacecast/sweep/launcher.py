"""Submission by submitit: what is asked of a scheduler, refusals before anything is queued, job numbers."""

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from spacecast.core.errors import UserError
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.sweep.attempt import Attempt
from spacecast.sweep.folder import STOP
from spacecast.sweep.queue import end_controllers, is_controller, largest_array
from spacecast.sweep.snapshot import START
from spacecast.sweep.submitit_private import submission_script

MISREAD = ("bash", "interactive")  # job names that Lightning takes for a shell; it would train each task alone
OURS = ("array", "error", "job-name", "nodes", "ntasks-per-node", "open-mode", "output", "signal", "time")


@dataclass(frozen=True)
class Launcher:
    """What to ask of the scheduler for each run.

    Args:
        cluster: `slurm`, or `local` for the same steps on this machine, one run after the other.
        nodes: machines for each run; None: as `trainer.num_nodes` says, which follows when this is given.
        gpus_per_node: GPUs, and processes, on each; None: as the trainer says.
        cpus_per_task: processors for each process; None: what the site gives.
        memory_gb: memory of each node; None: what the site gives.
        hours: time limit of one stretch; a run that needs longer is started again.
        partition, account, qos, constraint: as sbatch takes them.
        name: of the jobs.
        parallel: how many runs of a sweep at once, also where they are more than Slurm takes as one array.
        max_restarts: after time limits, preemptions and failures of nodes together.
        signal_seconds: how long before the time limit the run is told to save and hand over.
        setup: shell commands before the run, for example to load modules.
        sbatch: further options of sbatch, for example `{reservation: night, mail-type: END}`; true for a flag.
        srun: further words for srun.
        wait: stay until every run has ended, instead of returning at once.

    Raises:
        UserError: values that contradict each other.

    """

    cluster: Literal["slurm", "local"] = "slurm"
    nodes: PositiveInt | None = None
    gpus_per_node: PositiveInt | None = None
    cpus_per_task: PositiveInt | None = None
    memory_gb: float | None = None
    hours: float = 4.0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    name: str = "spacecast"
    parallel: PositiveInt = 256
    max_restarts: NonNegativeInt = 20
    signal_seconds: PositiveInt = 120
    setup: Sequence[str] = ()
    sbatch: Mapping[str, str | int | float | bool] | None = None
    srun: Sequence[str] = ()
    wait: bool = False

    @property
    def minutes(self) -> int:
        """Time limit as Slurm counts it."""
        return math.ceil(self.hours * 60 - 1e-6)

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        if self.name in MISREAD or not self.name or any(letter.isspace() or letter == "/" for letter in self.name):
            taken = ": Lightning takes it for a shell" if self.name in MISREAD else ""
            raise UserError(f"launcher.name={self.name!r} cannot name a job{taken}; choose another word")
        if self.minutes * 60 <= self.signal_seconds:
            limit = f"launcher.hours={self.hours:g} ({self.minutes * 60} s)"
            raise UserError(f"{limit} does not exceed launcher.signal_seconds={self.signal_seconds}; give more hours")
        if self.cluster == "local" and (self.nodes or 1) > 1:
            raise UserError(f"launcher.nodes={self.nodes}: this machine is one node; use launcher=slurm")
        for key in self.sbatch or ():
            if key.replace("_", "-") in OURS:
                raise UserError(f"launcher.sbatch.{key} is set by the launcher itself; use its own keys")

    def parameters(self, tasks_per_node: int, code: Path, after: str | None = None) -> dict[str, Any]:
        """Parameters of submitit's Slurm executor.

        Args:
            tasks_per_node: processes on each node, one for each device.
            code: folder that goes in front of PYTHONPATH.
            after: a job that has to end first, however it does.

        """
        sbatch = dict(self.sbatch or {})
        if after is not None:
            sbatch["dependency"] = ",".join([*map(str, filter(None, [sbatch.get("dependency")])), f"afterany:{after}"])
        setup = [f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"]
        if self.cpus_per_task:
            setup.append(f"export SRUN_CPUS_PER_TASK={self.cpus_per_task}")  # srun does not inherit it
        as_they_are = ("gpus_per_node", "cpus_per_task", "partition", "account", "qos", "constraint")
        wanted = {name: getattr(self, name) for name in as_they_are} | {
            "job_name": self.name,
            "nodes": self.nodes or 1,
            "ntasks_per_node": tasks_per_node,
            "mem": None if self.memory_gb is None else f"{self.memory_gb * 1024:.0f}M",
            "time": self.minutes,
            "signal_delay_s": self.signal_seconds,
            "array_parallelism": self.parallel,
            "setup": [*self.setup, *setup],
            "srun_args": list(self.srun) or None,
            "additional_parameters": {"requeue": True, **sbatch},
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def submit(
        self,
        attempts: Sequence[Attempt],
        tasks_per_node: int,
        logs: Path,
        code: Path,
        told: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> list[str]:
        """Hand runs to the scheduler, as one array where it takes so many in one, and return their job numbers.

        On this machine it returns when all have ended; an exception meanwhile, such as that of a signal, ends them.

        Args:
            attempts: one for each run.
            tasks_per_node: processes on each node.
            logs: folder of submitit's scripts and of what the jobs print.
            code: snapshot of the code.
            told: called with the job numbers so far as soon as there are more of them.

        Raises:
            UserError: there is no scheduler, or it refuses; nothing is queued then but what was told.

        """
        if self.cluster == "local":
            return self._run_locally(attempts, tasks_per_node, logs, code, told)
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise UserError("launcher: there is no sbatch here; submit from a login node, or use launcher=slurm_debug")
        from submitit import SlurmExecutor

        numbers: list[str] = []
        with _outside_of_jobs():
            executor = SlurmExecutor(folder=logs, max_num_timeout=self.max_restarts, python=_interpreter(code))
            executor.update_parameters(**self.parameters(tasks_per_node, code))
            _rehearse(executor)
            most = largest_array()
            size = len(attempts) if most is None else max(1, most)
            at_once = max(1, self.parallel // size)  # arrays; those beyond wait for the one that many places before
            for first in range(0, len(attempts), size):
                before = first - at_once * size
                after = numbers[before].partition("_")[0] if before >= 0 else None
                executor.update_parameters(**self.parameters(tasks_per_node, code, after))
                numbers += _queue_array(executor, attempts[first : first + size], len(numbers))
                told(numbers)
        return numbers

    def _run_locally(
        self,
        attempts: Sequence[Attempt],
        tasks_per_node: int,
        logs: Path,
        code: Path,
        told: Callable[[Sequence[str]], None],
    ) -> list[str]:
        """The same pickles and processes by submitit's local executor, at most `parallel` at a time.

        The rest is not started once the sweep has been cancelled.
        """
        from submitit import LocalExecutor

        jobs: list[Any] = []
        with _outside_of_jobs(PYTHONPATH=os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])):
            executor = LocalExecutor(folder=logs, max_num_timeout=self.max_restarts, python=_interpreter(code))
            executor.update_parameters(
                tasks_per_node=tasks_per_node,
                gpus_per_node=self.gpus_per_node or 0,
                timeout_min=self.minutes,
                signal_delay_s=self.signal_seconds,
                setup=list(self.setup),
            )
            with _ended_with_us():
                for attempt in attempts:
                    _wait(jobs, self.parallel - 1)
                    if (logs / STOP).exists():
                        break
                    with _keyboard_unheard():
                        jobs.append(executor.submit(attempt))
                    told([str(job.job_id) for job in jobs])
                _wait(jobs, 0)
        return [str(job.job_id) for job in jobs]


def _rehearse(executor: Any) -> None:
    """Let Slurm judge a request without queueing it: some sites queue for ever what can never start."""
    command, script = ["sbatch", "--test-only"], submission_script(executor)
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise UserError(f"launcher: Slurm refuses: {_reason(done.stderr)}")


def _queue_array(executor: Any, attempts: Sequence[Attempt], queued: int) -> list[str]:
    """Hand some runs to Slurm as one array; their job numbers.

    Args:
        executor: submitit's, with all parameters.
        attempts: one for each run.
        queued: how many runs went there before.

    Raises:
        UserError: Slurm refuses.

    """
    from submitit.core.utils import FailedJobError

    try:
        with executor.batch():
            jobs = [executor.submit(attempt) for attempt in attempts]
    except FailedJobError as error:
        rest = f"; the {queued} runs before are queued, spacecast-sweep resume submits the rest" if queued else ""
        raise UserError(f"launcher: Slurm refuses: {_reason(str(error))}{rest}") from error
    return [str(job.job_id) for job in jobs]


@contextmanager
def _keyboard_unheard() -> Iterator[None]:
    """Processes started within the block do not hear Ctrl-C: the command does, and ends them after they have saved."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(jobs: Sequence[Any], most: int) -> None:
    """Wait until at most so many jobs run."""
    while sum(not job.done() for job in jobs) > most:
        time.sleep(0.5)


@contextmanager
def _ended_with_us() -> Iterator[None]:
    """End the jobs that were started within the block when an exception ends it; they save first."""
    before = set(psutil.Process().children())
    try:
        yield
    except BaseException:
        ours = set(psutil.Process().children(recursive=True)) - before
        end_controllers([process for process in ours if is_controller(process)])
        raise


def _interpreter(code: Path) -> str:
    """How jobs start Python; see `start.py`."""
    return shlex.join([sys.executable, str(code / START)])


@contextmanager
def _outside_of_jobs(**extra: str) -> Iterator[None]:
    """An environment without the job that we may be in, whose variables would confuse the new ones."""
    before = dict(os.environ)
    if "SLURM_JOB_ID" in before:
        for name in before:
            if name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")) and name != "SLURM_CONF":
                del os.environ[name]
    os.environ |= extra
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
    sys.stdout.flush()


def _reason(text: str) -> str:
    """The line of sbatch that says why."""
    lines = [line.partition("error:")[2].strip() for line in text.splitlines() if "error:" in line]
    telling = [line for line in lines if "Batch job submission failed" in line] or lines
    reason = telling[-1] if telling else " ".join(text.split())[-300:]
    return reason.removeprefix("Batch job submission failed:").strip()
