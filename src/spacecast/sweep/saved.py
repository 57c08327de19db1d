"""Configurations in run folders: read, checked before a run goes on from there, and moved along with the folder."""

import logging
import logging.config
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from spacecast.config.binding import check_target
from spacecast.config.command import Command, Inputs, Plain, command_of
from spacecast.config.compose import conf_dir
from spacecast.config.run import RunFolder, run_task
from spacecast.config.trust import Trust, check_simulation, plain_sections
from spacecast.core.errors import UserError
from spacecast.core.text import shown
from spacecast.process.run_folder import CONFIG_FILE, moved_paths
from spacecast.sweep.folder import Run, Sweep
from spacecast.tracking.store import sqlite_path

log = logging.getLogger(__name__)

SHELL = ("setup", "srun", "sbatch")  # keys of a launcher that are commands, or options for one
YOURS = "if the sweep is yours, give the command that made it again"


def read_config(run_dir: Path) -> Plain:
    """The recorded configuration of a run, all text as it stands.

    Raises:
        UserError: there is none.

    """
    file = run_dir / CONFIG_FILE
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} cannot be read ({type(error).__name__}); the run cannot go on from there") from error
    return plain_sections(content, str(file))


def saved_config(run_dir: Path, words: Sequence[str]) -> Plain:
    """The recorded configuration of a run that goes on, with this folder as its own wherever that lay before.

    Args:
        run_dir: the folder.
        words: what the user trusts by name; what the file says of that does not count.

    Raises:
        UserError: it would call something else.

    """
    plain = read_config(run_dir)
    Trust(tuple(words), folders=(conf_dir(),)).check(plain, str(run_dir / CONFIG_FILE))
    return _moved(plain, run_dir) | {"trust": list(words)}


def _moved(plain: Plain, run_dir: Path) -> Plain:
    """A configuration whose paths in the run folder are in this one."""
    paths = plain.get("paths")
    before = paths.get("run_dir") if isinstance(paths, dict) else None
    if not isinstance(before, str) or not before:
        raise UserError(f"{run_dir / CONFIG_FILE} does not say paths.run_dir; the run cannot go on from there")
    moved: Plain = moved_paths(plain, before, str(run_dir))
    return moved


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
        log.error("%s", error)  # not the last line of a sweep
        raise


def run_job(command: str, run_dir: str, *trusted: str) -> None:
    """What a job of a scheduler does: `run_saved`, all in words."""
    run_saved(command_of(command), Path(run_dir), trusted)


def start_logs(run_dir: Path, name: str) -> None:
    """Log as a run by itself does: short lines on the terminal, full ones in the file `name.log` of the run."""
    settings = yaml.safe_load((conf_dir() / "hydra" / "job_logging" / "spacecast.yaml").read_text(encoding="utf-8"))
    settings["handlers"]["file"]["filename"] = str(run_dir / f"{name}.log")
    logging.config.dictConfig(settings)


def check_saved(
    sweep: Sweep, runs: Sequence[Run], words: Sequence[str], changes: Plain, composed: Mapping[int, Plain]
) -> None:
    """Look at the configurations of runs that are to go on as at those of others, for anybody may have written them.

    Args:
        sweep: whose runs.
        runs: which of them.
        words: what the user trusts by name.
        changes: keys of the launcher that the user has typed.
        composed: what the user has typed now for each run, by its number; what equals it is the user's own.

    Raises:
        UserError: they would call, run in a shell, or write what the user has not asked for; what to type.

    """
    trust = Trust(tuple(words), folders=(conf_dir(),))
    for run in runs:
        folder = sweep.run_dir(run)
        plain, source = read_config(folder), str(folder / CONFIG_FILE)
        trust.check(plain, source)
        typed, plain = composed.get(run.number, {}), _moved(plain, folder)
        launcher = plain.get("launcher")
        if launcher and launcher != typed.get("launcher"):
            _check_launcher(launcher, typed.get("launcher") or {}, changes, source)
        _check_places(plain, typed, sweep.folder, folder)


def _check_launcher(section: Any, typed: Plain, changes: Plain, source: str) -> None:
    """Refuse commands of the shell, and what could be one, unless the user has typed it."""
    if not isinstance(section, dict):
        raise UserError(f"{source}: launcher is no section of a configuration; refused")
    for key in SHELL:
        value = section.get(key)
        if value and key not in changes and value != typed.get(key):
            text = shown(repr(value))
            again = f"type launcher.{key}=VALUE again, or give the command that made the sweep"
            raise UserError(f"{source}: launcher.{key}={text} would go to a shell; {again}")
    check_target({**section, **changes}, f"{source}: launcher")
    odd = [key for key, value in section.items() if isinstance(value, str) and not value.isprintable()]
    if odd:
        raise UserError(f"{source}: launcher.{odd[0]} has a line break in it; refused")


def _check_places(plain: Plain, typed: Plain, sweep: Path, run_dir: Path) -> None:
    """Refuse to write where nobody expects a sweep to write: what a run leaves lies in its folder."""
    source = str(run_dir / CONFIG_FILE)
    if run_dir.resolve() != sweep.resolve() / run_dir.name:
        raise UserError(f"{source} does not lie in the sweep but in {run_dir.resolve()}; refused")
    logger = {} if plain.get("logger") == typed.get("logger") else plain.get("logger") or {}
    csv = [logger.get(key) for key in ("save_dir", "name", "version")]
    written = {
        "logger.journal": logger.get("journal"),
        "logger.save_dir": str(Path(*map(str, filter(None, csv)))) if csv[0] else None,
        "picture": None if plain.get("picture") == typed.get("picture") else plain.get("picture"),
    }
    for key, place in written.items():
        if place is not None and not _lies_in(str(place), run_dir):
            raise UserError(f"{source}: {key}={shown(str(place))} lies outside of the run folder; {YOURS}")
    _check_store(str(logger.get("tracking_uri") or ""), sweep, source)
    if all(plain.get(name) == typed.get(name) for name in ("paths", "datastore", "simulation")):
        return
    data = Path(str((plain.get("paths") or {}).get("data_dir")))
    if not data.is_absolute() or (not data.is_dir() and not sweep.resolve().is_relative_to(data.resolve().parent)):
        raise UserError(f"{source}: there is no folder paths.data_dir={shown(str(data))} for its data; {YOURS}")
    check_simulation(plain, (), source)


def _lies_in(place: str, folder: Path) -> bool:
    """Whether an absolute path, links followed, is at or below a folder."""
    return Path(place).is_absolute() and Path(place).resolve().is_relative_to(folder.resolve())


def _check_store(uri: str, sweep: Path, source: str) -> None:
    """Refuse to make a new file for a tracking store, unless it is the usual one, in a folder above the sweep."""
    store = sqlite_path(uri)
    if store is None or store.exists():
        return
    if store.name != "mlflow.db" or not sweep.resolve().is_relative_to(store.resolve().parent):
        raise UserError(f"{source}: logger.tracking_uri={shown(uri)} would make a new file there; {YOURS}")
