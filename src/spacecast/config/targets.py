"""Imports what `_target_` names, also by the names of earlier versions."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spacecast.core.errors import UserError, nearest
from spacecast.core.names import DOTTED, within

MOVED = {
    "spacecast.app.assemble.no_logger": "spacecast.tracking.logger.no_logger",
    "spacecast.data.absences": "spacecast.storage.absences",
    "spacecast.data.arrays": "spacecast.storage.arrays",
    "spacecast.data.chunks": "spacecast.storage.folder",
    "spacecast.data.encoding": "spacecast.storage.encoding",
    "spacecast.data.fingerprint": "spacecast.storage.fingerprint",
    "spacecast.data.times": "spacecast.storage.times",
    "spacecast.data.units": "spacecast.core.units",
    "spacecast.evaluation.examples": "spacecast.forecast.writer",
    "spacecast.evaluation.forecaster": "spacecast.forecast.forecaster",
    "spacecast.forecast.elbo": "spacecast.objectives.elbo",
    "spacecast.forecast.objectives": "spacecast.objectives.forecast",
    "spacecast.launch": "spacecast.sweep",
    "spacecast.launch.lock": "spacecast.process.lock",
    "spacecast.launch.status": "spacecast.process.status",
    "spacecast.losses": "spacecast.formulas",
    "spacecast.metrics": "spacecast.evaluation.metrics",
    "spacecast.tracking.logger.make_logger": "spacecast.tracking.logger.RunLogger",
    "spacecast.training.callbacks.Lines": "spacecast.training.trainer.ProgressLines",
    "spacecast.training.checkpoint": "spacecast.checkpoint.content",
    "spacecast.training.checkpoint.SelfDescription": "spacecast.training.checkpoint_io.SelfDescription",
    "spacecast.training.files": "spacecast.checkpoint.files",
    "spacecast.training.files.WholeFiles": "spacecast.training.checkpoint_io.AtomicCheckpointIO",
    "spacecast.training.interruption": "spacecast.process.signals",
    "spacecast.training.keeper": "spacecast.training.checkpointing",
    "spacecast.training.keeper.Keeper": "spacecast.training.checkpointing.CheckpointWriter",
}
"""Modules, classes and functions by the names that they had when checkpoints, run folders and users' YAML were written.

The longest name counts. Left out is what no section of a configuration could name, such as the parts of commands.
"""


def current_name(name: str) -> str:
    """The name that something of spacecast has today; any other name stays as it is.

    Args:
        name: a dotted name, of today or of before; it need not exist.

    """
    owner = max((old for old in MOVED if within(name, [old])), key=len, default="")
    return f"{MOVED[owner]}{name[len(owner) :]}" if owner else name


def with_current_names(value: Any) -> Any:
    """A copy of plain values in which every `_target_` is the name of today."""
    if isinstance(value, Mapping):
        return {
            key: current_name(entry) if key == "_target_" and isinstance(entry, str) else with_current_names(entry)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [with_current_names(entry) for entry in value]
    return value


def locate(target: str, where: str) -> Callable[..., Any]:
    """Import what `_target_` names, today or before.

    Raises:
        UserError: there is no such module or no such name in it; the nearest name is given.

    """
    if not DOTTED.fullmatch(target):
        raise UserError(f"{where}._target_: {target!r} is no dotted name of a class or a function")
    target = current_name(target)
    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:split])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and within(name, [error.name]):
                continue
            raise UserError(f"{where}._target_: {name} needs the module {error.name!r}, which is missing") from error
        except Exception as error:  # (whatever the user's own file raises)
            if parts[0] == "spacecast":
                raise
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{where}._target_: {name} cannot be imported ({cause}); correct it") from error
        for attribute in parts[split:]:
            if not hasattr(found, attribute):
                options = [option for option in dir(found) if not option.startswith("_")]
                raise UserError(f"{where}._target_: {target!r} does not exist; {_close(attribute, options, name)}")
            found = getattr(found, attribute)
        if not callable(found):
            raise UserError(f"{where}._target_: {target!r} cannot be called; name a class or a function")
        return found
    if len(parts) == 1:
        raise UserError(f"{where}._target_: {target!r} names no module; give MODULE.{target}")
    raise UserError(
        f"{where}._target_: there is no module {parts[0]!r}; put {parts[0]}.py into the folder of --config-dir or "
        "beside it, or name the folder that holds it with PYTHONPATH=FOLDER"
    )


def _close(name: str, options: Sequence[str], module: str) -> str:
    """The nearest name, but never the list of all of a module's names."""
    hint = nearest(name, options)
    return hint if hint.startswith("did you mean") else f"{module} has no {name!r}"
