"""`spacecast-evaluate`: scores of a checkpoint. What shaped the model is taken from it, except for what is typed."""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.cli import run_command
from spacecast.app.command import Command, Plain
from spacecast.app.schema import Evaluate
from spacecast.core.errors import UserError

if TYPE_CHECKING:
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)

STORED = ("datastore", "simulation", "graph", "model", "loss", "schedule", "optimizer", "data", "evaluation", "seed")


def evaluate(plain: Plain) -> "Scores":
    """Score a checkpoint on a split of its data, or of other data of the same variables and grid.

    Args:
        plain: the configuration of `evaluate.yaml`, completed by `complete`, in plain types.

    Raises:
        UserError: the checkpoint does not fit the data or the graph.

    """
    from spacecast.app.assemble import build, build_model, open_data, open_graph
    from spacecast.app.datacheck import check_evaluation
    from spacecast.app.quiet import quiet
    from spacecast.app.report import score
    from spacecast.core.spec import DataSpec
    from spacecast.tracking.logger import log_artifact, log_params, log_tags, tracked
    from spacecast.tracking.provenance import provenance
    from spacecast.training.checkpoint import load_checkpoint, model_weights

    quiet()
    checkpoint = load_checkpoint(Path(plain["checkpoint"]))
    spec = DataSpec.from_dict(checkpoint["spacecast"]["data_spec"])
    datastore = open_data(plain)
    check_evaluation(plain, datastore)
    graph = open_graph(plain, spec)
    if graph.content_hash != checkpoint["spacecast"]["graph"]["hash"]:
        log.warning("this is another graph than the one the model was trained on")
    model = build_model(plain, spec, graph)
    load_weights(model, model_weights(checkpoint), plain["checkpoint"])
    logger = build(plain["logger"])
    with tracked(logger):
        log_params(logger, plain)
        log_tags(logger, {**provenance(spec.data_hash, graph.content_hash), "checkpoint": plain["checkpoint"]})
        log_artifact(logger, Path(plain["paths"]["run_dir"]) / "config.yaml", "config")
        return score(plain, model, datastore, spec, logger)


def load_weights(model: Any, weights: Mapping[str, Any], source: str) -> None:
    """Load the weights of a step model.

    Raises:
        UserError: they belong to another model.

    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        fault = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"weights of {source} do not fit: {fault} Leave model and graph as in training") from error


def rewrite(words: Sequence[str]) -> list[str]:
    """Let overrides of stored sections through Hydra, whose defaults may be those of another model."""
    sections = tuple(f"{name}." for name in STORED)
    return [f"++{word}" if word.startswith(sections) else word for word in words]


def complete(plain: Plain, typed: Sequence[str]) -> Plain:
    """The configuration in the checkpoint, overridden by what was typed.

    Args:
        plain: composed from the defaults and what was typed.
        typed: the overrides.

    """
    source = Path(plain["checkpoint"]).expanduser()
    file, stored = _stored_config(source, source.stat().st_mtime_ns if source.exists() else 0)
    keys = [word.lstrip("+~").partition("=")[0] for word in typed]
    merged = {**plain, "checkpoint": str(file)}
    stored = _relocated(stored, plain["paths"], moved="paths.data_dir" in keys)
    for name in STORED:
        if name in keys or name not in stored:
            continue
        if not (name == "simulation" and "datastore" in keys):
            merged[name] = stored[name]
    for key in keys:
        section, *rest = key.split(".")
        if section in STORED and section not in keys and rest:
            merged[section] = _replaced(merged[section], rest, plain[section])
    return merged


@lru_cache(maxsize=4)
def _stored_config(source: Path, modified: int) -> tuple[Path, Plain]:  # noqa: ARG001 - part of the key of the cache
    """Checkpoint file and the configuration in it."""
    from spacecast.training.checkpoint import find_checkpoint, load_checkpoint

    file = find_checkpoint(source).absolute()
    return file, load_checkpoint(file)["spacecast"]["config"]


def _relocated(stored: Plain, paths: Mapping[str, str], *, moved: bool) -> Plain:
    """Let paths below the data folder of the training follow that folder when it was moved."""
    before, now = stored.get("paths", {}).get("data_dir"), paths["data_dir"]
    if not before or before == now or (Path(before).exists() and not moved):
        return stored

    def follow(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: follow(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [follow(entry) for entry in value]
        inside = isinstance(value, str) and (value == before or value.startswith(f"{before}/"))
        return f"{now}{value[len(before) :]}" if inside else value

    return {key: follow(value) for key, value in stored.items()}


def _replaced(section: Any, keys: Sequence[str], source: Any) -> Any:
    """A copy of a nested section with the value at `keys` taken from another one."""
    if not keys:
        return source
    first, *rest = keys
    copy = dict(section) if isinstance(section, Mapping) else {}
    if isinstance(source, Mapping) and first in source:
        copy[first] = _replaced(copy.get(first), rest, source[first])
    else:
        copy.pop(first, None)
    return copy


COMMAND = Command(
    name="spacecast-evaluate",
    config="evaluate",
    schema=Evaluate,
    task=evaluate,
    rewrite=rewrite,
    complete=complete,
    summary="scores a checkpoint; everything that shaped the model comes from it, except for what is typed.",
    usage=["spacecast-evaluate checkpoint=FILE_OR_RUN_FOLDER [key=value ...]"],
    examples={
        "spacecast-evaluate checkpoint=runs/DATE/RUN": "the best checkpoint of a run, on its test split",
        "spacecast-evaluate checkpoint=RUN evaluation.examples=2": "with two forecasts as zarr and as maps",
        "spacecast-evaluate checkpoint=RUN datastore.root=OTHER": "on other data of the same grid",
    },
    keys={
        "checkpoint": "a .ckpt file, or a run folder (then its best)",
        "paths.run_dir": "config.yaml, scores.csv, pictures, evaluate.log",
        "evaluation.steps": "leads to score",
        "evaluation.split": "train, val or test",
        "evaluation.windows": "how many initial times of each run, in order; null: all",
        "evaluation.examples": "forecasts to write beside the truth",
        "datastore.root": "folder with the data",
        "logger.tracking_uri": "MLflow store; logger=none switches it off",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
