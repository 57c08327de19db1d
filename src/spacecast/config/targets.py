"""Imports what `_target_` names."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from spacecast.core.errors import UserError, nearest
from spacecast.core.names import DOTTED, within


def locate(target: str, where: str) -> Callable[..., Any]:
    """Import what `_target_` names.

    Raises:
        UserError: there is no such module or no such name in it; the nearest name is given.

    """
    if not DOTTED.fullmatch(target):
        raise UserError(f"{where}._target_: {target!r} is no dotted name of a class or a function")
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
