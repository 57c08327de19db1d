"""Reads Lightning checkpoints of the published reference implementation, without running or importing anything."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacecast.checkpoint.archive import Record, foreign_names, read_archive
from spacecast.checkpoint.reference import DEFAULTS, TARGETS, map_data, map_hyper_parameters, map_loss, map_state_dict
from spacecast.core.errors import UserError
from spacecast.core.names import within

PACKAGE, NAMESPACE = "neural_lam", "argparse.Namespace"  # of the reference: its own classes, its command line
NUMBERS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")


def is_reference_checkpoint(path: str | Path) -> bool:
    """Whether a file is a checkpoint of the reference, by the classes that it names; nothing is executed."""
    return any(within(name, [PACKAGE, NAMESPACE]) for name in foreign_names(Path(path)))


def read_reference_checkpoint(path: str | Path) -> dict[str, Any]:
    """Model, hyper-parameters and parameters of a checkpoint of the reference.

    Returns:
        model: `graphcast`, `graph_fm` or `graph_efm`.
        target: dotted path of our class.
        hyper_parameters: keywords of its constructor besides the data's facts and the graph.
        state_dict: its parameters, under our names.
        loss: what it was trained to minimise, a section of our configuration.
        datastore: keywords of our datastore that it was trained with.
        graph: name of its graph.
        arguments: the reference's command line, plain types.
        epochs: how many it was trained for, None when that is not said.

    Raises:
        UserError: when the file is damaged, holds anything that would have to be executed, or is of an unknown model.

    """
    content = read_archive(Path(path), [PACKAGE, NAMESPACE, *NUMBERS])
    arguments, config = _hyper_parameters(content, path)
    saved = content.get("state_dict")
    if not isinstance(saved, dict):
        raise UserError(f"{path} holds no parameters; give a checkpoint of the reference's training")
    state_dict = {name: value for name, value in saved.items() if isinstance(value, Tensor)}
    if not all(value.device.type == "cpu" and value.layout == torch.strided for value in state_dict.values()):
        raise UserError(f"{path} holds parameters without their numbers; give a checkpoint of the reference's training")
    clamping = _attributes(config, "training", "output_clamping")
    limits = {side: _numbers(clamping.get(side), path) for side in ("lower", "upper")}
    weights = _numbers(_attributes(config, "training", "state_feature_weighting").get("weights"), path)
    try:
        model, keywords = map_hyper_parameters(
            arguments, num_states=_num_states(state_dict, arguments), weights=weights, **limits
        )
        loss, datastore = map_loss(arguments, weights), map_data(arguments)
        graph = str(arguments.get("graph", DEFAULTS["graph"]))
        parameters = map_state_dict(model, state_dict)
    except (TypeError, ValueError, IndexError, RecursionError) as error:
        raise error if isinstance(error, UserError) else UserError(f"{path}: {error}") from error
    epoch = content.get("epoch")
    return {
        "model": model,
        "target": TARGETS[model],
        "hyper_parameters": keywords,
        "state_dict": parameters,
        "loss": loss,
        "datastore": datastore,
        "graph": graph,
        "arguments": arguments,
        "epochs": epoch + 1 if isinstance(epoch, int) else None,
    }


def _hyper_parameters(content: Any, path: str | Path) -> tuple[dict[str, Any], Record | None]:
    """Command line and configuration."""
    saved = content.get("hyper_parameters") if isinstance(content, dict) else None
    arguments = saved.get("args") if isinstance(saved, dict) else None
    if not isinstance(saved, dict) or not isinstance(arguments, Record):
        raise UserError(f"{path} holds no hyper-parameters of the reference (hyper_parameters.args)")
    config = saved.get("config")
    return arguments.attributes, config if isinstance(config, Record) else None


def _num_states(state_dict: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> int:
    """State variables: the numbers that the last layer gives, or half of them."""
    last = [name for name in state_dict if re.fullmatch(r"(decoder\.param_map|output_map)\.\d+\.bias", name)]
    if not last:
        raise UserError("the checkpoint lacks the output layer of every model that is read here")
    return state_dict[last[-1]].shape[0] // (2 if arguments.get("output_std") else 1)


def _attributes(record: Record | None, *path: str) -> Mapping[str, Any]:
    """Attributes of a record some levels down; empty where there is none."""
    for name in path:
        below = record.attributes.get(name) if record is not None else None
        record = below if isinstance(below, Record) else None
    return record.attributes if record is not None else {}


def _numbers(values: Any, path: str | Path) -> dict[str, float]:
    """A mapping of names to numbers."""
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(value, (int, float)) for value in values.values()):
        raise UserError(f"{path} holds limits or weights that are no numbers")
    return {str(name): float(value) for name, value in values.items()}

