"""`spacecast-train`: data, graph, model, training, and scores of the best checkpoint on the test split."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from spacecast.app.cli import run_command
from spacecast.app.command import Command, Plain
from spacecast.app.runs import discard_run
from spacecast.app.schema import Train

if TYPE_CHECKING:
    from spacecast.app.assemble import Parts
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)


def train(plain: Plain) -> "Scores | None":
    """Train as a checked configuration says and score the best checkpoint.

    Args:
        plain: the resolved configuration of `train.yaml` in plain types.

    Returns:
        Scores on the split of the evaluation; None after a dry run, and in all processes but the first.

    Raises:
        UserError: the configuration does not fit the data.

    """
    from spacecast.app.assemble import assemble, open_data
    from spacecast.app.datacheck import check_evaluation, check_foreseen, check_training, check_without_data
    from spacecast.app.dryrun import dry_run
    from spacecast.app.quiet import quiet

    quiet()
    check_without_data(plain)
    check_foreseen(plain)
    datastore = open_data(plain)
    check_evaluation(plain, datastore)
    parts = assemble(plain, datastore)
    check_training(plain, parts)
    if plain["dry_run"]:
        dry_run(plain, parts)
        discard_run(Path(plain["paths"]["run_dir"]))
        return None
    return fit_and_score(plain, parts)


def fit_and_score(plain: Plain, parts: "Parts") -> "Scores | None":
    """Train, then evaluate the best checkpoint, all in one tracked run."""
    from spacecast.app.assemble import build
    from spacecast.app.report import score
    from spacecast.tracking.logger import log_artifact, log_params, log_tags, tracked
    from spacecast.tracking.provenance import provenance
    from spacecast.training.callbacks import make_callbacks
    from spacecast.training.checkpoint import SelfDescription, load_checkpoint, model_weights
    from spacecast.training.trainer import make_trainer

    run_dir = Path(plain["paths"]["run_dir"])
    logger = build(plain["logger"])
    with tracked(logger):
        log_params(logger, plain)
        log_tags(logger, provenance(parts.spec.data_hash, parts.graph.content_hash))
        log_artifact(logger, run_dir / "config.yaml", "config")
        if any(weight.requires_grad for weight in parts.model.parameters()):
            described = SelfDescription(plain, parts.spec, parts.graph)
            callbacks = [described, *make_callbacks(run_dir, parts.module.monitor)]
            trainer = make_trainer(build(plain["trainer"]), run_dir, logger, callbacks)
            trainer.fit(parts.module, datamodule=parts.data)
            if not trainer.is_global_zero:
                return None
            parts.model.load_state_dict(model_weights(load_checkpoint(run_dir)))
        else:
            log.info("this model has nothing to train")
        return score(plain, parts.model, parts.datastore, parts.spec, logger)


COMMAND = Command(
    name="spacecast-train",
    config="train",
    schema=Train,
    task=train,
    summary="trains an emulator of the magnetosphere and scores it; without arguments on simulated data, made first.",
    usage=[
        "spacecast-train [group=member ...] [key=value ...]",
        "spacecast-train -m key=value1,value2 ...      # a sweep",
    ],
    examples={
        "spacecast-train": "simulated data, small Graph-FM, minutes",
        "spacecast-train experiment=smoke": "the whole chain in less than a minute",
        "spacecast-train graph=hierarchical model.hidden_dim=128": "another graph, a wider model",
        "spacecast-train datastore=vlasiator datastore.root=DIR": "downloaded Vlasiator data",
        "spacecast-train dry_run=true trainer=gpu": "check, then predict memory and time",
    },
    keys={
        "paths.run_dir": "everything of a run: config.yaml, checkpoints/, scores.csv, train.log",
        "paths.data_dir": "data and graphs; environment SPACECAST_DATA",
        "seed": "initial weights and order of the samples",
        "trainer.max_epochs": "length of the training",
        "trainer.max_steps": "most optimiser steps; -1: no limit",
        "schedule.rollout_steps": "steps of the longest training roll-out",
        "model.hidden_dim": "size of node and edge vectors",
        "model.processor_layers": "message-passing layers on the mesh",
        "optimizer.lr": "learning rate",
        "data.batch_size": "windows per batch and device",
        "data.workers": "processes that read ahead",
        "evaluation.steps": "leads to score",
        "evaluation.split": "train, val or test",
        "evaluation.windows": "how many initial times; null: all",
        "logger.tracking_uri": "MLflow store; logger=none switches it off",
        "dry_run": "check everything, measure a step, stop",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
