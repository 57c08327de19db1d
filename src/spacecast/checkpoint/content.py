"""What a checkpoint holds, and how that is held against the model, the data and the graph at hand.

Plain types alone, with everything that is needed to use it without the data.
"""

import logging
import platform
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import spacecast
from spacecast.checkpoint.archive import read_archive
from spacecast.checkpoint.exported import WEIGHTS, read_exported
from spacecast.checkpoint.formats import FORMAT, with_former_defaults
from spacecast.checkpoint.reference_file import is_reference_checkpoint, read_reference_checkpoint
from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec
from spacecast.core.text import several

log = logging.getLogger(__name__)

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


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str, added: Collection[str] = ()) -> None:
    """Load the weights of a step model; what is no weight may be absent, such as the amplitude of noise.

    Args:
        model: theirs.
        weights: by name.
        source: for messages.
        added: names of weights that a file may lack, all of them or none: the model's own are left, which is told.

    Raises:
        UserError: they belong to another model.

    """
    ours = model.state_dict()
    new = {name: ours[name] for name in added} if added and weights.keys().isdisjoint(added) else {}
    buffers = {name: ours[name] for name, _ in model.named_buffers() if name in ours}
    fault = _misfit(ours, {**buffers, **weights, **new})
    if fault:
        raise UserError(f"weights of {source} do not fit: {fault}; leave data, model and graph as in training")
    model.load_state_dict({**weights, **new})
    if new:
        log.info("%s new, which %s lacks: %s", several(len(new), "weight"), source, ", ".join(new))


def _misfit(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """The first weights by which a model and a file differ; empty when there are none."""
    for names, fault in (
        ([name for name in ours if name not in theirs], "lack {}, which this model has"),
        ([name for name in theirs if name not in ours], "have {}, which this model lacks"),
    ):
        if names:
            return fault.format(names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    for name, value in ours.items():
        before, now = tuple(theirs[name].shape), tuple(value.shape)
        if before != now:
            inputs = name.startswith("grid_") and before[-1] != now[-1]
            outputs = name.startswith(("output.", "decoder.output.")) and before[0] != now[0]
            hint = " (other variables or static features)" if inputs or outputs else ""
            return f"{name} has shape {before}, here {now}{hint}"
    return ""


def trained_spec(facts: Mapping[str, Any], given: DataSpec) -> DataSpec:
    """What a model was trained on, by its checkpoint; one of the reference does not say: what is given.

    Args:
        facts: the entry `spacecast` of the checkpoint.
        given: facts of the data at hand.

    """
    if facts["data_spec"] is not None:
        return DataSpec.from_dict(facts["data_spec"])
    epochs = facts["reference"]["epochs"]
    log.info("weights of the reference implementation%s", "" if epochs is None else f", trained for {epochs} epochs")
    return given


def warn_of_another_graph(facts: Mapping[str, Any], graph: MeshGraph) -> None:
    """Warn when a graph is not the one of the training; of the reference's graph only the name is known.

    Args:
        facts: the entry `spacecast` of the checkpoint.
        graph: the graph at hand.

    """
    if facts["graph"] is not None:
        if facts["graph"]["hash"] != graph.content_hash:
            log.warning("this is another graph than the one the model was trained on")
        return
    before, now = facts["reference"]["graph"], graph.recipe.get("folder", graph.recipe.get("layout"))
    if before != now:
        log.warning("the model was trained on a graph of the name %s, this one is called %s", before, now)
