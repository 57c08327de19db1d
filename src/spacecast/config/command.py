"""What makes a console script."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from spacecast.config.schema import Schema, typed
from spacecast.core.errors import UserError
from spacecast.core.text import shown
from spacecast.process.workers import import_by_name

Plain = dict[str, Any]  # a whole configuration as config.yaml and checkpoints hold it
Opened = dict[Path, Any]  # what has been read of files, each once
PLACES = tuple(f"spacecast.app.{name}:COMMAND" for name in ("train", "evaluate", "forecast", "graph", "data", "plot"))


@dataclass(frozen=True)
class Inputs(Generic[Schema]):
    """What a command works with.

    Args:
        config: the checked configuration, typed.
        plain: the same as it is recorded.
        opened: files that were read to complete the configuration.

    """

    config: Schema
    plain: Plain
    opened: Opened = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Plain, schema: type[Schema], opened: Opened | None = None) -> "Inputs[Schema]":
        """From a checked configuration in plain types and the dataclass that it fits."""
        return Inputs(typed(plain, schema), plain, {} if opened is None else opened)


@dataclass(frozen=True)
class Command:
    """One console script.

    Args:
        name: as typed, for example `spacecast-train`.
        config: root file in conf/.
        schema: dataclass that the configuration must fit.
        task: does the work.
        summary, usage, keys, examples: for `--help`.
        rewrite: turns the words typed by the user into Hydra's.
        complete: fills the composed configuration; receives the overrides typed by the user, and notes what it reads of
            files for the work that follows.
        has_run_folder: whether the command keeps a record in `paths.run_dir`.
        check_folder: holds the configuration against what is in that folder, before anything is written; raises
            UserError.
        gather: from the command and what was composed to a command that does the work of several configurations, and
            what that works with; None where they ask for one.

    """

    name: str
    config: str
    schema: type
    task: Callable[[Inputs[Any]], Any]
    summary: str
    usage: Sequence[str]
    keys: Mapping[str, str]
    examples: Mapping[str, str]
    rewrite: Callable[[Sequence[str]], list[str]] = list
    complete: Callable[[Plain, Sequence[str], Opened], Plain] = lambda plain, *_: plain
    has_run_folder: bool = True
    check_folder: Callable[[Inputs[Any]], None] = lambda _: None
    gather: Callable[["Command", Any], "tuple[Command, Inputs[Any]] | None"] = lambda *_: None

    @property
    def path(self) -> str:
        """Where a job of a scheduler finds the command, `module:NAME`."""
        return f"spacecast.app.{self.name.removeprefix('spacecast-')}:COMMAND"


def command_of(path: str) -> Command:
    """The command that a sweep or a job names, see `Command.path`.

    Raises:
        UserError: it is none of ours.

    """
    if path not in PLACES:
        raise UserError(f"{shown(repr(path))} is no command of spacecast; this sweep is not run")
    found = import_by_name(path)
    assert isinstance(found, Command)
    return found
