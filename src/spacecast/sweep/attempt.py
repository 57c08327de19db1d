"""What a job of a scheduler runs, in each of its processes and after each restart."""

import logging
import os
import signal
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacecast.process.exit_codes import GOES_ON, INTERNAL_ERROR
from spacecast.process.lock import locked
from spacecast.process.status import FAILED, FINISHED, RUNNING, here, read_status, write_status
from spacecast.process.workers import import_by_name

log = logging.getLogger(__name__)

PATIENCE = 120.0  # seconds; a file server may take as long to see that the node of the attempt before has died


@dataclass(frozen=True)
class Attempt:
    """A run as submitit pickles it: words only, so that an older pickle fits whatever code the snapshot holds.

    Args:
        work: `module:function`, called with the command, the run folder, the job number and the number of restarts.
        command: where the command is found, `module:NAME`.
        run_dir: folder of the run, with its `config.yaml`.
        max_restarts: the most restarts, for whatever reason.
        trusted: further words for the function, what the configuration in the folder may call.

    """

    work: str
    command: str
    run_dir: str
    max_restarts: int
    trusted: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Run, or go on. A run that has finished stays as it is: schedulers may start a finished job again."""
        import submitit

        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])  # see start.py; submitit listens by now
        environment = submitit.JobEnvironment()
        folder, first = Path(self.run_dir), environment.global_rank == 0
        before = read_status(folder)
        if before.get("state") == FINISHED:
            log.warning("%s has finished already", folder)
            return
        restarts = _restarts(before, environment.job_id)
        if restarts > self.max_restarts:
            reason = f"restarted {restarts} times, launcher.max_restarts={self.max_restarts}"
            if first:
                write_status(folder, state=FAILED, error=reason)
            raise RuntimeError(f"{folder}: {reason}")
        if environment.cluster == "local":
            _meet_locally(environment)
        with locked(folder, PATIENCE) if first else nullcontext():
            self._work(environment, folder, first, restarts)

    def _work(self, environment: Any, folder: Path, first: bool, restarts: int) -> None:
        """Do the work; `status.json` says that it runs, and why it broke where the work does not say so itself."""
        if first:
            began = {"state": RUNNING, "error": None, "exit_code": None, **here()}
            write_status(folder, job=environment.job_id, restarts=restarts, **began)
        try:
            import_by_name(self.work)(self.command, self.run_dir, *self.trusted)
        except SystemExit as leaving:
            wanted = getattr(leaving, "name", "SIGUSR2") == "SIGUSR2"  # other signals come from whoever ends the sweep
            if environment.cluster == "local" and leaving.code == GOES_ON and wanted:
                from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

                raise SystemExit(LOCAL_REQUEUE_RETURN_CODE) from leaving
            raise
        except Exception as error:
            if first and read_status(folder).get("state") != FAILED:
                line = " ".join(f"{type(error).__name__}: {error}".split())
                write_status(folder, state=FAILED, exit_code=INTERNAL_ERROR, error=line)
            raise

    def checkpoint(self) -> Any:
        """What submitit starts after a time-out: the same again; the run goes on from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _restarts(before: Mapping[str, Any], job: str) -> int:
    """How often the scheduler has started this job again: Slurm counts, elsewhere the run folder does."""
    if "SLURM_JOB_ID" in os.environ:
        return int(os.environ.get("SLURM_RESTART_COUNT", 0))
    return int(before.get("restarts", 0)) + 1 if before.get("job") == job else 0


def _meet_locally(environment: Any) -> None:
    """Several processes on this machine: tell Lightning which one this is, as a scheduler would."""
    if environment.num_tasks > 1:
        os.environ |= {
            "LOCAL_RANK": str(environment.local_rank),
            "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(20000 + int(environment.job_id) % 20000),
        }
