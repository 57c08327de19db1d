"""The words of a command line: Hydra's flags, and overrides as Hydra reads them."""

import argparse
import re
from collections.abc import Sequence
from itertools import chain, product
from pathlib import Path
from typing import NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from spacecast.config.choices import check_choice
from spacecast.config.command import Command
from spacecast.config.compose import conf_dir, explain, group_members
from spacecast.config.paths import absolute_path
from spacecast.core.errors import UserError

UNREADABLE = re.compile(r"[^\w\s/\-\\+.$%*@?|:,]|[^\x00-\x7f]")  # signs that Hydra reads only within quotes
INFO = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
RUN_NAMES = ("datastore.runs", "datastore.holdout", "evaluation.runs", "run")
NUMBER_LIKE = re.compile(r"(?<![\w.+-])(?!(0|[1-9]\d*)(?![\w.+-]))\d[\w.+-]*")  # but no plain whole number
CALL = re.compile(r"\w+\(.*\)$")  # choice(1, 2) and its like
PARTS_OF_HYDRA = {  # that are ours, by what to do instead of choosing another one
    "sweeper": "runs are expanded as a grid before they are submitted; leave it out",
    "launcher": "choose launcher=slurm or launcher=slurm_debug, which are spacecast's own",
}


def arranged_words(command: Command, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's own flags, and all words as Hydra wants them: overrides first, each readable."""
    words = command.rewrite(words)
    flags = parse_words(words)
    ours = group_members([flags.conf])  # groups that only the user has are added with a plus
    groups = {group: members for group, members in group_members(flags.folders).items() if group in ours}
    rest = [word for word in words if word not in flags.overrides]
    readable = chain.from_iterable(map(_readable, flags.overrides))
    flags.overrides = [check_choice(word, groups) for word in readable]
    return flags, [*flags.overrides, *rest]


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """Hydra's own flags and the overrides, with the folders to search: `conf`, `user_conf` and both as `folders`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--hydra-help", action="store_true")
    for names in (["--multirun", "-m"], ["--run", "-r"], ["--resolve"], ["--shell-completion", "-sc"]):
        parser.add_argument(*names, action="store_true")
    for names in (["--package", "-p"], ["--config-path", "-cp"], ["--config-name", "-cn"], ["--config-dir", "-cd"]):
        parser.add_argument(*names)
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=INFO)

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")

    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_intermixed_args(list(words))
    named = flags.config_path
    flags.conf = conf_dir() if named is None else Path(absolute_path(named, "--config-path"))
    flags.user_conf = None if flags.config_dir is None else Path(flags.config_dir)
    flags.folders = [folder for folder in (flags.conf, flags.user_conf) if folder is not None]
    return flags


def _readable(word: str) -> list[str]:
    """What Hydra would not read as it was meant.

    `a.b={...}` replaces a mapping (Hydra merges it into the old one and refuses new keys); `~/` at the start of a value
    is the home folder; text with a sign that Hydra does not take as it stands is quoted, unless it is a list of values;
    names of runs that Hydra would read as numbers, such as 1_0 for 10, are quoted.
    """
    key, equals, value = word.partition("=")
    if not equals:
        return [word]
    if key.lstrip("+") in RUN_NAMES and not set("'\"") & set(value):
        value = NUMBER_LIKE.sub(r"'\g<0>'", value)
    if value.startswith("{") and "." in key and not key.startswith("~"):
        plain = key.lstrip("+")
        return [f"{'++' if key != plain else ''}{plain}=null", f"++{plain}={value}"]
    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    if value[:1] not in set("'\"[{$") and UNREADABLE.search(value) and "\\" not in value and not CALL.match(value):
        value = "'{}'".format(value.replace("'", "\\'"))
    return [f"{key}={value}"]


def expanded(overrides: Sequence[str]) -> list[list[str]]:
    """Overrides of each run of a grid, the last one fastest, by the rules of Hydra's own sweeper.

    Args:
        overrides: `key=value`, or `key=value1,value2` and its like for several runs; the last one of a key holds.

    Raises:
        UserError: one cannot be read, or has no end.

    """
    values: dict[tuple[str, bool], list[str]] = {}
    try:
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            owner, _, part = override.key_or_group.partition("/")
            if owner == "hydra" and part in PARTS_OF_HYDRA:
                raise UserError(f"hydra/{part}: {PARTS_OF_HYDRA[part]}")
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise UserError(f"{override.input_line}: give values or a range; a sweep is a grid")
            swept = override.is_sweep_override()
            found = list(override.sweep_string_iterator()) if swept else [override.get_value_element_as_str()]
            if not found:
                raise UserError(f"{override.input_line}: there is no value in it; give one at least")
            key = override.get_key_element()
            values[key, found == ["null"]] = [f"{key}={value}" for value in found]  # see `_readable` for null
    except HydraException as error:
        raise explain(error, list) from error
    return [list(words) for words in product(*values.values())]
