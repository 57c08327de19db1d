"""Several runs from one command line: a grid becomes a folder of configurations, then somebody runs them."""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from spacecast.app.command import Command, Plain
from spacecast.app.compose import compose, conf_dir, explain
from spacecast.app.config import check_folder
from spacecast.app.launching import launcher_of, run_saved, submit
from spacecast.app.runs import write_config
from spacecast.app.saved import check_saved, read_config
from spacecast.app.trust import Trust
from spacecast.core.errors import UserError

POLL_SECONDS = 5.0


def run_many(command: Command, flags: argparse.Namespace, conf: Path, user_conf: Path | None, check: Any) -> None:
    """Compose, check and record every run of a grid, then run or submit them.

    Args:
        command: whose runs.
        flags: Hydra's, with the overrides typed by the user.
        conf, user_conf: configuration folders.
        check: turns a composed configuration into the one to record, see `cli.checked`.

    Raises:
        UserError: a mistake in any of them, before the first one starts.
        Exception: the first that a run in this process raised, after all have had their turn.

    """
    from spacecast.launch.folder import FILE, Sweep, name_runs

    if not command.has_run_folder:
        raise UserError(f"{command.name} does one thing at a time; leave -m out")
    name = flags.config_name or command.config
    folder, grid = expand(name, flags.overrides, conf, user_conf)
    runs = name_runs([[word for word in words if not word.startswith(("hydra.", "trust="))] for words in grid])
    sweep = Sweep(folder, command.path, tuple(runs))
    plains = []
    for number, words in enumerate(grid):
        place = str(folder / str(number)).replace("'", "\\'")
        plain = check(command, compose(name, [*words, f"hydra.run.dir='{place}'"], conf, user_conf))
        label(plain, sweep, number, words)
        plains.append(plain)
    folders = [conf] if user_conf is None else [conf, user_conf]
    trusted = list(dict.fromkeys(word for plain in plains for word in Trust.of(plain, folders).words_for_jobs()))
    launcher = launcher_of(plains[0])
    if launcher is None and any(_several(plain) for plain in plains):
        raise UserError("several devices and several runs do not go together in one process; use launcher=slurm_debug")
    if (folder / FILE).exists():
        if Sweep.read(folder).runs != sweep.runs:
            raise UserError(f"paths.run_dir={folder} holds another sweep; choose another folder")
        resume(Sweep.read(folder), command, {}, trusted, dict(enumerate(plains)), conf)
        return
    check_folder(folder, "paths.run_dir")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"paths.run_dir={folder} holds other files; a sweep needs a folder of its own")
    record(sweep, plains, conf)
    try:
        start(sweep, command, sweep.runs, {}, trusted)
    except UserError:
        if not Sweep.read(folder).submissions and launcher is not None:
            shutil.rmtree(folder)  # just made, and nothing has begun
        raise


def expand(
    name: str, overrides: Sequence[str], conf: Path, user_conf: Path | None
) -> tuple[Path, list[list[str]]]:
    """Folder of the sweep, and the overrides of each run as Hydra's own grid sweeper expands them.

    Raises:
        UserError: words that cannot be read, or a sweeper or launcher of Hydra's that is no grid.

    """
    words = [
        word.replace("paths.run_dir=", "hydra.sweep.dir=", 1) if word.startswith("paths.run_dir=") else word
        for word in overrides
    ]
    try:
        first = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)[0][0]
        cfg = compose(name, first, conf, user_conf)
        if "BasicSweeper" not in str(cfg.hydra.sweeper._target_):
            raise UserError("hydra/sweeper: runs are expanded as a grid before they are submitted; leave it out")
        if "BasicLauncher" not in str(cfg.hydra.launcher._target_):
            raise UserError("hydra/launcher: choose launcher=slurm or launcher=slurm_debug, which are spacecast's own")
        fixed = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
        parsed = OverridesParser.create().parse_overrides([*fixed, *words])
        grid = BasicSweeper.split_arguments(parsed, None)[0]
        return Path(str(cfg.hydra.sweep.dir)).expanduser().absolute(), grid
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, list) from error


def label(plain: Plain, sweep: Any, number: int, words: Sequence[str]) -> None:
    """In MLflow the runs share the tag `sweep` and are named by what differs."""
    logger = plain.get("logger")
    if not isinstance(logger, dict) or "run_name" not in logger or "tags" not in logger:
        return
    logger["tags"] = {"sweep": sweep.name, **(logger["tags"] or {})}
    run = sweep.runs[number]
    if run.name and not any(word.lstrip("+").startswith("logger.run_name=") for word in words):
        logger["run_name"] = run.name


