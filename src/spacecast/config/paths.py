"""Paths of a configuration: made absolute once, against the folder in which the command was typed.

A path is what an annotation calls one: `Path` in the dataclasses of `config/schema.py` and in the signatures of what
`_target_` names. A function within `Annotated[str, function]` turns text into the form that is recorded.
"""

import dataclasses
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from spacecast.config.binding import DIRECTIVES, hints_of
from spacecast.config.command import Plain
from spacecast.config.targets import locate
from spacecast.core.errors import UserError
from spacecast.core.names import REGISTERED


def absolute_path(text: object, key: str, base: Path | None = None) -> str:
    """A path as it is recorded.

    Args:
        text: as typed; `~` is the home folder, an address, `scheme://` or `models:/`, stays as it is.
        key: for messages.
        base: what a relative path is relative to; None: the working folder.

    Raises:
        UserError: it is empty.

    """
    typed = str(text)
    if not typed.strip():
        raise UserError(f"{key} is empty; give a path")
    if "://" in typed or typed.startswith(REGISTERED):
        return typed
    path = (base or Path.cwd()) / os.path.expanduser(typed)  # noqa: PTH111 - Path.expanduser raises on `~nobody`
    return os.path.realpath(path) if ".." in path.parts else str(path)


def absolute_paths(plain: Plain, schema: type) -> Plain:
    """A checked configuration with all of its paths absolute.

    Args:
        plain: in plain types, names and types checked.
        schema: a dataclass of `config/schema.py`.

    Raises:
        UserError: a path is empty, or an address is not acceptable.

    """
    hints = get_type_hints(schema, include_extras=True)
    return {name: _settled(value, hints.get(name, Any), name) for name, value in plain.items()}


def _settled(value: Any, annotation: Any, key: str) -> Any:
    """A value of the configuration, all paths in it absolute."""
    if isinstance(value, Mapping):
        entry = _hints_within(value, annotation, key)
        return {name: _settled(each, entry(name), f"{key}.{name}") for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        inside = next((get_args(part)[0] for part in _parts(annotation) if _is_sequence(part)), Any)
        return [_settled(each, inside, f"{key}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, str):
        for part in _parts(annotation):
            if get_origin(part) is Annotated:
                for function in filter(callable, get_args(part)[1:]):
                    value = function(value, key)
            elif _is_path(part):
                return absolute_path(value, key)
    return value


def _hints_within(value: Mapping[str, Any], annotation: Any, key: str) -> Any:
    """For a mapping: what gives the annotation of each of its keys."""
    if isinstance(value.get("_target_"), str):
        hints = hints_of(locate(value["_target_"], key))
        return lambda name: Any if name in DIRECTIVES else hints.get(name, Any)
    for part in _parts(annotation):
        if dataclasses.is_dataclass(part) and isinstance(part, type):
            hints = get_type_hints(part, include_extras=True)
            return lambda name: hints.get(name, Any)
        if len(get_args(part)) == 2 and isinstance(get_origin(part), type) and issubclass(get_origin(part), Mapping):
            return lambda _: get_args(part)[1]
    return lambda _: Any


def _is_sequence(annotation: Any) -> bool:
    """Whether it is list[...], tuple[...] or Sequence[...]."""
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Sequence) and bool(get_args(annotation))


def _is_path(annotation: Any) -> bool:
    """Whether it is `Path` or `os.PathLike[str]`."""
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and issubclass(kind, os.PathLike)


def _parts(annotation: Any) -> Iterator[Any]:
    """An annotation, or the alternatives of a union."""
    if get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation
