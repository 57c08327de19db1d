"""Several runs from one command line: a grid becomes a folder of configurations, then somebody runs them."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from spacecast.config.check import check_folder
from spacecast.config.command import Command, Plain
from spacecast.config.compose import compose, explain
from spacecast.config.trust import Trust
from spacecast.core.errors import UserError
from spacecast.process.run_folder import write_config
from spacecast.sweep.launching import launcher_of
from spacecast.sweep.turns import conclude, go_on, only_one, start

if TYPE_CHECKING:
    from spacecast.sweep.folder import Sweep


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
    from spacecast.sweep.folder import FILE, Sweep, name_runs

    if not command.has_run_folder:
        raise UserError(f"{command.name} does one thing at a time; leave -m out")
    name = flags.config_name or command.config
    folder, grid = expand(name, flags.overrides, conf, user_conf)
    runs = name_runs([[word for word in words if not word.startswith(("hydra.", "trust="))] for words in grid])
    sweep = Sweep(folder, command.path, tuple(runs))
    plains = []
    for number, words in enumerate(grid):
        place = str(folder / str(number)).replace("'", "\\'")
        plain = check(command, compose(name, [*words, f"hydra.run.dir='{place}'"], conf, user_conf), {})
        label(plain, sweep, number, words)
        plains.append(plain)
    folders = [conf] if user_conf is None else [conf, user_conf]
    trusted = list(dict.fromkeys(word for plain in plains for word in Trust.of(plain, folders).words_for_jobs()))
    launcher = launcher_of(plains[0])
    if launcher is None and any(_several(plain) for plain in plains):
        raise UserError("several devices and several runs do not go together in one process; use launcher=slurm_debug")
    check_folder(folder, "paths.run_dir")
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(sweep) as under_way:
        if not (folder / FILE).exists():
            _check_empty(folder)
            record(sweep, plains, conf)
            begun: str | bool = _start_new(sweep, command, trusted, remove=new and launcher is not None)
        elif Sweep.read(folder).runs != sweep.runs:
            raise UserError(f"paths.run_dir={folder} holds another sweep; choose another folder")
        else:
            composed = dict(enumerate(plains))
            begun = under_way or go_on(Sweep.read(folder), command, {}, trusted, composed, conf)
    conclude(Sweep.read(folder), begun)


def _start_new(sweep: "Sweep", command: Command, trusted: Sequence[str], *, remove: bool) -> bool:
    """Start the runs of a sweep that has just been recorded; a launcher that refuses them all may have it removed."""
    from spacecast.sweep.folder import Sweep

    try:
        return start(sweep, command, sweep.runs, {}, trusted)
    except UserError:
        if remove and not Sweep.read(sweep.folder).submissions:
            shutil.rmtree(sweep.folder)
        raise


def _check_empty(folder: Path) -> None:
    """Refuse to make a sweep of a folder that holds something else."""
    from spacecast.process.lock import FILE as LOCK

    if any(path.name != LOCK for path in folder.iterdir()):
        raise UserError(f"paths.run_dir={folder} holds other files; a sweep needs a folder of its own")


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
    from spacecast.sweep.folder import CODE
    from spacecast.sweep.snapshot import snapshot

    sweep.folder.mkdir(parents=True, exist_ok=True)
    for run, plain in zip(sweep.runs, plains, strict=True):
        sweep.run_dir(run).mkdir(exist_ok=True)
        write_config(plain, sweep.run_dir(run))
    if plains[0].get("launcher"):
        snapshot(sweep.folder / CODE, conf, {str(number): plain for number, plain in enumerate(plains)})
    sweep.write()


def _several(plain: Plain) -> bool:
    """Whether a run asks for several processes."""
    trainer = plain.get("trainer") or {}
    return any(isinstance(count := trainer.get(key, 1), int) and count > 1 for key in ("devices", "num_nodes"))
