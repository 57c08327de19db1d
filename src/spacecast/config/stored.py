"""What an evaluation takes over of the configuration in a checkpoint: all that shaped the model but what is typed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spacecast.config.command import Plain
from spacecast.config.compose import conf_dir
from spacecast.config.paths import absolute_path
from spacecast.config.trust import plain_sections
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys
from spacecast.core.text import shown
from spacecast.process.run_folder import moved_paths

SHAPING = ("datastore", "graph", "model", "loss", "schedule", "optimizer", "data", "evaluation", "seed")
TAKEN = (*SHAPING, "simulation")
SECTIONS = ("paths", *(name for name in TAKEN if name != "seed"))
RELATIVE = (("datastore", "root"), ("simulation", "root"), ("graph", "path"))  # paths that were recorded as typed
OUR_BUILDER = "spacecast.graphs.builders.MeshGraphBuilder"  # no model of the reference was trained on its graphs


def stored_config(checkpoint: Mapping[str, Any], source: str) -> Plain:
    """The configuration in a checkpoint; with the entry `reference` when it is one that knows no data and no graph.

    Args:
        checkpoint: from `load_checkpoint`.
        source: how to call it in a message.

    Raises:
        UserError: it is no configuration in plain values.

    """
    facts = checkpoint["spacecast"]
    config = plain_sections(facts.get("config"), source)
    if wrong := [name for name in SECTIONS if not isinstance(config.get(name, {}), dict | None)]:
        raise UserError(f"{source}: {wrong[0]} is no section of a configuration but {shown(repr(config[wrong[0]]))}")
    if facts.get("data_spec") is not None:
        return config
    reference = plain_sections(facts.get("reference"), source)
    known = {"graph", "epochs", "datastore"} <= reference.keys() and isinstance(reference["datastore"], dict)
    if not known or "_target_" in reference["datastore"]:
        raise UserError(f"{source} says neither what data it was trained on nor that it is one of the reference")
    return {**config, "reference": reference}


def merged(composed: Plain, stored: Plain, words: Sequence[str], source: str) -> Plain:
    """The configuration of an evaluation; a pure function but for whether the data folder of the training is there.

    Args:
        composed: from the defaults of the command and what was typed.
        stored: that of the checkpoint, from `stored_config`.
        words: overrides that were typed; they win, a member of a group as a whole, a key alone.
        source: how to call the checkpoint in a message.

    Raises:
        UserError: something that the checkpoint does not say must be typed.

    """
    keys = typed_keys(words)
    composed = with_ensemble(with_reference(composed, stored, keys), stored, keys)
    before = anchored(stored, keys, source)
    stored = relocated(before, composed["paths"], keys)
    result = composed | {name: stored[name] for name in SHAPING if name in stored and name not in keys}
    if "evaluation" in keys and "evaluation" in stored:
        result["evaluation"] = _shared_values(composed["evaluation"], stored["evaluation"])
    if "datastore" in stored and not {"datastore", "simulation"} & set(keys):
        result["simulation"] = stored.get("simulation")  # absent where the data were not simulated
    if "datastore.root" in keys and not any(key.split(".")[0] == "simulation" for key in keys):
        result["simulation"] = None  # data that are named are there
    for name, *path in (key.split(".") for key in keys):
        if path and name in TAKEN and (name not in keys or name == "evaluation"):
            result[name] = _replaced(result[name], path, composed[name])
    if not {"same_data", "paths.data_dir", "datastore", "datastore.root"} & set(keys):
        result["same_data"] = before.get("datastore") != stored.get("datastore")
    if "run_name" in (composed.get("logger") or {}) and "logger.run_name" not in keys:
        result["logger"] = {**composed["logger"], "run_name": f"{_tracked_name(stored)}-evaluate"}
    if "choices" in (composed.get("logger") or {}):
        result["logger"] = {**result["logger"], "choices": _chosen(composed["logger"]["choices"], stored, keys)}
    return result


def with_reference(composed: Plain, stored: Plain, keys: Sequence[str]) -> Plain:
    """A composed configuration with statistics and forcing as a checkpoint of the reference was trained with.

    Raises:
        UserError: data or graph, of which such a checkpoint says nothing, are not typed.

    """
    if "reference" not in stored:
        return composed
    lacking = {}
    if "datastore" not in keys and composed.get("simulation") is not None:
        lacking["data"] = "datastore=vlasiator datastore.root=DIR"
    if "graph" not in keys and (composed.get("graph") or {}).get("_target_") in (None, OUR_BUILDER):
        lacking["graph"] = f"graph=stored graph.path=DIR/graph/{stored['reference']['graph']}"
    if lacking:
        raise UserError(
            f"a checkpoint of the reference says nothing of {' and '.join(lacking)}: give {' '.join(lacking.values())}"
        )
    implied = {key: value for key, value in stored["reference"]["datastore"].items() if f"datastore.{key}" not in keys}
    return {**composed, "datastore": {**composed["datastore"], **implied}}


def with_ensemble(composed: Plain, stored: Plain, keys: Sequence[str]) -> Plain:
    """A composed configuration with an ensemble for a model with a latent variable that stores no evaluation."""
    if "evaluation" in (*stored, *keys) or "kl_weight" not in (stored.get("loss") or {}):
        return composed
    text = (conf_dir() / "evaluation" / "ensemble.yaml").read_text()
    ensemble = {key: value for key, value in yaml.safe_load(text).items() if key != "defaults"}
    return {**composed, "evaluation": {**ensemble, **composed["evaluation"]}}


def anchored(stored: Plain, keys: Sequence[str], source: str) -> Plain:
    """A stored configuration without relative paths, which older checkpoints hold: meant in their project folder.

    Raises:
        UserError: the checkpoint does not say which folder that was, and the path is not typed.

    """
    found, base = dict(stored), (stored.get("paths") or {}).get("project_dir")
    for name, key in RELATIVE:
        section = stored.get(name) or {}
        value = section.get(key)
        if not isinstance(value, str) or Path(value).is_absolute() or "://" in value:
            continue
        if {name, f"{name}.{key}"} & set(keys):
            continue
        if not isinstance(base, str) or not Path(base).is_absolute():
            raise UserError(f"{source}: {name}.{key}={value} is relative to a folder unknown; give {name}.{key}=DIR")
        found[name] = {**section, key: absolute_path(value, f"{name}.{key}", Path(base))}
    return found


def relocated(stored: Plain, paths: Mapping[str, str], keys: Sequence[str]) -> Plain:
    """Paths below the data folder of the training follow that folder when it was moved, or another one is typed."""
    before, now = (stored.get("paths") or {}).get("data_dir"), paths["data_dir"]
    moved = isinstance(before, str) and before and (not Path(before).exists() or "paths.data_dir" in keys)
    followed: Plain = moved_paths(stored, before, now) if isinstance(before, str) and moved else stored
    return followed


def _shared_values(member: Plain, stored: Plain) -> Plain:
    """A member of the group `evaluation` that was typed, with the values that the training had for the same keys."""
    if member.get("_target_") != stored.get("_target_"):
        return member
    return {**member, **{key: value for key, value in stored.items() if key in member}}


def _replaced(section: Any, path: Sequence[str], source: Any) -> Any:
    """A copy of a nested section with the value at a path taken from another one, and none where that has none."""
    if not path:
        return source
    first, *rest = path
    copy = dict(section) if isinstance(section, Mapping) else {}
    if isinstance(source, Mapping) and first in source:
        copy[first] = _replaced(copy.get(first), rest, source[first])
    else:
        copy.pop(first, None)
    return copy


def _chosen(composed: Any, stored: Plain, keys: Sequence[str]) -> Plain:
    """The chosen members of groups: those that were typed, and those of the training where it says which they were."""
    before = (stored.get("logger") or {}).get("choices")
    known = before if isinstance(before, Mapping) else {}
    names = dict.fromkeys([*(composed or {}), *known])
    return {name: composed.get(name) if name in keys else known.get(name) for name in names}


def _tracked_name(stored: Plain) -> str:
    """How the training was called in the tracking store, or else its kind of model."""
    logger = stored.get("logger")
    name = logger.get("run_name") if isinstance(logger, Mapping) else None
    return name or str((stored.get("model") or {}).get("_target_")).rpartition(".")[2]
