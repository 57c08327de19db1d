"""`spacecast-data import-checkpoint`: a checkpoint of the published reference implementation becomes one of ours."""

import logging
from collections.abc import Sequence
from pathlib import Path

from spacecast.app.registered import local_checkpoint
from spacecast.config.command import Inputs, Opened, Plain
from spacecast.config.paths import absolute_path
from spacecast.config.schema import Data, Section
from spacecast.config.stored import stored_config, with_reference
from spacecast.config.trust import Trust
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys

log = logging.getLogger(__name__)


def import_checkpoint(inputs: Inputs[Data]) -> None:
    """Turn a checkpoint of the reference, the data and the graph that it was trained on, into one of ours.

    Args:
        inputs: configuration of `data.yaml`, completed by `complete_import`.

    Raises:
        UserError: the parts do not fit each other, or there is a file at `output` already.

    """
    from spacecast.app.assemble import build_model, open_data, open_graph
    from spacecast.checkpoint.content import describe, load_weights, model_weights, trained_spec, warn_of_another_graph
    from spacecast.checkpoint.files import write_whole

    config, source, target = inputs.config, inputs.config.checkpoint, inputs.config.output
    assert source is not None
    assert target is not None
    assert config.graph is not None
    checkpoint = inputs.opened[source]
    facts = checkpoint["spacecast"]
    spec = trained_spec(facts, open_data(config).spec)
    graph = open_graph(config.graph, spec.grid, config.paths.data_dir)
    warn_of_another_graph(facts, graph)
    model = build_model(Section(content=facts["config"]["model"]), 0, spec, graph)
    load_weights(model, model_weights(checkpoint), str(source))
    kept = {name: inputs.plain.get(name) for name in ("paths", "datastore", "graph", "simulation")}
    taken = {name: facts["config"][name] for name in ("model", "loss")}
    described = describe({**kept, **taken}, spec, graph) | {"reference": facts["reference"]}
    try:
        write_whole({**checkpoint, "spacecast": described}, target)
    except OSError as error:
        raise UserError(f"output={target}: cannot write there ({error.strerror}); choose another file") from error
    log.info("checkpoint: %s", target)


def complete_import(composed: Plain, words: Sequence[str], opened: Opened) -> Plain:
    """The configuration of `spacecast-data import-checkpoint` with what the checkpoint implies.

    Raises:
        UserError: something is missing, or the checkpoint is no one of the reference, or `output` is taken.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint

    for key, what in (("checkpoint", "a checkpoint of the reference"), ("output", "the file to write")):
        if not composed[key]:
            raise UserError(f"{key} has no value; give {key}=FILE, {what}")
    source = find_checkpoint(local_checkpoint(composed["checkpoint"], "checkpoint", composed))
    target = Path(absolute_path(composed["output"], "output"))
    if target.is_dir() or (target.exists() and not composed["overwrite"]):
        way = "name a file in it" if target.is_dir() else "give overwrite=true, or another file"
        raise UserError(f"output={target} exists; {way}")
    opened[source] = load_checkpoint(source)
    stored = stored_config(opened[source], str(source))
    if "reference" not in stored:
        raise UserError(f"{source} is a checkpoint of spacecast already; spacecast-evaluate takes it as it is")
    Trust.of(composed).check({name: stored.get(name) for name in ("model", "loss")}, str(source))
    return with_reference(composed, stored, typed_keys(words)) | {"checkpoint": str(source), "output": str(target)}
