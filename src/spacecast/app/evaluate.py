"""`spacecast-evaluate`: scores of a checkpoint. What shaped the model is taken from it, except for what is typed."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spacecast.app.cli import run_command
from spacecast.app.from_checkpoint import check_data_place, check_same_data, completed, shared, trained_parts
from spacecast.app.run_records import check_evaluation_folder
from spacecast.app.scorecard import gather
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.schema import Evaluate
from spacecast.config.stored import TAKEN
from spacecast.core.errors import UserError
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
    from spacecast.app.assemble import model_facts, open_data
    from spacecast.app.datacheck import check_evaluation, check_members
    from spacecast.app.report import score
    from spacecast.checkpoint.content import load_checkpoint, trained_spec
    from spacecast.data.fit import check_fit
    from spacecast.process.logs import mute_libraries
    from spacecast.process.memory import keep_memory
    from spacecast.tracking.logger import log_artifact, log_params, log_score_to_come, log_tags, tracked
    from spacecast.tracking.provenance import provenance

    mute_libraries()
    keep_memory()
    config = inputs.config
    checkpoint = inputs.opened.get(config.checkpoint) or load_checkpoint(config.checkpoint)
    facts, datastore = checkpoint["spacecast"], open_data(config)
    spec = trained_spec(facts, datastore.spec)
    check_same_data(config, facts, datastore.spec.data_hash)
    check_fit(spec, datastore.spec, convert_units=config.evaluation.convert_units)
    check_evaluation(config, datastore)
    graph, model = trained_parts(config, checkpoint, spec)
    check_members(config, model)
    with shared(inputs, COMMAND) as processes:
        logger = config.logger.build(**separate_journal(config.logger.content)) if processes.first else None
        with tracked(logger):
            log_score_to_come(logger, config.evaluation.label)
            log_params(logger, inputs.plain, **model_facts(model))
            log_tags(logger, {**provenance(spec.data_hash, graph.content_hash), "checkpoint": str(config.checkpoint)})
            log_artifact(logger, config.paths.run_dir / "config.yaml", "config")
            scores = score(config, model, datastore, spec, logger, processes)
    return scores


def rewrite(words: Sequence[str]) -> list[str]:
    """Let overrides of stored sections through Hydra, whose defaults may be those of another model."""
    sections = tuple(f"{name}." for name in TAKEN)
    return [f"++{word}" if word.startswith(sections) else word for word in words]


def complete(composed: Plain, words: Sequence[str], opened: Opened) -> Plain:
    """The configuration in the checkpoint, overridden by what was typed; see `from_checkpoint.completed`."""
    if isinstance(composed["checkpoint"], list):
        raise UserError("checkpoint: several are scored by one command without -m or launcher; leave these out")
    return completed(composed, words, opened, TAKEN)


def check_places(inputs: Inputs[Evaluate]) -> None:
    """Hold the run folder against what is in it, and the data against where the training had them.

    Raises:
        UserError: files would be overwritten, or the data of a training be simulated anew in another place.

    """
    check_evaluation_folder(inputs)
    check_data_place(inputs, inputs.opened[inputs.config.checkpoint])


COMMAND = Command(
    name="spacecast-evaluate",
    config="evaluate",
    schema=Evaluate,
    task=evaluate,
    rewrite=rewrite,
    complete=complete,
    check_folder=check_places,
    gather=gather,
    summary="scores a checkpoint; everything that shaped the model comes from it, except for what is typed.",
    usage=[
        "spacecast-evaluate checkpoint=FILE_OR_RUN_FOLDER [key=value ...]",
        "spacecast-evaluate checkpoint=[A,B,C]|SWEEP_FOLDER [key=value ...]      # a scorecard",
        "spacecast-evaluate checkpoint=PUBLISHED datastore=vlasiator datastore.root=DIR graph=stored graph.path=DIR",
    ],
    examples={
        "spacecast-evaluate checkpoint=runs/DATE/RUN": "the best checkpoint of a run, on the wind it has not seen",
        "spacecast-evaluate checkpoint=RUN evaluation.split=test": "on the last part of the runs of its training",
        "spacecast-evaluate checkpoint=RUN evaluation.examples=2": "with two forecasts as zarr and as maps",
        "spacecast-evaluate checkpoint=[RUN1,RUN2,RUN3]": "a scorecard: significant differences from the first",
        "spacecast-evaluate checkpoint=RUN datastore.root=OTHER": "on other data of the same grid",
    },
    keys={
        "checkpoint": "a .ckpt file, ours or the reference's, a run folder, an exported model or models:/NAME@best",
        "baseline": "of several checkpoints: the name that the others are held against; null: the first",
        "paths.run_dir": "config.yaml, scores.csv, pictures, evaluate.log",
        "evaluation.steps": "leads to score; null: up to 100, as far as the runs allow",
        "evaluation.split": "train, val, test, or all frames; null: all of held-out runs, test of the others",
        "evaluation.runs": "simulation runs by name, train, holdout, all, or auto: held-out ones if there are any",
        "evaluation.windows": "how many initial times of each of them; null: all",
        "evaluation.members": "ensemble members of a model that draws; comes with evaluation=ensemble",
        "evaluation.regions": "parts of the plane scored apart, e.g. {tail: {x_max: -10}}",
        "evaluation.examples": "forecasts to write beside the truth, spread over runs and times",
        "evaluation.convert_units": "turn data in other units, such as T for nT, into the model's",
        "datastore.root": "folder with the data",
        "trainer.devices": "processes that share the work",
        "logger.tracking_uri": "MLflow store; logger=none switches it off",
        "trust": "modules of your own that the checkpoint may call",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
