"""From recorded configurations to a launcher: who asks for the same goes there together."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from spacecast.config.build import build
from spacecast.core.text import as_typed
from spacecast.process.exit_codes import Interrupted
from spacecast.process.signals import Interruption
from spacecast.sweep.attempt import Attempt
from spacecast.sweep.folder import CODE, LOGS, Run, Sweep
from spacecast.sweep.saved import read_config

WORK = "spacecast.sweep.saved:run_job"


def submit(sweep: Sweep, runs: Sequence[Run], changes: Mapping[str, Any], trusted: Sequence[str]) -> Sweep:
    """Hand runs of a sweep to the launcher of their configuration, those that ask for the same as one array.

    Args:
        sweep: whose runs.
        runs: which of them.
        changes: keys of the launcher that replace the recorded ones.
        trusted: what the user trusts by name; it goes into the command of each job.

    Raises:
        UserError: the scheduler refuses.
        Interrupted: a signal came while jobs ran on this machine; they have been ended.

    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        recorded = read_config(sweep.run_dir(run))
        request = {"launcher": {**recorded["launcher"], **changes}, "devices": recorded["trainer"]["devices"]}
        groups.setdefault(json.dumps(request, sort_keys=True), []).append(run)
    (sweep.folder / LOGS).mkdir(exist_ok=True)
    sweep = sweep.await_turns(runs)
    for text, members in groups.items():
        if sweep.stopped:
            break
        request = json.loads(text)
        sweep = _submit_alike(sweep, members, build(request["launcher"]), request["devices"], trusted)
    return sweep


def _submit_alike(sweep: Sweep, runs: Sequence[Run], launcher: Any, devices: int, trusted: Sequence[str]) -> Sweep:
    """Hand runs to one launcher; `sweep.json` knows every job at once, so that it can be watched and cancelled."""

    def record(jobs: Sequence[str]) -> None:
        sweep.submitted(launcher.cluster, {run.number: job for run, job in zip(runs, jobs, strict=False)})

    most, words = launcher.max_restarts, tuple(trusted)
    attempts = [Attempt(WORK, sweep.command, str(sweep.run_dir(run)), most, words) for run in runs]
    with _told_how_to_go_on(sweep, at_once=launcher.cluster == "local"):
        launcher.submit(attempts, devices, sweep.folder / LOGS, sweep.folder / CODE, record)
    return Sweep.read(sweep.folder)


@contextmanager
def _told_how_to_go_on(sweep: Sweep, *, at_once: bool) -> Iterator[None]:
    """Say what to type after a signal, which ends the block at once or, lest a job is queued unrecorded, after it."""
    with Interruption().listening() as interruption:
        try:
            with nullcontext() if at_once else interruption.deferred():
                yield
            interruption.check()
        except Interrupted as stop:
            stop.explain(f"interrupted by {stop.name}; {as_typed('spacecast-sweep', 'resume', sweep.folder)} goes on")
            raise
