"""The end of a sweep before its time."""

import socket
import time

from spacecast.core.errors import UserError
from spacecast.process.lock import holder
from spacecast.process.status import CANCELLED, FINISHED, RUNNING, read_status, write_status
from spacecast.sweep.folder import Run, Sweep
from spacecast.sweep.progress import CANCELLED_WHY, RunProgress, progress
from spacecast.sweep.queue import cancel_jobs

LEAVE_SECONDS, POLL_SECONDS = 60.0, 0.2  # a command that starts runs sees within a second that it shall not


def cancel(sweep: Sweep) -> list[Run]:
    """End what is queued, runs or waits for its turn, and note it in the status of each.

    A command that is starting the runs one after the other is told to leave the rest; what it starts meanwhile ends as
    well.

    Returns:
        the runs that have not finished.

    Raises:
        UserError: a run is in no scheduler, or on another machine; or the scheduler refuses.

    """
    open_runs = [each for each in progress(sweep) if each.state not in (FINISHED, CANCELLED)]
    active = [each for each in open_runs if each.active or each.run.number in sweep.waiting]
    _check(sweep, active)
    if not active:
        return []
    sweep.stop()
    until = time.monotonic() + LEAVE_SECONDS
    while True:
        at_work = holder(sweep.folder)
        sweep = Sweep.read(sweep.folder)
        jobs = [each for each in progress(sweep) if each.active and each.job]
        for cluster in sorted({sweep.job(each.run)[0] for each in jobs}):
            cancel_jobs(cluster, [each.job for each in jobs if sweep.job(each.run)[0] == cluster])
        if at_work is None or time.monotonic() > until:
            break
        time.sleep(POLL_SECONDS)
    ended = [each.run for each in active if read_status(sweep.run_dir(each.run)).get("state") != FINISHED]
    for run in ended:
        job = sweep.job(run)[1] or None
        write_status(sweep.run_dir(run), state=CANCELLED, error=CANCELLED_WHY, job=job)
    return ended


def _check(sweep: Sweep, active: list[RunProgress]) -> None:
    """Refuse what cannot be ended from here."""
    for each in active:
        host = each.status.get("host", "")
        if each.state == RUNNING and not each.job:
            raise UserError(f"run {each.run.number} is in no scheduler: press Ctrl-C where it runs")
        if each.state == RUNNING and sweep.job(each.run)[0] == "local" and host not in ("", socket.gethostname()):
            raise UserError(f"run {each.run.number} runs on {host}: give this command there")
