"""Between a configuration and a launcher: one source for nodes and devices, submission, and the work of a job."""

import json
import logging
import logging.config
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spacecast.config.command import Command, Plain
from spacecast.config.compose import conf_dir
from spacecast.core.errors import UserError
from spacecast.core.text import as_typed
from spacecast.process.lock import locked
from spacecast.process.run_folder import close_logs, first_process, read_facts
from spacecast.process.signals import Interrupted, Interruption, interruptible
from spacecast.sweep.saved import command_of, read_config, saved_config

if TYPE_CHECKING:
    from spacecast.sweep.folder import Run, Sweep
    from spacecast.sweep.launcher import Launcher

log = logging.getLogger(__name__)

WORK, INTERRUPTED_CODE = "spacecast.sweep.launching:work", 75


def align(plain: Plain, typed: Sequence[str]) -> None:
    """Make `trainer.num_nodes` and `trainer.devices` agree with the launcher, whichever of the two was given.

    Raises:
        UserError: both were given and differ, or the launcher cannot know how many devices to ask for.

    """
    launcher = plain.get("launcher")
    if not launcher or "gpus_per_node" not in launcher:
        return
    trainer = plain["trainer"]
    for key, follower in (("nodes", "num_nodes"), ("gpus_per_node", "devices")):
        if launcher.get(key) is None:
            continue
        given = any(word.lstrip("+").startswith(f"trainer.{follower}=") for word in typed)
        if given and trainer[follower] != launcher[key]:
            pair = f"launcher.{key}={launcher[key]} and trainer.{follower}={trainer[follower]}"
            raise UserError(f"{pair} contradict each other; give one of them, the other follows")
        trainer[follower] = launcher[key]
    launcher["nodes"] = trainer["num_nodes"]
    devices, accelerator = trainer["devices"], trainer["accelerator"]
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise UserError(f"trainer.devices={devices}: a scheduler needs a number; give launcher.gpus_per_node=N")
    if launcher["gpus_per_node"] is not None:
        if accelerator == "cpu":
            gpus = f"launcher.gpus_per_node={launcher['gpus_per_node']}"
            raise UserError(f"{gpus} would idle with trainer.accelerator=cpu; leave it out, or choose trainer=gpu")
        trainer["accelerator"] = "gpu" if accelerator == "auto" else accelerator
    elif accelerator in ("gpu", "cuda"):
        launcher["gpus_per_node"] = devices


def start_logs(run_dir: Path, name: str) -> None:
    """Log as Hydra's own runs do: short lines on the terminal, full ones in the file `name.log` of the run."""
    settings = yaml.safe_load((conf_dir() / "hydra" / "job_logging" / "spacecast.yaml").read_text(encoding="utf-8"))
    settings["handlers"]["file"]["filename"] = str(run_dir / f"{name}.log")
    logging.config.dictConfig(settings)
    logging.captureWarnings(True)


@contextmanager
def recorded(run_dir: Path) -> Iterator[None]:
    """Keep `status.json` up to date around the work of a run; what the work raises goes through."""
    from spacecast.process.status import FAILED, FINISHED, INTERRUPTED, RUNNING, here, read_status, write_status

    if not first_process():
        yield
        return

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
        note(INTERRUPTED, INTERRUPTED_CODE, leaving if told else "ended by a signal, to be continued")
        raise
    except UserError as error:
        note(FAILED, 2, error)
        raise
    except BaseException as error:
        note(FAILED, 1, f"{type(error).__name__}: {error}")
        raise
    note(FINISHED, 0)


def run_saved(command: Command, run_dir: Path, trusted: Sequence[str] = ()) -> Any:
    """Do the work of a command for the configuration recorded in a run folder; `status.json` says how it went.

    Args:
        command: whose work.
        run_dir: with `config.yaml`; everything of the run goes there, and it goes on from a checkpoint there.
        trusted: modules, classes and functions beside those of conf/ that the configuration may call.

    Raises:
        UserError: another process is at work in the folder.
        Exception: whatever the work raises, with its traceback in the log and the attribute `log_file`.

    """
    from spacecast.sweep.folder import FILE

    again = run_dir.parent if (run_dir.parent / FILE).is_file() else run_dir  # a run of a sweep goes on with the sweep
    with locked(run_dir) if first_process() else nullcontext():
        start_logs(run_dir, command.config)
        try:
            with recorded(run_dir), interruptible(again):
                try:
                    return command.task(saved_config(run_dir, trusted))
                except UserError as error:
                    log.error("%s", error)
                    raise
                except Exception as error:
                    log.exception("internal error")
                    error.log_file = f"traceback in {run_dir / command.config}.log"  # type: ignore[attr-defined]
                    raise
        finally:
            close_logs(run_dir)


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
