"""Choices of group members on the command line: none at all, a plus too many, and settings that suit another member."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig

from spacecast.config.command import Plain
from spacecast.config.compose import NOTHING, config_folders, flat_keys
from spacecast.core.errors import UnknownKeyError, UserError, nearest
from spacecast.core.names import typed_keys, within

SKIPPED = ("simulation",)  # groups that Hydra leaves out without a word when there is no such member


def check_choice(word: str, groups: Mapping[str, Sequence[str]]) -> str:
    """An override as Hydra takes it, `group=null` as the member that stands for nothing.

    Args:
        word: what was typed.
        groups: names of the members of each group.

    Raises:
        UserError: the group has no such member, is needed, or is given with a plus.

    """
    key, _, value = word.partition("=")
    group, members = key.lstrip("+"), groups.get(key.lstrip("+"), ())
    if not members or value[:1] in ("{", "["):
        return word
    if key != group:
        raise UserError(f"{word}: a member takes the place of another one; leave the plus out: {group}={value}")
    chosen, nothing = value.split(","), NOTHING.get(group, "none")
    if "null" in chosen and nothing not in members:
        raise UserError(f"{word}: leave it out, or choose one of {', '.join(members)}")
    chosen = [nothing if each == "null" or (each == "none" and each not in members) else each for each in chosen]
    for each in chosen:
        if group in SKIPPED and each.isidentifier() and each not in members:
            raise UserError(f"group {group!r} has no member {each!r}; {nearest(each, members)}")
    return f"{key}={','.join(chosen)}"


def explain_setting(error: UnknownKeyError, plain: Plain, typed: Sequence[str]) -> UserError:
    """The error of a key that nothing takes, naming the file where nobody has typed the key.

    Args:
        error: about the key.
        plain: the configuration.
        typed: the overrides.

    """
    section = error.key.rpartition(".")[0]
    if any(within(key, [error.key]) for key in typed_keys(typed)):
        return error
    for source, content in _settings():
        found = [key for key in flat_keys(content) if key == error.key or _is_unknown(key, section, error.valid, plain)]
        if error.key not in found:
            continue
        leaves = [key.rpartition(".")[2] for key in error.valid]
        if difflib.get_close_matches(error.key.rpartition(".")[2], leaves, n=1, cutoff=0.75):
            return UserError(f"{source}: {error}")
        deleted = " ".join(f"~{key}" for key in found)
        return UserError(
            f"{source} sets {', '.join(found)}, which {error.taker or 'this command'} does not take; "
            f"add {deleted} to the command, or choose another {section or 'experiment'}"
        )
    return error


def _is_unknown(key: str, section: str, valid: Sequence[str], plain: Plain) -> bool:
    """Whether a key of the same section is another one that nothing takes."""
    name = key.rpartition(".")[2]
    return bool(section) and key == f"{section}.{name}" and key not in valid and name in (plain.get(section) or {})


def _settings() -> list[tuple[str, Any]]:
    """Files of several sections that the command at hand has taken: how they are called, and what they say."""
    experiment = HydraConfig.get().runtime.choices.get("experiment")
    chosen = [] if experiment is None else [("experiment", str(experiment))]
    found = []
    for group, member in (*chosen, ("local", "default")):
        name = f"{group}={member}" if group == "experiment" else f"conf/{group}/{member}.yaml"
        found += [(name, content) for content in _contents(group, member, set())]
    return found


def _contents(group: str, member: str, seen: set[str]) -> list[Any]:
    """A member and those of the same group that it is made of."""
    contents: list[Any] = []
    for folder in config_folders():
        file = Path(folder) / group / f"{member}.yaml"
        if str(file) in seen or not file.is_file():
            continue
        seen.add(str(file))
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        contents.append(content)
        for entry in content.get("defaults") or []:
            if isinstance(entry, str) and entry != "_self_":
                contents += _contents(group, entry.removeprefix(f"/{group}/"), seen)
    return contents
