"""A stored configuration without the paths of the machine that it was made on, and back on another one."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from spacecast.config.command import Plain
from spacecast.config.stored import RELATIVE, TAKEN
from spacecast.config.targets import current_name
from spacecast.core.errors import UserError
from spacecast.core.text import shown

STORED_GRAPH = "spacecast.graphs.stored.StoredGraph"
DATA_DIR = "data"  # below the folder; where it does not exist, paths below it follow the user's `paths.data_dir`


def portable(config: Plain, graph_path: str) -> Plain:
    """What shaped a model, by a configuration that any machine understands.

    Args:
        config: of a checkpoint, in plain types.
        graph_path: where the folder holds the graph, for a model on a stored one.

    Returns:
        The sections that an evaluation takes over. A path below the data folder is relative to it, of any other only
        the last part is left.

    """
    base = (config.get("paths") or {}).get("data_dir")
    sections = {name: _relative(config[name], base) for name in TAKEN if config.get(name) is not None}
    if reads_graph(config):
        sections["graph"]["path"] = graph_path
    return sections


def settled(config: Plain, folder: Path, source: str) -> Plain:
    """Inverse of `portable`: the configuration as if the model had been trained in a folder.

    Args:
        config: out of the file, in plain types.
        folder: that holds the file.
        source: how to call it in a message.

    Raises:
        UserError: a path in it leads out of the folder.

    """
    found: Plain = {**config, "paths": {"data_dir": str(folder / DATA_DIR)}}
    for name, key in RELATIVE:
        section = config.get(name)
        if not isinstance(section, Mapping) or not isinstance(section.get(key), str):
            continue
        path = PurePosixPath(section[key])
        if path.is_absolute() or ".." in path.parts or section[key].startswith("~") or "://" in section[key]:
            raise UserError(f"{source}: {name}.{key}={shown(section[key])} leads out of the folder; refused")
        base = folder if name == "graph" else folder / DATA_DIR
        found[name] = {**section, key: str(base / path)}
    return found


def reads_graph(config: Mapping[str, Any]) -> bool:
    """Whether the graph of a configuration is read from files."""
    section = config.get("graph")
    return isinstance(section, Mapping) and current_name(str(section.get("_target_"))) == STORED_GRAPH


def _relative(value: Any, base: str | None) -> Any:
    """A plain value in which no text is an absolute path."""
    if isinstance(value, Mapping):
        return {key: _relative(entry, base) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_relative(entry, base) for entry in value]
    if not isinstance(value, str) or not value.startswith(("/", "~")):
        return value
    path = PurePosixPath(value)
    inside = base is not None and path.is_relative_to(base) and path != PurePosixPath(base)
    return str(path.relative_to(base)) if inside and base is not None else path.name
