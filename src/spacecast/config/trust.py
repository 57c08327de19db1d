"""What a configuration that comes out of a file may call.

A section of a configuration is a call: `_target_` names a class or a function, the other keys are its arguments. What
the user types, or keeps in conf/ and in folders of `--config-dir`, is the user's own. What comes out of a checkpoint or
of the folder of a run may have been written by anybody. It may name what the configuration groups in use name for the
same section, optimisers of torch, and what the user allows with `trust=MODULE`. Nothing else is imported or called.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import yaml

from spacecast.config.compose import conf_dir, config_folders
from spacecast.config.paths import absolute_path
from spacecast.config.targets import current_name, locate, with_current_names
from spacecast.core.errors import UserError
from spacecast.core.names import DOTTED, within
from spacecast.core.text import shown

DEEPEST, MOST = 40, 100_000  # levels and values of a configuration; no real one comes near
MIXED = ("*.yaml", "experiment/**/*.yaml", "local/**/*.yaml")  # files that hold several sections


@dataclass(frozen=True)
class Trust:
    """What configurations out of files may call.

    Args:
        words: modules, classes and functions that the user trusts by name.
        composed: targets by section that the user has typed or chosen by a member of a group.
        folders: configuration folders in use, whose groups name targets.

    """

    words: tuple[str, ...] = ()
    composed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, plain: Mapping[str, Any], folders: Sequence[Path] | None = None) -> Self:
        """What follows from a configuration that the user has composed.

        Args:
            plain: with the key `trust`; nothing in it comes out of a file of others.
            folders: configuration folders; None: those that Hydra has searched.

        Raises:
            UserError: `trust` holds something that names no module.

        """
        composed = {name: frozenset(map(str, _names(section, name))) for name, section in plain.items()}
        return cls(trusted_words(plain.get("trust")), composed, tuple(config_folders() if folders is None else folders))

    def check(self, sections: Mapping[str, Any], source: str) -> None:
        """Look at every target in sections that come out of a file.

        Args:
            sections: plain values, see `plain_values`.
            source: what they come out of, for the message.

        Raises:
            UserError: the first target that is not allowed, where it stands and what to type.

        """
        for section, content in sections.items():
            for where, target in targets(content, section):
                place = shown(where)
                if not isinstance(target, str):
                    kind = type(target).__name__
                    raise UserError(f"{source}: {place}._target_ is a {kind}, not the name of a class; refused")
                if not self._allows(section, target):
                    raise UserError(f"{source}: {_refusal(section, place, target)}")
                if reason := self._defined_elsewhere(section, target, place):
                    raise UserError(f"{source}: {reason}")

    def words_for_jobs(self) -> tuple[str, ...]:
        """What a job must be told, for it knows conf/ but not what was typed, nor other configuration folders."""
        known = Trust(folders=(conf_dir(),))
        own = {t for name, names in self.composed.items() for t in names if not known._allows(name, t)}
        return (*self.words, *sorted(own - set(self.words)))

    def _allows(self, section: str, target: str) -> bool:
        """Whether the name alone may be looked at further."""
        return self._named(section, target) or within(target, self.words)

    def _named(self, section: str, target: str) -> bool:
        """Whether somebody whom the user trusts has written just this name, for this section."""
        return (
            target in self.words
            or target in self.composed.get(section, ())
            or (section == "optimizer" and _is_optimizer(target))
            or any(target in _names_in(folder, section) for folder in self.folders)
        )

    def _defined_elsewhere(self, section: str, target: str, where: str) -> str:
        """What is wrong with a name below a trusted module that leads out of it, such as `mine.os.system`."""
        if self._named(section, target):
            return ""
        home = str(getattr(locate(target, where), "__module__", None) or "builtins")
        if within(home, self.words):
            return ""
        return f"{where}._target_={target!r} leads to something of {home}, which is not trusted; see trust=MODULE"


def check_simulation(plain: Mapping[str, Any], typed: Sequence[str], source: str) -> None:
    """Let a section `simulation` that comes out of a file make data where the user keeps data, and nowhere else.

    Args:
        plain: a configuration with this section.
        typed: keys that the user has typed.
        source: the file, for the message.

    Raises:
        UserError: it would write elsewhere.

    """
    simulation, datastore = plain.get("simulation"), plain.get("datastore") or {}
    if not simulation or "simulation.root" in typed:
        return
    root = Path(absolute_path(simulation.get("root"), "simulation.root")).resolve()
    kept, home = absolute_path(datastore.get("root"), "datastore.root"), Path(plain["paths"]["data_dir"]).resolve()
    chosen = {"datastore", "datastore.root"} & set(typed) and root == Path(kept).resolve()
    if not chosen and not root.is_relative_to(home) and not any(root.glob("run_*.zarr")):
        raise UserError(
            f"{source}: its simulation would write into {shown(str(root))}, outside of paths.data_dir={home}; "
            "give datastore.root=DIR and simulation.root=DIR, or another paths.data_dir"
        )


def trusted_words(value: Any) -> tuple[str, ...]:
    """The key `trust`: a dotted name or a list of such.

    Raises:
        UserError: something else.

    """
    words = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    wrong = [word for word in words if not isinstance(word, str) or not _is_name(word)]
    if wrong:
        raise UserError(f"trust: expected the dotted name of a module, found {wrong[0]!r}; for example trust=mymodel")
    return tuple(map(current_name, words))


def plain_values(value: Any, source: str, where: str = "") -> Any:
    """A copy of a stored configuration in dictionaries, lists and plain values.

    Args:
        value: as it was read.
        source: the file, for the message.
        where: its dotted key.

    Raises:
        UserError: it holds anything else, contains itself, or is larger than any configuration.

    """
    left = [MOST]

    def copied(value: Any, where: str, depth: int) -> Any:
        left[0] -= 1
        if depth > DEEPEST or left[0] < 0:
            raise UserError(f"{source}: {where[:60]} is nested too deeply or too large for a configuration; refused")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, (str, int, float, bool, type(None))):
                    raise UserError(f"{source}: {shown(where)} has a key of type {type(key).__name__}; refused")
            inside = f"{where}." if where else ""
            return {key: copied(entry, f"{inside}{key}", depth + 1) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [copied(entry, f"{where}[{number}]", depth + 1) for number, entry in enumerate(value)]
        if isinstance(value, (str, int, float, bool, type(None))):
            return value
        raise UserError(f"{source}: {shown(where) or 'the configuration'} holds a {type(value).__name__}; refused")

    return copied(value, where, 0)


def plain_sections(value: Any, source: str) -> dict[str, Any]:
    """`plain_values` of a whole configuration, its targets by their names of today: a mapping by section."""
    found = with_current_names(plain_values(value, source))
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UserError(f"{source} holds no configuration")
    return found


def targets(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Every `_target_` in a plain value with the dotted key of its section, whatever else stands beside it."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield where, value["_target_"]
        for key, entry in value.items():
            yield from targets(entry, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from targets(entry, f"{where}[{number}]")


def _names(value: Any, where: str = "") -> list[Any]:
    """Every target in a plain value."""
    return [target for _, target in targets(value, where)]


@lru_cache(maxsize=256)
def _names_in(folder: Path, section: str) -> frozenset[str]:
    """Targets that the files of a configuration folder name for a section; files that are no YAML name none.

    The name of the section comes out of a file as well, so it is compared with those of groups, never searched for.
    """
    found: set[str] = set()
    for file in sorted(folder.glob("*/**/*.yaml")):
        if file.relative_to(folder).parts[0] == section:
            found.update(map(str, _names(_read(file))))
    for file in sorted(path for pattern in MIXED for path in folder.glob(pattern)):
        content = _read(file)
        found.update(map(str, _names(content.get(section) if isinstance(content, Mapping) else None)))
    return frozenset(found)


@lru_cache(maxsize=256)
def _read(file: Path) -> Any:
    """Content of a YAML file, its targets by their names of today; None where it is none."""
    try:
        return with_current_names(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return None


def _is_name(text: str) -> bool:
    """Whether a text is a dotted name in plain letters; others may look like what they are not."""
    return text.isascii() and DOTTED.fullmatch(text) is not None


def _is_optimizer(target: str) -> bool:
    """Whether a name is `torch.optim.` and one of the optimisers there."""
    import torch

    module, _, name = target.rpartition(".")
    found = getattr(torch.optim, name, None) if module == "torch.optim" else None
    return isinstance(found, type) and issubclass(found, torch.optim.Optimizer)


def _refusal(section: str, where: str, target: str) -> str:
    """Why a target is not called, and what to type if it should be."""
    found = f"{where}._target_={target[:100]!r} is not called"
    text = f"{found}, for no configuration group names it for {shown(section)!r}"
    if not _is_name(target):
        return text
    return f"{text}; if you know and trust that code, add trust={target.rpartition('.')[0] or target}"
