"""Between a configuration and a launcher: one source for nodes and devices, submission, and the work of a job."""

import json
import logging
import logging.config
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spacecast.config.command import Command, Inputs
from spacecast.config.compose import conf_dir
from spacecast.config.run import RunFolder, run_task
from spacecast.core.errors import UserError
from spacecast.core.text import as_typed
from spacecast.process.signals import Interrupted, Interruption
from spacecast.sweep.saved import command_of, read_config, saved_config

if TYPE_CHECKING:
    from spacecast.sweep.folder import Run, Sweep
    from spacecast.sweep.launcher import Launcher

log = logging.getLogger(__name__)

WORK = "spacecast.sweep.launching:work"


def start_logs(run_dir: Path, name: str) -> None:
    """Log as Hydra's own runs do: short lines on the terminal, full ones in the file `name.log` of the run."""
    settings = yaml.safe_load((conf_dir() / "hydra" / "job_logging" / "spacecast.yaml").read_text(encoding="utf-8"))
    settings["handlers"]["file"]["filename"] = str(run_dir / f"{name}.log")
    logging.config.dictConfig(settings)


def run_saved(command: Command, run_dir: Path, trusted: Sequence[str] = ()) -> Any:
    """Do the work of a command for the configuration recorded in a folder of a sweep; see `config.run`.

    Args:
        command: whose work.
        run_dir: with `config.yaml`.
        trusted: modules, classes and functions beside those of conf/ that the configuration may call.

    """

    def inputs() -> Inputs[Any]:
        return Inputs.of(saved_config(run_dir, trusted), command.schema)

    folder = RunFolder(run_dir, command.config, again=run_dir.parent)
    try:
        return run_task(command, inputs, partial(start_logs, run_dir, command.config), folder)
    except UserError as error:
        log.error("%s", error)  # the others go on, so that it is not the last line
        raise


def work(command: str, run_dir: str, *trusted: str) -> None:
    """What a job of a scheduler does; see `run_saved`."""
    run_saved(command_of(command), Path(run_dir), trusted)


def launcher_of(plain: Mapping[str, Any]) -> "Launcher | None":
    """The launcher that a configuration asks for; None: this process."""
    from spacecast.sweep.launcher import Launcher

    section = plain.get("launcher")
    if not section:
        return None
    from spacecast.config.build import build

    launcher = build(section)
    assert isinstance(launcher, Launcher)
    return launcher


def submit(
    sweep: "Sweep", runs: Sequence["Run"], changes: Mapping[str, Any] | None = None, trusted: Sequence[str] = ()
) -> "Sweep":
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
    from spacecast.sweep.attempt import Attempt
    from spacecast.sweep.folder import CODE, LOGS

    groups: dict[str, list[Run]] = {}
    for run in runs:
        plain = read_config(sweep.run_dir(run))
        request = {"launcher": {**plain["launcher"], **(changes or {})}, "devices": plain["trainer"]["devices"]}
        groups.setdefault(json.dumps(request, sort_keys=True), []).append(run)
    logs = sweep.folder / LOGS
    logs.mkdir(exist_ok=True)
    sweep = sweep.await_turns(runs)
    for text, members in groups.items():
        if sweep.stopped:
            break
        request = json.loads(text)
        launcher = launcher_of(request)
        assert launcher is not None
        folders, most = [str(sweep.run_dir(run)) for run in members], launcher.max_restarts
        attempts = [Attempt(WORK, sweep.command, folder, most, tuple(trusted)) for folder in folders]
        record = _Record(sweep, launcher.cluster, members)
        with _told_how_to_go_on(sweep, at_once=launcher.cluster == "local"):
            launcher.submit(attempts, request["devices"], logs, sweep.folder / CODE, record)
        sweep = record.sweep
    return sweep


class _Record:
    """Keeps `sweep.json` up to date while jobs are submitted, so that they can be watched and cancelled.

    Args:
        sweep: as it was before.
        cluster: where they go.
        runs: what is submitted, in order.

    """

    def __init__(self, sweep: "Sweep", cluster: str, runs: Sequence["Run"]) -> None:
        self.sweep = self._before = sweep
        self._cluster, self._runs = cluster, runs

    def __call__(self, jobs: Sequence[str]) -> None:
        """These have been submitted so far."""
        numbers = {run.number: job for run, job in zip(self._runs, jobs, strict=False)}
        self.sweep = self._before.submitted(self._cluster, numbers)


@contextmanager
def _told_how_to_go_on(sweep: "Sweep", *, at_once: bool) -> Iterator[None]:
    """Say what to type after a signal, which ends the block at once or, lest a job is queued unrecorded, after it."""
    with Interruption().listening() as interruption:
        try:
            with nullcontext() if at_once else interruption.deferred():
                yield
            interruption.check()
        except Interrupted as stop:
            stop.explain(f"interrupted by {stop.name}; {as_typed('spacecast-sweep', 'resume', sweep.folder)} goes on")
            raise
