"""`spacecast-evaluate` with several checkpoints: each is scored as by itself, then all are held against one of them."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from spacecast.app.checkpoints import Checkpoint, listed
from spacecast.app.run_records import ALIKE, check_evaluation_folder, first_difference, recorded_config
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.complete import checked
from spacecast.config.compose import typed_words
from spacecast.config.schema import Evaluate, LoggerSection, Paths
from spacecast.core.errors import UserError, nearest
from spacecast.core.names import typed_keys, within
from spacecast.core.text import several
from spacecast.process.run_folder import add_facts, read_facts, separate_journal, write_config
from spacecast.process.signals import first_process

if TYPE_CHECKING:
    from spacecast.evaluation.scorecard import Scorecard

log = logging.getLogger(__name__)

SCORES = "scores.nc"
COMPARED = ("split", "runs", "steps", "windows", "regions", "estimator", "thresholds")  # settings that must be the same
DATA = ("datastore", "simulation", "paths.data_dir")  # keys that say which data
AGAIN = (*ALIKE, "checkpoint", "baseline")  # what may change when a scorecard is made again in its own folder


@dataclass(frozen=True)
class Comparison:
    """What a scorecard is made of.

    Args:
        paths: its run folder holds one of each evaluation.
        logger: of the scorecard itself.
        evaluations: of each model, by name.
        baseline: name of the one that the others are held against; None: the first.
        left_out: runs of sweeps that are not among them, for people.
        command: that makes one evaluation.

    """

    paths: Paths
    logger: LoggerSection
    evaluations: Mapping[str, Inputs[Evaluate]]
    baseline: str | None
    left_out: Sequence[str]
    command: Command


def gather(command: Command, cfg: DictConfig) -> tuple[Command, Inputs[Any]] | None:
    """The evaluations that a configuration asks for, checked and held against each other.

    Args:
        command: `spacecast-evaluate`.
        cfg: composed; `checkpoint` is one, a list of them, or the folder of a sweep. One that is alone is left in it.

    Returns:
        The command that makes the scorecard, and its inputs; None where there is one checkpoint.

    Raises:
        UserError: a mistake in any of them, or they cannot be compared.

    """
    if OmegaConf.is_missing(cfg, "checkpoint"):
        return None
    wanted = cfg.checkpoint
    found, left_out = listed(list(wanted) if isinstance(wanted, ListConfig) else [wanted])
    if len(found) == 1:
        if cfg.get("baseline") is not None:
            raise UserError(
                f"baseline={cfg.baseline}: there is one checkpoint; give several, checkpoint=[A,B], or none"
            )
        cfg.checkpoint = found[0].text
        return None
    return replace(command, task=scorecard, check_folder=check_places), _inputs(command, cfg, found, left_out)


def _inputs(
    command: Command, cfg: DictConfig, found: Sequence[Checkpoint], left_out: Sequence[str]
) -> Inputs[Comparison]:
    """The configuration of each evaluation, and what is recorded of all."""
    names = [each.name for each in found]
    baseline, words = cfg.get("baseline"), typed_words(cfg)
    if baseline is not None and baseline not in names:
        raise UserError(f"baseline={baseline}: no checkpoint has that name; {nearest(str(baseline), names)}")
    outer = checked(command, _with(cfg, found[0]), {})
    folder = Path(outer["paths"]["run_dir"])
    evaluations: dict[str, Inputs[Evaluate]] = {}
    for each in found:
        opened: Opened = {}
        plain = checked(command, _with(cfg, each), opened, folder / each.name)
        _label(plain, f"{each.name}-evaluate", folder.name, words)
        facts = {file: {"spacecast": content["spacecast"]} for file, content in opened.items()}  # no weights of all
        evaluations[each.name] = Inputs.of(plain, Evaluate, facts)
    _check_different(evaluations)
    _check_alike(evaluations, typed=any(within(key, DATA) for key in typed_keys(words)))
    _label(outer, "scorecard", folder.name, words)
    first: Inputs[Evaluate] = Inputs.of(outer, Evaluate)
    comparison = Comparison(first.config.paths, first.config.logger, evaluations, baseline, left_out, command)
    recorded = {
        "checkpoint": {name: str(each.config.checkpoint) for name, each in evaluations.items()},
        "baseline": baseline,
        "evaluation": {key: value for key, value in outer["evaluation"].items() if key in COMPARED},
        "paths": outer["paths"],
        "logger": outer["logger"],
    }
    return Inputs(comparison, recorded)


def _with(cfg: DictConfig, checkpoint: Checkpoint) -> DictConfig:
    """A composed configuration for one of the checkpoints."""
    copy = cfg.copy()
    copy.checkpoint, copy.baseline = checkpoint.text, None
    return copy


def _label(plain: Plain, name: str, folder: str, words: Sequence[str]) -> None:
    """In MLflow the runs share the tag `scorecard` and are named by their model."""
    logger = plain.get("logger")
    if not isinstance(logger, dict) or "run_name" not in logger or "tags" not in logger:
        return
    logger["tags"] = {"scorecard": folder, **(logger["tags"] or {})}
    if "logger.run_name" not in typed_keys(words):
        logger["run_name"] = name


def _data_hash(inputs: Inputs[Evaluate]) -> str:
    """Hash of the data of the training; empty where the checkpoint does not say."""
    facts = inputs.opened[inputs.config.checkpoint]["spacecast"]
    return str((facts.get("data_spec") or {}).get("data_hash") or "")


def _check_different(evaluations: Mapping[str, Inputs[Evaluate]]) -> None:
    """Refuse a checkpoint that is named twice."""
    files: dict[Path, str] = {}
    for name, each in evaluations.items():
        file = each.config.checkpoint.resolve()
        if file in files:
            raise UserError(f"checkpoint: {files[file]} and {name} are the same file, {file}; name it once")
        files[file] = name


def _check_alike(evaluations: Mapping[str, Inputs[Evaluate]], *, typed: bool) -> None:
    """Evaluations that are to be compared must be of one kind, before any of them is made.

    Args:
        evaluations: by name.
        typed: whether the data are named on the command line, and so the same for all.

    """
    from spacecast.storage.fingerprint import same_kind

    (first, one), *others = evaluations.items()
    for name, other in others:
        for key in COMPARED:
            both = [each.config.evaluation.content for each in (one, other)]
            values = [section[key] for section in both if key in section]  # single forecasts have no estimator
            if len(values) == 2 and values[0] != values[1]:
                raise UserError(
                    f"{first} and {name} cannot be compared: evaluation.{key} is {values[0]} in one and {values[1]} in "
                    f"the other; give evaluation.{key}=VALUE for all of them"
                )
        before, now = _data_hash(one), _data_hash(other)
        if not typed and same_kind(before, now) and before != now:
            raise UserError(
                f"{first} and {name} cannot be compared: they were trained on different data, {before} and {now}; give "
                "datastore.root=DIR, and datastore.runs where they differ, to score all of them on the same"
            )


def check_places(inputs: Inputs[Comparison]) -> None:
    """Refuse folders that hold anything else than this scorecard and its evaluations, and data in another place.

    Raises:
        UserError: one does.

    """
    check_evaluation_folder(inputs, AGAIN)
    for each in inputs.config.evaluations.values():
        inputs.config.command.check_folder(each)


def scorecard(inputs: Inputs[Comparison]) -> "Scorecard | None":
    """Score each model, unless that has been done, then compare them; print, write and record the scorecard.

    Args:
        inputs: from `gather`.

    Returns:
        The scorecard, in the first process.

    Raises:
        UserError: a checkpoint does not fit the data or the graph, or the scores are not alike.

    """
    from spacecast.evaluation.paired_scores import check_alike, read_scores
    from spacecast.evaluation.scorecard import compare
    from spacecast.plots.scorecard import draw_scorecard
    from spacecast.tracking.logger import log_artifact, log_tags, tracked
    from spacecast.tracking.provenance import provenance

    config, scores = inputs.config, {}
    for text in config.left_out:
        log.info("%s", text)
    for number, (name, each) in enumerate(config.evaluations.items(), 1):
        log.info("model %d of %d: %s", number, len(config.evaluations), name)
        _evaluate(config.command, each)
        if first_process():
            scores[name] = read_scores(each.config.paths.run_dir / SCORES)
            check_alike(scores)
    if not first_process():
        return None
    card, run_dir = compare(scores, config.baseline), config.paths.run_dir
    files = [card.write_csv(run_dir / "scorecard.csv"), *draw_scorecard(card, run_dir / "scorecard.png")]
    log.info("%s", card.table())
    logger = config.logger.build(**separate_journal(config.logger.content))
    with tracked(logger):
        data_hash = str(next(iter(scores.values())).attrs.get("data_hash") or "")
        log_tags(logger, {**provenance(data_hash), "models": ", ".join(card.models), "baseline": card.models[0]})
        log_artifact(logger, run_dir / "config.yaml", "config")
        for path in files:
            log_artifact(logger, path, "scores" if path.suffix == ".csv" else "figures")
    log.info("%s in %s", several(len(scores), "evaluation"), run_dir)
    return card


def _evaluate(command: Command, inputs: Inputs[Evaluate]) -> None:
    """Score one model in its folder; nothing where the same has been done there before."""
    folder, done = inputs.config.paths.run_dir, {"checkpoint": _hash(inputs.config.checkpoint)}
    same = read_facts(folder).get("scored") == done and (folder / SCORES).is_file()
    if same and not first_difference(recorded_config(folder), inputs.plain, ALIKE):
        log.info("scored before: %s", folder / SCORES)
        return
    if first_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_config(inputs.plain, folder)
        add_facts(folder, scored=None)
    command.task(replace(inputs, opened={}))
    if first_process():
        add_facts(folder, scored=done)


def _hash(file: Path) -> str:
    """Of a checkpoint, which may be another one by the same name the next time."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
