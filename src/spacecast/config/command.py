"""What makes a console script."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Plain = dict[str, Any]


def _same_words(words: Sequence[str]) -> list[str]:
    """Leave the command line as it is."""
    return list(words)


def _same_config(plain: Plain, typed: Sequence[str]) -> Plain:  # noqa: ARG001 - the signature of Command.complete
    """Leave the configuration as it is."""
    return plain


def _any_folder(plain: Plain) -> None:
    """Let a run into any folder."""


@dataclass(frozen=True)
class Command:
    """One console script.

    Args:
        name: as typed, for example `spacecast-train`.
        config: root file in conf/.
        schema: dataclass that the configuration must fit.
        task: does the work for a checked configuration in plain types.
        summary, usage, keys, examples: for `--help`.
        rewrite: turns the words typed by the user into Hydra's.
        complete: fills the composed configuration; receives the overrides typed by the user.
        has_run_folder: whether the command keeps a record in `paths.run_dir`.
        check_folder: holds the configuration against what is in that folder, before anything is written; raises
            UserError.

    """

    name: str
    config: str
    schema: type
    task: Callable[[Plain], Any]
    summary: str
    usage: Sequence[str]
    keys: Mapping[str, str]
    examples: Mapping[str, str]
    rewrite: Callable[[Sequence[str]], list[str]] = _same_words
    complete: Callable[[Plain, Sequence[str]], Plain] = _same_config
    has_run_folder: bool = True
    check_folder: Callable[[Plain], None] = _any_folder

    @property
    def path(self) -> str:
        """Where a job of a scheduler finds the command, `module:NAME`."""
        return f"spacecast.app.{self.name.removeprefix('spacecast-')}:COMMAND"
