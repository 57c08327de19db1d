"""What a checkpoint says of its model, held against the model, the data and the graph at hand."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec

log = logging.getLogger(__name__)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load the weights of a step model.

    Raises:
        UserError: they belong to another model.

    """
    fault = _misfit(model.state_dict(), weights)
    if fault:
        raise UserError(f"weights of {source} do not fit: {fault}; leave data, model and graph as in training")
    model.load_state_dict(weights)


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