def record(sweep: Any, plains: Sequence[Plain], conf: Path) -> None:
    """Write `sweep.json`, the configuration of each run and, for jobs that start later, the code."""
    from spacecast.launch.folder import CODE
    from spacecast.launch.snapshot import snapshot

    sweep.folder.mkdir(parents=True, exist_ok=True)
    for run, plain in zip(sweep.runs, plains, strict=True):
        sweep.run_dir(run).mkdir(exist_ok=True)
        write_config(plain, sweep.run_dir(run))
    if plains[0].get("launcher"):
        snapshot(sweep.folder / CODE, conf, {str(number): plain for number, plain in enumerate(plains)})
    sweep.write()


def start(sweep: Any, command: Command, runs: Sequence[Any], changes: Plain, trusted: Sequence[str]) -> None:
    """Run them here, one after the other, or submit them and wait if so asked."""
    plain = read_config(sweep.run_dir(runs[0]))
    if not plain.get("launcher"):
        _run_here(sweep, command, runs, trusted)
        return
    launcher = {**plain["launcher"], **changes}
    if launcher["cluster"] == "local":
        say(f"{len(runs)} runs, {launcher['parallel']} at once; what they say: {sweep.folder / 'jobs'}")
    sweep = submit(sweep, runs, changes, trusted)
    if launcher["cluster"] != "local":
        say(f"{len(runs)} runs submitted as {', '.join(sorted({sweep.job(run)[1].partition('_')[0] for run in runs}))}")
    say(f"spacecast-sweep status {sweep.folder}")
    if launcher["wait"]:
        wait(sweep)


def wait(sweep: Any) -> None:
    """Stay until every run has ended.

    Raises:
        RuntimeError: runs that failed.

    """
    from spacecast.launch.progress import failures, progress, settled

    while not settled(states := progress(sweep)):
        time.sleep(POLL_SECONDS)
    if failed := failures(states):
        first = failed[0]
        what = f"run {first.run.number} {first.state.lower()}: {first.why}"
        raise RuntimeError(f"{len(failed)} of {len(states)} runs did not finish; {what}")


def resume(
    sweep: Any,
    command: Command,
    changes: Plain,
    trusted: Sequence[str],
    composed: Mapping[int, Plain] | None = None,
    conf: Path | None = None,
) -> None:
    """Start again what neither has finished nor will by itself; the snapshots of the first submission hold.

    Args:
        sweep: whose runs.
        command: that has made it.
        changes: keys of the launcher to change.
        trusted: modules, classes and functions that the runs may call beside those of conf/.
        composed: configurations of the runs as the user has typed them now; see `saved.check_saved`.
        conf: configuration folder in use.

    Raises:
        UserError: the folder would run code that the user has not allowed.

    """
    from spacecast.launch.folder import CODE, LOGS
    from spacecast.launch.progress import progress, unfinished
    from spacecast.launch.snapshot import check_code

    states = progress(sweep)
    runs = unfinished(states)
    if not runs:
        say("every run has finished or is under way")
        return
    check_saved(sweep, runs, trusted, changes, composed or {})
    check_code(sweep.folder / CODE, conf or conf_dir(), trusted)
    under_way = {f"{each.job}_submitted.pkl" for each in states if each.active}
    for pickle in (sweep.folder / LOGS).glob("*_submitted.pkl"):
        if pickle.name not in under_way:  # a new job of the same number must not find an old one's
            pickle.unlink()
    start(sweep, command, runs, changes, trusted)


def _run_here(sweep: Any, command: Command, runs: Sequence[Any], trusted: Sequence[str]) -> None:
    """In this process; a run that fails does not keep the others from theirs."""
    failed: list[Exception] = []
    for run in runs:
        say(f"run {run.number + 1} of {len(sweep.runs)}{': ' + run.name if run.name else ''}")
        try:
            run_saved(command, sweep.run_dir(run), trusted)
        except Exception as error:  # noqa: BLE001 - raised again below
            failed.append(error)
    if failed:
        raise failed[0]


def _several(plain: Plain) -> bool:
    """Whether a run asks for several processes."""
    trainer = plain.get("trainer") or {}
    return any(isinstance(count := trainer.get(key, 1), int) and count > 1 for key in ("devices", "num_nodes"))


def say(text: str) -> None:
    """A line on the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
