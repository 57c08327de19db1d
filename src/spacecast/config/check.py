"""The check of a composed configuration before anything slow starts."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from spacecast.config.binding import check_target, check_value
from spacecast.config.command import Opened, Plain
from spacecast.config.schema import GIVEN, Evaluate, section_kind
from spacecast.core.errors import UnknownKeyError, UserError
from spacecast.core.names import typed_keys


def check_config(plain: Mapping[str, Any], schema: type) -> None:
    """Hold a configuration against its schema, then each section against the signature of its `_target_`.

    Names of keys first, for that needs no import; nothing is read or written.

    Args:
        plain: the resolved configuration in plain types.
        schema: a dataclass of `config/schema.py`.

    Raises:
        UserError: unknown or missing key, wrong type or range, a `_target_` that does not import.

    """
    check_section(plain, schema, "")
    for name, annotation in get_type_hints(schema).items():
        kind = section_kind(annotation)
        if kind is not None and plain.get(name) is not None:
            hints, section = get_type_hints(kind, include_extras=True), dict(plain[name])
            for key in kind.own:
                if key in section:
                    check_value(section.pop(key), hints[key], f"{name}.{key}")
            section = {key: value for key, value in section.items() if kind.words.get(key, ...) != value}
            check_target(section, name, kind.own, GIVEN.get(name, ()))


def check_section(values: Mapping[str, Any], schema: type, where: str) -> None:
    """Hold a section against a dataclass: keys, types, ranges."""
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = get_type_hints(schema, include_extras=True)
    prefix = f"{where}." if where else ""
    for name in values:
        if name not in fields:
            raise UnknownKeyError(prefix + name, [prefix + field for field in fields])
    for name, field in fields.items():
        key = prefix + name
        if name not in values:
            if field.default is dataclasses.MISSING:
                raise UserError(f"{key} is missing from the configuration")
        elif section_kind(hints[name]):
            _check_presence(values[name], hints[name], key)
        elif dataclasses.is_dataclass(hints[name]):
            if not isinstance(values[name], Mapping):
                raise UserError(f"{key}: expected a section, found {values[name]!r}")
            check_section(values[name], hints[name], key)
        else:
            check_value(values[name], hints[name], key)


def _check_presence(value: Any, annotation: Any, key: str) -> None:
    """A section is a mapping, or null where that is allowed."""
    if value is None and type(None) in get_args(annotation):
        return
    if not isinstance(value, Mapping):
        raise UserError(f"{key}: expected a member of the group {key}, found {value!r}; choose one with {key}=NAME")


def untracked(schema: type) -> Callable[[Plain, Sequence[str], Opened], Plain]:
    """`Command.complete` of a command that trains and tracks nothing.

    Settings of one machine (`conf/local/default.yaml`) hold for all commands, so sections of a training that they bring
    along are left out; those that are typed are not. Every command takes `logger=none`; another logger is a mistake.

    Args:
        schema: the dataclass of the command.

    """
    own = {field.name for field in dataclasses.fields(schema)}
    training = {field.name for field in dataclasses.fields(Evaluate)} - own

    def complete(plain: Plain, typed: Sequence[str], _: Opened) -> Plain:
        words = [word.lstrip("+~") for word in typed]
        wrong = [word for word in words if word.startswith("logger=") and word not in ("logger=none", "logger=null")]
        if wrong:
            raise UserError(f"{wrong[0]}: this command tracks nothing; leave it out, or give logger=none")
        named = {key.partition(".")[0] for key in typed_keys(typed)}
        return {name: value for name, value in plain.items() if name not in training or name in named}

    return complete


def check_folder(folder: Path, key: str) -> None:
    """Make sure that a folder can be made and written into; leaves nothing behind.

    Raises:
        UserError: it cannot.

    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    made = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{key}={folder}: cannot write there ({reason}); choose another folder") from error
    finally:
        for path in reversed(made):
            path.rmdir()
