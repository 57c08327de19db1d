"""`spacecast-evaluate`: scores of a checkpoint. What shaped the model is taken from it, except for what is typed."""

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.cli import run_command
from spacecast.app.published import (
    imply_data,
    imply_evaluation,
    stored_config,
    trained_spec,
    warn_of_another_graph,
)
from spacecast.app.stored import anchored, check_data_place, check_evaluation_folder, check_same_data, chosen_evaluation
from spacecast.config.command import Command, Plain
from spacecast.config.paths import absolute_path
from spacecast.config.schema import Evaluate
from spacecast.config.trust import Trust, check_simulation
from spacecast.core.errors import UserError
from spacecast.process.run_folder import follow, of_its_own

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
    from spacecast.app.assemble import build_model, open_data, open_graph
    from spacecast.app.datacheck import check_evaluation, check_members
    from spacecast.app.report import score
    from spacecast.checkpoint.content import load_checkpoint, model_weights
    from spacecast.config.build import build
    from spacecast.data.fit import check_fit
    from spacecast.process.logs import quiet
    from spacecast.process.memory import keep_memory
    from spacecast.tracking.logger import log_artifact, log_params, log_tags, tracked
    from spacecast.tracking.provenance import provenance

    quiet()
    keep_memory()
    checkpoint = load_checkpoint(Path(plain["checkpoint"]))
    trained, datastore = checkpoint["spacecast"], open_data(plain)
    spec = trained_spec(trained, datastore.spec)
    check_same_data(plain, trained, datastore.spec.data_hash)
    check_fit(spec, datastore.spec, convert_units=plain["evaluation"].get("convert_units", False))
    check_evaluation(plain, datastore)
    graph = open_graph(plain, spec)
    warn_of_another_graph(trained, graph)
    model = build_model(plain, spec, graph)
    check_members(plain, model)
    load_weights(model, model_weights(checkpoint), plain["checkpoint"])
    logger = build(of_its_own(plain["logger"]))
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
    fault = _misfit(model.state_dict(), weights)
    if fault:
        raise UserError(f"weights of {source} do not fit: {fault}; leave data, model and graph as in training")
    model.load_state_dict(weights)


def _misfit(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
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
            of_data = (
                before[-1] != now[-1]
                if name.startswith("grid_")
                else name.startswith(("output.", "decoder.output.")) and before[0] != now[0]
            )
            hint = " (other variables or static features)" if of_data else ""
            return f"{name} has shape {before}, here {now}{hint}"
    return ""


def rewrite(words: Sequence[str]) -> list[str]:
    """Let overrides of stored sections through Hydra, whose defaults may be those of another model."""
    sections = tuple(f"{name}." for name in STORED)
    return [f"++{word}" if word.startswith(sections) else word for word in words]


def complete(plain: Plain, typed: Sequence[str]) -> Plain:
    """The configuration in the checkpoint, overridden by what was typed.

    Args:
        plain: composed from the defaults and what was typed.
        typed: the overrides.

    Raises:
        UserError: the checkpoint is none, or would call or write what its user has not allowed.

    """
    source = Path(absolute_path(plain["checkpoint"], "checkpoint"))  # a run folder may be called by a number
    trust = Trust.of(plain)
    file, stored = _stored_config(source, source.stat().st_mtime_ns if source.exists() else 0)
    keys = [word.lstrip("+~").partition("=")[0] for word in typed]
    plain = imply_evaluation(imply_data(plain, stored, keys), stored, keys)
    merged = {**plain, "checkpoint": str(file)}
    stored = anchored(stored, keys, f"checkpoint {file}")
    trained_on, stored = stored, _relocated(stored, plain["paths"], moved="paths.data_dir" in keys)
    if not {"same_data", "paths.data_dir", "datastore", "datastore.root"} & set(keys):
        merged["same_data"] = trained_on.get("datastore") != stored.get("datastore")
    for name in STORED:
        if name in stored and name not in keys and name != "simulation":
            merged[name] = stored[name]
    if "evaluation" in keys and "evaluation" in stored:
        merged["evaluation"] = chosen_evaluation(plain["evaluation"], stored["evaluation"])
    if "datastore" in stored and not {"datastore", "simulation"} & set(keys):
        merged["simulation"] = stored.get("simulation")  # absent where the data were not simulated
    if "datastore.root" in keys and not any(key.split(".")[0] == "simulation" for key in keys):
        merged["simulation"] = None  # data that are named are there
    for key in keys:
        section, *rest = key.split(".")
        if section in STORED and (section not in keys or section == "evaluation") and rest:
            merged[section] = _replaced(merged[section], rest, plain[section])
    trust.check({name: merged.get(name) for name in STORED}, f"checkpoint {file}")
    if "simulation" not in keys:
        check_simulation(merged, keys, f"checkpoint {file}")
    if "run_name" in (plain.get("logger") or {}) and "logger.run_name" not in keys:
        merged["logger"] = {**plain["logger"], "run_name": f"{_tracked_name(stored)}-evaluate"}
    return merged


def check_places(plain: Plain) -> None:
    """Hold the run folder against what is in it, and the data against where the training had them.

    Raises:
        UserError: files would be overwritten, or data be simulated anew in another place.

    """
    check_evaluation_folder(plain)
    source = Path(plain["checkpoint"])
    check_data_place(plain, _stored_config(source, source.stat().st_mtime_ns)[1])


def _tracked_name(stored: Plain) -> str:
    """How the training was called in the tracking store, or else its kind of model."""
    logger = stored.get("logger")
    name = logger.get("run_name") if isinstance(logger, Mapping) else None
    return name or str((stored.get("model") or {}).get("_target_")).rpartition(".")[2]


@lru_cache(maxsize=4)
def _stored_config(source: Path, modified: int) -> tuple[Path, Plain]:  # noqa: ARG001 - part of the key of the cache
    """Checkpoint file and the configuration in it; see `published.stored_config` for that of the reference."""
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint

    file = find_checkpoint(source).absolute()
    return file, stored_config(load_checkpoint(file), f"checkpoint {file}")


def _relocated(stored: Plain, paths: Mapping[str, str], *, moved: bool) -> Plain:
    """Let paths below the data folder of the training follow that folder when it was moved."""
    before, now = (stored.get("paths") or {}).get("data_dir"), paths["data_dir"]
    if not isinstance(before, str) or not before or before == now or (Path(before).exists() and not moved):
        return stored
    followed: Plain = follow(dict(stored), before, now)
    return followed


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
        "checkpoint": "a .ckpt file, ours or the reference's, or a run folder (then its best)",
        "paths.run_dir": "config.yaml, scores.csv, pictures, evaluate.log",
        "evaluation.steps": "leads to score",
        "evaluation.split": "train, val, test, or all frames of the runs",
        "evaluation.runs": "names of runs, or train, holdout or all of them; null: the training runs",
        "evaluation.windows": "how many initial times of each run, from the first of the split on; null: all",
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
