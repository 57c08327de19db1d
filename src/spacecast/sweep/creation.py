"""Several runs from one command line: a grid becomes a folder of configurations, then somebody runs them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from spacecast.config.build import build
from spacecast.config.check import check_folder
from spacecast.config.command import Command, Plain
from spacecast.config.complete import checked
from spacecast.config.compose import explain
from spacecast.config.trust import Trust
from spacecast.config.words import PARTS_OF_HYDRA, expanded
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys
from spacecast.process.lock import FILE as LOCK
from spacecast.process.run_folder import write_config
from spacecast.sweep.folder import CODE, FILE, Run, Sweep, name_runs
from spacecast.sweep.snapshot import snapshot
from spacecast.sweep.starting import conclude, exclusive, start, start_missing

PLACE = "paths.run_dir="  # of the whole sweep where it is typed; that of each run lies in it
CHOICE = "experiment="  # gives way where the member that it chooses is a sweep over experiments
UNNAMED = ("hydra.", "trust=", PLACE)  # words that make no run another one
Compose = Callable[[Sequence[str]], DictConfig]


def run_many(
    command: Command, overrides: Sequence[str], first: DictConfig, compose: Compose, folders: Sequence[Path]
) -> None:
    """Compose, check and record every run of a grid, then run or submit them.

    Args:
        command: whose runs.
        overrides: as typed, `key=value1,value2` for several runs.
        first: the configuration of the first run, composed.
        compose: composes that of each of the others.
        folders: configuration folders, spacecast's first.

    Raises:
        UserError: a mistake in any of them, before the first one starts.
        Exception: the first that a run in this process raised, after all have had their turn.

    """
    if not command.has_run_folder:
        raise UserError(f"{command.name} does one thing at a time; leave -m out")
    folder, grid, first = _grid(overrides, first, compose)
    runs = name_runs([[word for word in words if not word.startswith(UNNAMED)] for words in grid])
    sweep = Sweep(folder, command.path, tuple(runs))
    plains = []
    for run, words in zip(runs, grid, strict=True):
        plain = checked(command, first if run.number == 0 else compose(words), {}, sweep.run_dir(run))
        _label(plain, sweep, run, words)
        plains.append(plain)
    launched = bool(plains[0].get("launcher"))
    if launched:
        build(plains[0]["launcher"])
    elif any(_several(plain) for plain in plains):
        raise UserError("several devices and several runs do not go together in one process; use launcher=slurm_debug")
    trusted = list(dict.fromkeys(word for plain in plains for word in Trust.of(plain, folders).words_for_jobs()))
    check_folder(folder, "paths.run_dir")
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(sweep) as under_way:
        if not (folder / FILE).exists():
            _record(sweep, plains, folders[0])
            begun: str | bool = _start_new(sweep, command, trusted, remove=new and launched)
        elif Sweep.read(folder).runs != sweep.runs:
            way = f"choose another folder, or go on with that one: spacecast-sweep resume {folder}"
            raise UserError(f"paths.run_dir={folder} holds another sweep; {way}")
        else:
            composed = dict(enumerate(plains))
            begun = under_way or start_missing(Sweep.read(folder), command, {}, trusted, composed, folders[0])
    conclude(Sweep.read(folder), begun)


def _grid(
    overrides: Sequence[str], first: DictConfig, compose: Compose
) -> tuple[Path, list[list[str]], DictConfig]:
    """Folder of the sweep, the overrides of each run, and the configuration of the first."""
    try:
        for part, advice in PARTS_OF_HYDRA.items():
            if f"Basic{part.capitalize()}" not in str(first.hydra[part]._target_):
                raise UserError(f"hydra/{part}: {advice}")
        params = first.hydra.sweeper.get("params") or {}
        fixed = [f"{key}={value}" for key, value in params.items()]
        overrides = [word for word in overrides if not (word.startswith(CHOICE) and "experiment" in params)]
        grid = expanded([*fixed, *overrides])
        first = compose(grid[0]) if fixed else first
        typed = any(word.startswith(PLACE) for word in overrides)
        folder = Path(str(first.paths.run_dir if typed else first.hydra.sweep.dir))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, list) from error
    return folder.expanduser().absolute(), grid, first


def _start_new(sweep: Sweep, command: Command, trusted: Sequence[str], *, remove: bool) -> bool:
    """Start the runs of a sweep that has just been recorded; a launcher that refuses them all may have it removed."""
    try:
        start(sweep, command, sweep.runs, {}, trusted)
    except UserError:
        if remove and not Sweep.read(sweep.folder).submissions:
            shutil.rmtree(sweep.folder)
        raise
    return True


def _label(plain: Plain, sweep: Sweep, run: Run, words: Sequence[str]) -> None:
    """In MLflow the runs share the tag `sweep` and are named by what differs."""
    logger = plain.get("logger")
    if not isinstance(logger, dict) or "run_name" not in logger or "tags" not in logger:
        return
    logger["tags"] = {"sweep": sweep.name, **(logger["tags"] or {})}
    if run.name and "logger.run_name" not in typed_keys(words):
        logger["run_name"] = run.name


def _record(sweep: Sweep, plains: Sequence[Plain], conf: Path) -> None:
    """Write `sweep.json`, the configuration of each run and, for jobs that start later, the code.

    Raises:
        UserError: the folder holds something else.

    """
    if any(path.name != LOCK for path in sweep.folder.iterdir()):
        raise UserError(f"paths.run_dir={sweep.folder} holds other files; a sweep needs a folder of its own")
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
