"""Checkpoints of the published reference implementation: what they imply of a configuration, and their conversion."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spacecast.config.command import Plain
from spacecast.config.compose import conf_dir
from spacecast.config.paths import absolute_path
from spacecast.config.trust import Trust, plain_sections, shown
from spacecast.core.errors import UserError

if TYPE_CHECKING:
    from spacecast.core.graph import MeshGraph
    from spacecast.core.spec import DataSpec

log = logging.getLogger(__name__)

SECTIONS = ("paths", "datastore", "simulation", "graph", "model", "loss", "schedule", "optimizer", "data", "evaluation")
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


def imply_data(plain: Plain, stored: Mapping[str, Any], keys: Sequence[str]) -> Plain:
    """A composed configuration with statistics and forcing as a checkpoint of the reference was trained with.

    Args:
        plain: the composed configuration.
        stored: that of the checkpoint, from `stored_config`.
        keys: what was typed; it wins.

    Raises:
        UserError: data or graph, of which such a checkpoint says nothing, are not given.

    """
    if "reference" not in stored:
        return plain
    _need_data_and_graph(plain, stored["reference"]["graph"], keys)
    implied = {key: value for key, value in stored["reference"]["datastore"].items() if f"datastore.{key}" not in keys}
    return {**plain, "datastore": {**plain["datastore"], **implied}}


def imply_evaluation(plain: Plain, stored: Mapping[str, Any], keys: Sequence[str]) -> Plain:
    """A composed configuration with an ensemble for a model with a latent variable that stores no evaluation."""
    if "evaluation" in (*stored, *keys) or "kl_weight" not in (stored.get("loss") or {}):
        return plain
    text = (conf_dir() / "evaluation" / "ensemble.yaml").read_text()
    ensemble = {key: value for key, value in yaml.safe_load(text).items() if key != "defaults"}
    return {**plain, "evaluation": {**ensemble, **plain["evaluation"]}}


def _need_data_and_graph(plain: Mapping[str, Any], name: str, keys: Sequence[str]) -> None:
    """Refuse the defaults for what a checkpoint of the reference does not say."""
    lacking = {}
    if "datastore" not in keys and plain.get("simulation") is not None:
        lacking["data"] = "datastore=vlasiator datastore.root=DIR"
    if "graph" not in keys and (plain.get("graph") or {}).get("_target_") in (None, OUR_BUILDER):
        lacking["graph"] = f"graph=stored graph.path=DIR/graph/{name}"
    if lacking:
        raise UserError(
            f"a checkpoint of the reference says nothing of {' and '.join(lacking)}: give {' '.join(lacking.values())}"
        )


def trained_spec(trained: Mapping[str, Any], given: "DataSpec") -> "DataSpec":
    """What a model was trained on, by its checkpoint; one of the reference does not say: what is given.

    Args:
        trained: the entry `spacecast` of the checkpoint.
        given: facts of the data at hand.

    """
    from spacecast.core.spec import DataSpec

    if trained["data_spec"] is not None:
        return DataSpec.from_dict(trained["data_spec"])
    epochs = trained["reference"]["epochs"]
    log.info("weights of the reference implementation%s", "" if epochs is None else f", trained for {epochs} epochs")
    return given


def warn_of_another_graph(trained: Mapping[str, Any], graph: "MeshGraph") -> None:
    """Warn when a graph is not the one a checkpoint was trained on; of the reference's graph only the name is known.

    Args:
        trained: the entry `spacecast` of the checkpoint.
        graph: the graph.

    """
    if trained["graph"] is not None:
        if trained["graph"]["hash"] != graph.content_hash:
            log.warning("this is another graph than the one the model was trained on")
        return
    before, now = trained["reference"]["graph"], graph.recipe.get("folder", graph.recipe.get("layout"))
    if before != now:
        log.warning("the model was trained on a graph of the name %s, this one is called %s", before, now)


def import_checkpoint(plain: Plain) -> None:
    """Turn a checkpoint of the reference, the data and the graph that it was trained on, into one of ours.

    Args:
        plain: configuration of `data.yaml`, completed by `complete_import`.

    Raises:
        UserError: the parts do not fit each other, or there is a file at `output` already.

    """
    from spacecast.app.assemble import build_model, open_data, open_graph
    from spacecast.app.evaluate import load_weights
    from spacecast.checkpoint.content import describe, load_checkpoint, model_weights
    from spacecast.checkpoint.files import write_whole

    source, target = Path(plain["checkpoint"]), Path(plain["output"])
    checkpoint = load_checkpoint(source)
    trained = checkpoint["spacecast"]
    spec = trained_spec(trained, open_data(plain).spec)
    graph = open_graph(plain, spec)
    warn_of_another_graph(trained, graph)
    kept = {name: plain.get(name) for name in ("paths", "datastore", "graph", "simulation")}
    config = {**kept, **{name: trained["config"][name] for name in ("model", "loss")}}
    load_weights(build_model({**config, "seed": 0}, spec, graph), model_weights(checkpoint), str(source))
    described = describe(config, spec, graph) | {"reference": trained["reference"]}
    try:
        write_whole({**checkpoint, "spacecast": described}, target)
    except OSError as error:
        raise UserError(f"output={target}: cannot write there ({error.strerror}); choose another file") from error
    log.info("checkpoint: %s", target)


def complete_import(plain: Plain, typed: Sequence[str]) -> Plain:
    """The configuration of `spacecast-data import-checkpoint` with what the checkpoint implies.

    Raises:
        UserError: something is missing, or the checkpoint is no one of the reference, or `output` is taken.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint

    for key, what in (("checkpoint", "a checkpoint of the reference"), ("output", "the file to write")):
        if not plain[key]:
            raise UserError(f"{key} has no value; give {key}=FILE, {what}")
    source = find_checkpoint(Path(absolute_path(plain["checkpoint"], "checkpoint")))
    target = Path(absolute_path(plain["output"], "output"))
    if target.is_dir() or (target.exists() and not plain["overwrite"]):
        way = "name a file in it" if target.is_dir() else "give overwrite=true, or another file"
        raise UserError(f"output={target} exists; {way}")
    stored = stored_config(load_checkpoint(source), str(source))
    if "reference" not in stored:
        raise UserError(f"{source} is a checkpoint of spacecast already; spacecast-evaluate takes it as it is")
    Trust.of(plain).check({name: stored.get(name) for name in ("model", "loss")}, str(source))
    keys = [word.lstrip("+~").partition("=")[0] for word in typed]
    return {**imply_data(plain, stored, keys), "checkpoint": str(source), "output": str(target)}
