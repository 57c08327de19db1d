"""`spacecast-train`: data, graph, model, training, and scores of the best checkpoint on what it has not seen."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.cli import run_command
from spacecast.app.registered import complete_name, complete_start, record_checkpoint, register_best, register_finished
from spacecast.app.run_records import (
    check_training_folder,
    has_begun,
    is_finished,
    is_scored,
    remember_scores,
    remember_tracking,
    tracking_id,
)
from spacecast.app.start import Start, check_former_defaults, check_start, find_start, take_weights
from spacecast.config.binding import without_foreign
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.schema import Train
from spacecast.core.names import typed_keys
from spacecast.process.exit_codes import USER_ERROR, Interrupted
from spacecast.process.run_folder import add_facts, discard_run, read_facts
from spacecast.process.signals import current, first_process

if TYPE_CHECKING:
    from spacecast.app.assemble import Parts
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)


def train(inputs: Inputs[Train]) -> "Scores | None":
    """Train as a checked configuration says and score the best checkpoint.

    Args:
        inputs: the configuration of `train.yaml`.

    Returns:
        Scores as the evaluation says; None after a dry run, and in all processes but the first.

    Raises:
        UserError: the configuration does not fit the data.

    """
    from spacecast.app.assemble import assemble, open_data
    from spacecast.app.auto import as_started, settled
    from spacecast.app.datacheck import check_evaluation, check_planned, check_training, check_without_data
    from spacecast.app.dryrun import dry_run
    from spacecast.process.logs import mute_libraries
    from spacecast.process.memory import keep_memory

    mute_libraries()
    keep_memory()
    config = inputs.config
    if is_finished(config) and not config.dry_run:
        log.info("this run is finished: %s", config.paths.run_dir / "scores.csv")
        register_finished(config, **tracking_id(config, None))
        return None
    start = find_start(config, inputs.opened)
    check_former_defaults(config, start, inputs.opened)
    inputs = as_started(inputs, start)
    check_without_data(inputs.config)
    check_planned(inputs.config)
    datastore = open_data(inputs.config)
    inputs = settled(inputs, datastore)
    config = inputs.config
    check_evaluation(config, datastore)
    parts = assemble(config, datastore, config.paths.data_dir)
    check_training(config, parts)
    check_start(start, parts, inputs.opened)
    take_weights(start, parts, inputs.opened)
    if config.dry_run:
        if first_process():
            dry_run(config, parts)
        discard_run(config.paths.run_dir)
        return None
    return fit_and_score(inputs, parts, start)


def fit_and_score(inputs: Inputs[Train], parts: "Parts", start: Start) -> "Scores | None":
    """Train, then evaluate the best checkpoint, all in one tracked run, which a run that goes on keeps."""
    from spacecast.app.assemble import build_model, model_facts
    from spacecast.app.report import score
    from spacecast.checkpoint.content import load_checkpoint, model_weights
    from spacecast.process.logs import information_muted
    from spacecast.tracking.logger import log_artifact, log_params, log_score_to_come, log_tags, tracked
    from spacecast.tracking.provenance import provenance

    config, model = inputs.config, parts.model
    run_dir, kept = config.paths.run_dir, tracking_id(config, start.parent if start.own else None)
    logger = None if is_scored(config) else config.logger.build(**kept)
    with tracked(logger), marked(logger):
        remember_tracking(config, logger)
        log_score_to_come(logger, config.evaluation.label)
        log_params(logger, inputs.plain, **model_facts(model))
        log_tags(logger, provenance(parts.spec.data_hash, parts.graph.content_hash))
        log_artifact(logger, run_dir / "config.yaml", "config")
        if any(weight.requires_grad for weight in parts.model.parameters()):
            first = fit(inputs, parts, start, logger)
            remember_tracking(config, logger)
            if not first:
                return None
            with information_muted():  # the one that was trained may be of another precision
                model = build_model(config.model, config.seed, parts.spec, parts.graph)
            model.load_state_dict(model_weights(load_checkpoint(run_dir)))
        else:
            log.info("this model has nothing to train")
        scores = score(config, model, parts.datastore, parts.spec, logger)
        record_checkpoint(logger, run_dir)
        register_best(config, logger, scores)
    remember_scores(config)
    return scores


def fit(inputs: Inputs[Train], parts: "Parts", start: Start, logger: Any) -> bool:
    """Train from where the run starts; True in the process that writes."""
    from spacecast.app.epoch_pictures import EpochPictures
    from spacecast.app.shards import own_module
    from spacecast.core.protocols import draws
    from spacecast.process.files import remove_leftovers
    from spacecast.training.averaging import WeightAveraging
    from spacecast.training.checkpoint_io import SelfDescription
    from spacecast.training.checkpointing import CheckpointWriter
    from spacecast.training.divergence import DivergenceError, DivergenceWatch
    from spacecast.training.pictures import ForecastPictures
    from spacecast.training.precision import widen
    from spacecast.training.trainer import make_trainer, progress_callbacks

    section, run_dir, interruption = inputs.config.trainer, inputs.config.paths.run_dir, current()
    writer = CheckpointWriter(
        run_dir / "checkpoints",
        parts.module.monitor,
        interruption,
        minutes=section.checkpoint_minutes,
        max_steps=section.max_steps,
        source=None if start.own else start.checkpoint,
    )
    described = SelfDescription(inputs.plain, parts.spec, parts.graph, start.parent)
    averaging, watch = WeightAveraging(section.ema), DivergenceWatch(section.max_nonfinite_steps, writer.folder)
    draw = EpochPictures(run_dir, parts.spec, parts.schedule, section.max_epochs, logger)
    pictures = ForecastPictures(section.pictures if section.shards == 1 else 0, draw)  # drawn by one process alone
    trainer = make_trainer(
        section.build(),
        run_dir,
        logger,
        [described, watch, averaging, pictures, writer, *progress_callbacks()],
        batch_size=parts.data.batch_size,
        global_batch=section.global_batch,
        some_unused=draws(parts.model),
        shards=section.shards,
        opened=inputs.opened,
    )
    parts.data.global_batch = section.global_batch
    module = own_module(inputs.config, parts, trainer.global_rank)
    if first_process():
        remove_leftovers(run_dir / "checkpoints", "*.ckpt")
    if start.checkpoint is not None:
        log.info("going on from %s", start.checkpoint)
    try:
        with interruption.deferred(), timed(run_dir):
            widen(trainer, module)
            trainer.fit(module, datamodule=parts.data, ckpt_path=start.checkpoint, weights_only=True)
        interruption.check()
        writer.check_best()
    except DivergenceError as error:
        if not first_process():
            raise SystemExit(USER_ERROR) from None  # the first process gives the message
        add_facts(run_dir, diverged=str(error))
        raise
    return trainer.is_global_zero


@contextmanager
def timed(run_dir: Path) -> Iterator[None]:
    """Note in `run.json` how long the block has taken [s], over all attempts of a run but those that were killed."""
    begin = time.monotonic()
    try:
        yield
    finally:
        if first_process():
            before = read_facts(run_dir).get("training_seconds", 0.0)
            add_facts(run_dir, training_seconds=round(before + time.monotonic() - begin, 2))


@contextmanager
def marked(logger: object) -> Iterator[None]:
    """Tag a tracked run with the signal that interrupts it."""
    from spacecast.tracking.logger import log_tags

    try:
        yield
    except Interrupted as stop:
        log_tags(logger, {"interrupted": stop.name})
        raise


def complete(plain: Plain, words: Sequence[str], _: Opened) -> Plain:
    """Leave AdamW's keys out where another optimiser is typed as `optimizer._target_`; find registered checkpoints.

    A run that goes on keeps what `auto` has come to.
    """
    section, plain = plain.get("optimizer"), complete_name(complete_start(plain))
    if has_begun(plain):
        from spacecast.app.auto import as_recorded

        plain = as_recorded(plain)
    plain = _named(plain, words)
    return {**plain, "optimizer": without_foreign(section, "optimizer", words)} if isinstance(section, dict) else plain


def _named(plain: Plain, words: Sequence[str]) -> Plain:
    """A composed training whose name tells what was typed, unless a name was."""
    logger = plain.get("logger")
    if not isinstance(logger, dict) or not logger.get("run_name") or "logger.run_name" in typed_keys(words):
        return plain
    from spacecast.tracking.names import named_apart

    return {**plain, "logger": {**logger, "run_name": named_apart(logger["run_name"], words)}}


COMMAND = Command(
    name="spacecast-train",
    config="train",
    schema=Train,
    task=train,
    check_folder=check_training_folder,
    complete=complete,
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
        "paths.run_dir": "everything of a training run: config.yaml, checkpoints/, scores.csv, train.log",
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
        "data.cache": "memory, or packed: decoded frames, written once beside the data",
        "evaluation.steps": "leads to score; null: up to 100, as far as the runs allow",
        "evaluation.split": "train, val, test, or all frames; null: all of held-out runs, test of the others",
        "evaluation.runs": "simulation runs by name, train, holdout, all, or auto: held-out ones if there are any",
        "evaluation.windows": "how many initial times; null: all",
        "logger.tracking_uri": "MLflow store; logger=none switches it off",
        "logger.register": "true or a name: register the best checkpoint in MLflow, for checkpoint=models:/NAME@best",
        "resume": "go on from a checkpoint or the folder of a training run, everything taken over",
        "init_from": "start with the weights of a checkpoint or of the folder of a training run",
        "trainer.checkpoint_minutes": "between checkpoints within an epoch; null: at its end only",
        "trainer.global_batch": "windows per optimiser step over all devices",
        "trainer.shards": "processes that share the nodes of one sample",
        "dry_run": "check everything, measure a step, stop",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
