"""`spacecast-evaluate`: scores of a checkpoint. What shaped the model is taken from it, except for what is typed."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spacecast.app.cli import run_command
from spacecast.app.registered import local_checkpoint
from spacecast.app.run_records import check_evaluation_folder, first_difference
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.schema import Evaluate
from spacecast.config.stored import TAKEN, merged, stored_config
from spacecast.config.trust import Trust, check_simulation
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys
from spacecast.process.run_folder import separate_journal

if TYPE_CHECKING:
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)


def evaluate(inputs: Inputs[Evaluate]) -> "Scores | None":
    """Score a checkpoint on a split of its data, or of other data of the same variables and grid.

    Args:
        inputs: the configuration of `evaluate.yaml`, completed by `complete`.

    Raises:
        UserError: the checkpoint does not fit the data or the graph.

    """
    from spacecast.app.assemble import build_model, open_data, open_graph
    from spacecast.app.datacheck import check_evaluation, check_members
    from spacecast.app.report import score
    from spacecast.checkpoint.content import load_checkpoint, model_weights
    from spacecast.checkpoint.weights import load_weights, trained_spec, warn_of_another_graph
    from spacecast.data.fit import check_fit
    from spacecast.process.logs import mute_libraries
    from spacecast.process.memory import keep_memory
    from spacecast.tracking.logger import log_artifact, log_params, log_tags, tracked
    from spacecast.tracking.provenance import provenance

    mute_libraries()
    keep_memory()
    config = inputs.config
    checkpoint = inputs.opened.get(config.checkpoint) or load_checkpoint(config.checkpoint)
    facts, datastore = checkpoint["spacecast"], open_data(config)
    spec = trained_spec(facts, datastore.spec)
    _check_same_data(config, facts, datastore.spec.data_hash)
    check_fit(spec, datastore.spec, convert_units=config.evaluation.convert_units)
    check_evaluation(config, datastore)
    graph = open_graph(config.graph, spec.grid, config.paths.data_dir)
    warn_of_another_graph(facts, graph)
    model = build_model(config.model, config.seed, spec, graph)
    check_members(config, model)
    load_weights(model, model_weights(checkpoint), str(config.checkpoint))
    logger = config.logger.build(**separate_journal(config.logger.content))
    with tracked(logger):
        log_params(logger, inputs.plain)
        log_tags(logger, {**provenance(spec.data_hash, graph.content_hash), "checkpoint": str(config.checkpoint)})
        log_artifact(logger, config.paths.run_dir / "config.yaml", "config")
        return score(config, model, datastore, spec, logger)


def _check_same_data(config: Evaluate, facts: Plain, data_hash: str) -> None:
    """With `same_data`, refuse data of another hash than those of the training, as its checkpoint tells them."""
    from spacecast.storage.fingerprint import same_kind

    before = str((facts.get("data_spec") or {}).get("data_hash") or "")
    if config.same_data and same_kind(before, data_hash) and before != data_hash:
        root = config.datastore.root
        raise UserError(
            f"the data in {root} are not those of the training, which are no longer where they were: give "
            f"datastore.root=DIR where they are, or datastore.root={root} to score these all the same"
        )


def rewrite(words: Sequence[str]) -> list[str]:
    """Let overrides of stored sections through Hydra, whose defaults may be those of another model."""
    sections = tuple(f"{name}." for name in TAKEN)
    return [f"++{word}" if word.startswith(sections) else word for word in words]


def complete(composed: Plain, words: Sequence[str], opened: Opened) -> Plain:
    """The configuration in the checkpoint, overridden by what was typed.

    Args:
        composed: from the defaults and what was typed.
        words: the overrides.
        opened: receives the content of the checkpoint.

    Raises:
        UserError: the checkpoint is none, or would call or write what its user has not allowed.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint

    trust = Trust.of(composed)
    file = find_checkpoint(local_checkpoint(composed["checkpoint"], "checkpoint", composed)).absolute()
    opened[file] = load_checkpoint(file)
    source, keys = f"checkpoint {file}", typed_keys(words)
    result = merged(composed, stored_config(opened[file], source), words, source) | {"checkpoint": str(file)}
    trust.check({name: result.get(name) for name in TAKEN}, source)
    if "simulation" not in keys:
        check_simulation(result, keys, source)
    return result


def check_places(inputs: Inputs[Evaluate]) -> None:
    """Hold the run folder against what is in it, and the data against where the training had them.

    Raises:
        UserError: files would be overwritten, or the data of a training be simulated anew in another place, where a run
            folder was copied without them.

    """
    from spacecast.data.configs import find_raw_runs, find_runs

    check_evaluation_folder(inputs)
    stored = stored_config(inputs.opened[inputs.config.checkpoint], "checkpoint")
    now, before = inputs.plain.get("simulation"), stored.get("simulation")
    if not now or not before or now.get("root") == before.get("root") or first_difference(before, now, ["root"]):
        return  # they are made where they were, or others are asked for
    root = Path(str(now.get("root")))
    if not find_runs(root) and not find_raw_runs(root):
        made = Path(str(before.get("root")))
        exported = made.is_relative_to(inputs.config.checkpoint.parent)  # which does not say where they were
        where = f"not in {root}" if exported else f"neither in {made}, where they were made, nor in {root}"
        raise UserError(
            f"the data of this training are {where}; give datastore.root=DIR, the folder with its runs, or "
            "paths.data_dir=DIR, the folder above"
        )


COMMAND = Command(
    name="spacecast-evaluate",
    config="evaluate",
    schema=Evaluate,
    task=evaluate,
    rewrite=rewrite,
    complete=complete,
    check_folder=check_places,
    summary="scores a checkpoint; everything that shaped the model comes from it, except for what is typed.",
    usage=[
        "spacecast-evaluate checkpoint=FILE_OR_RUN_FOLDER [key=value ...]",
        "spacecast-evaluate checkpoint=PUBLISHED datastore=vlasiator datastore.root=DIR graph=stored graph.path=DIR",
    ],
    examples={
        "spacecast-evaluate checkpoint=runs/DATE/RUN": "the best checkpoint of a run, on its test split",
        "spacecast-evaluate checkpoint=RUN evaluation.examples=2": "with two forecasts as zarr and as maps",
        "spacecast-evaluate checkpoint=RUN datastore.root=OTHER": "on other data of the same grid",
    },
    keys={
        "checkpoint": "a .ckpt file, ours or the reference's, a run folder, an exported model or models:/NAME@best",
        "paths.run_dir": "config.yaml, scores.csv, pictures, evaluate.log",
        "evaluation.steps": "leads to score",
        "evaluation.split": "train, val, test, or all frames of the simulation runs",
        "evaluation.runs": "names of simulation runs, or train, holdout or all of them; null: those of the training",
        "evaluation.windows": "how many initial times of each of them, from the first of the split on; null: all",
        "evaluation.members": "ensemble members of a model with a latent variable; comes with evaluation=ensemble",
        "evaluation.regions": "parts of the plane scored apart, e.g. {tail: {x_max: -10}}",
        "evaluation.examples": "forecasts to write beside the truth, spread over runs and times",
        "evaluation.convert_units": "turn data in other units, such as T for nT, into the model's",
        "datastore.root": "folder with the data",
        "logger.tracking_uri": "MLflow store; logger=none switches it off",
        "trust": "modules of your own that the checkpoint may call",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
