"""Checkpoints that can be used without the data, hold plain types only and are written in one piece."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spacecast
from spacecast.checkpoint.archive import read_archive
from spacecast.checkpoint.exported import WEIGHTS, read_exported
from spacecast.checkpoint.formats import FORMAT, with_former_defaults
from spacecast.checkpoint.reference_file import is_reference_checkpoint, read_reference_checkpoint
from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec

KEY = "spacecast"
PREFIX = "model."  # of the step model's weights
NAMES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "min_val_loss.ckpt", "last.ckpt", WEIGHTS)


def describe(
    config: dict[str, Any], spec: DataSpec | None, graph: MeshGraph | None, parent: str | None = None
) -> dict[str, Any]:
    """The entry `spacecast` of a checkpoint; None stands for what is not known."""
    return {
        "format": FORMAT,
        "config": config,
        "data_spec": None if spec is None else as_tensors(spec.to_dict()),
        "graph": None if graph is None else {"hash": graph.content_hash, "recipe": graph.recipe},
        "versions": {
            "spacecast": spacecast.__version__,
            "torch": str(torch.__version__),
            "lightning": version("pytorch-lightning"),
            "python": platform.python_version(),
        },
        "parent": parent,
    }


def as_tensors(value: Any) -> Any:
    """Numpy arrays inside dictionaries to tensors, which a checkpoint may hold."""
    if isinstance(value, dict):
        return {key: as_tensors(entry) for key, entry in value.items()}
    return torch.as_tensor(value) if isinstance(value, np.ndarray) else value


def find_checkpoint(path: Path) -> Path:
    """A checkpoint: the path itself, the best (else the last) of a run folder, or the weights in an exported one."""
    if path.is_file():
        return path
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    raise UserError(
        f"no checkpoint at {path}: give a .ckpt file, the folder of a run that has checkpoints/best.ckpt, or one that "
        "spacecast-data export wrote"
    )


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, ours, exported or the published reference's, without executing anything in it.

    Returns:
        The Lightning checkpoint; its entry `spacecast` holds `config`, `data_spec`, `graph`, `versions` and `parent`,
        and `reference` when it began as one of the reference (see `from_reference`).

    Raises:
        UserError: when the file is damaged, no checkpoint of these, or of a newer format.
    """
    path = find_checkpoint(path)
    if path.name == WEIGHTS:
        weights, described = read_exported(path.parent)
        content: Any = {"state_dict": {f"{PREFIX}{name}": value for name, value in weights.items()}, KEY: described}
    elif is_reference_checkpoint(path):
        return from_reference(path)
    else:
        content = read_archive(path)
    own = content.get(KEY) if isinstance(content, dict) and isinstance(content.get("state_dict"), dict) else None
    if not isinstance(own, dict) or not isinstance(own.get("format"), int) or "versions" not in own:
        raise UserError(f"{path} is not a checkpoint of spacecast; give a .ckpt file that a training wrote")
    if own["format"] > FORMAT:
        written = own["versions"]["spacecast"]
        raise UserError(f"checkpoint {path} was written by spacecast {written}, newer than this one: upgrade spacecast")
    if isinstance(own.get("config"), dict):
        own["config"] = with_former_defaults(own["config"], own["format"])
    return content


def from_reference(path: Path) -> dict[str, Any]:
    """A checkpoint of the published reference implementation in the form of ours.

    It says nothing of data and graph, so `data_spec` and `graph` are None and `config` holds `model` and `loss` alone.
    Its entry `reference` holds `graph`, the graph's name, `epochs`, how many it was trained for, and `datastore`, the
    keywords of our datastore that it was trained with.

    Raises:
        UserError: when it is damaged, holds anything that would have to be executed, or is of an unknown model.
    """
    found = read_reference_checkpoint(path)
    model = {"_target_": found["target"], "_partial_": True, **found["hyper_parameters"]}
    facts = {name: found[name] for name in ("graph", "epochs", "datastore")}
    return {
        "state_dict": {f"{PREFIX}{name}": value for name, value in found["state_dict"].items()},
        KEY: describe({"model": model, "loss": found["loss"]}, None, None) | {"reference": facts},
    }


def model_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights of the step model in a checkpoint."""
    weights = checkpoint["state_dict"]
    return {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
