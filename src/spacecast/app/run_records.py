"""What a run folder tells: whether a command may use it, whether its run is finished, and where that is tracked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from spacecast.config.command import Inputs, Plain
from spacecast.config.schema import EvaluationSection, Section, Train
from spacecast.config.targets import with_current_names
from spacecast.core.errors import UserError
from spacecast.core.names import within
from spacecast.core.text import as_typed
from spacecast.process.run_folder import CONFIG_FILE, add_facts, read_facts
from spacecast.process.signals import first_process

JOURNAL_FILE = "tracking.jsonl"
WRITTEN = (CONFIG_FILE, "scores.csv", "examples.zarr", "figures")  # by an evaluation

# What may change when a run goes on: it leaves the numbers alone. Data and graph are held against their hashes instead.
HARMLESS = (
    "paths", "logger", "evaluation", "launcher", "simulation", "dry_run", "resume", "init_from", "trust",
    "datastore.root", "datastore.repository", "datastore.cache_gb", "graph.path", "data.workers", "data.cache",
    "trainer.max_epochs", "trainer.checkpoint_minutes", "trainer.max_nonfinite_steps", "trainer.memory",
    "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.detect_anomaly", "trainer.pictures",
)  # fmt: skip
# What may change when an evaluation is made again in its own folder: it leaves the scores alone.
ALIKE = (*(name for name in HARMLESS if name not in ("evaluation", "datastore.root")), "trainer", "same_data")


def check_training_folder(inputs: Inputs[Train]) -> None:
    """Refuse to go on in the folder of a run with other settings. Reads `config.yaml` only.

    Raises:
        UserError: the first setting that differs is named.

    """
    config = inputs.config
    if config.resume and config.init_from:
        raise UserError("resume takes over everything, init_from only the weights: give one of them")
    run_dir = config.paths.run_dir
    begun = has_checkpoint(run_dir)
    if not (begun or is_tracked(config)) or not (run_dir / CONFIG_FILE).is_file():
        return
    before = with_keys_of_today(recorded_config(run_dir), config)
    difference = first_difference(before, inputs.plain, HARMLESS)
    if difference:
        start = (
            f", with {as_typed(f'init_from={run_dir}')} to start from its weights or "
            f"{as_typed(f'resume={run_dir}')} to go on from it"
        )
        raise UserError(
            f"{run_dir} holds a run with {difference}: choose another "
            f"paths.run_dir{start if begun else ', or remove that folder'}"
        )


def check_evaluation_folder(inputs: Inputs[Any], alike: Sequence[str] = ALIKE) -> None:
    """Refuse a folder whose files an evaluation would overwrite: it may hold only the same evaluation.

    Args:
        inputs: of an evaluation or a scorecard.
        alike: settings that may change when it is made again.

    Raises:
        UserError: it holds a training, a sweep, another evaluation or files of another origin.

    """
    run_dir = inputs.config.paths.run_dir
    before = recorded_config(run_dir)
    other = f"choose another folder, for example paths.run_dir={run_dir}-evaluation"
    kinds = {"checkpoints": "a training", "sweep.json": "a sweep"}
    for name, kind in kinds.items():
        if (run_dir / name).exists():
            raise UserError(f"paths.run_dir={run_dir} holds {kind}, whose files would be overwritten; {other}")
    if before.get("checkpoint"):
        difference = first_difference(before, inputs.plain, alike)
        if difference:
            raise UserError(f"paths.run_dir={run_dir} holds an evaluation with {difference}; {other}")
        return
    found = [name for name in WRITTEN if (run_dir / name).exists()]
    if found:
        kind = "a training" if before else found[0]
        raise UserError(f"paths.run_dir={run_dir} holds {kind}, which would be overwritten; {other}")


def recorded_config(run_dir: Path) -> Plain:
    """The recorded configuration of a run, targets by their names of today; empty where there is none to be read."""
    try:
        found = with_current_names(yaml.safe_load((run_dir / CONFIG_FILE).read_text()))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def with_keys_of_today(before: Plain, config: Train) -> Plain:
    """A recorded configuration with the keys that it lacks and a section has now: each had its default.

    Sections that are built by something else now are left as they are, and keys whose default was another one before.
    """
    from spacecast.checkpoint.formats import former_defaults

    completed = dict(before)
    for name, section in before.items():
        now = getattr(config, name, None)
        if isinstance(now, Section) and isinstance(section, Mapping) and section.get("_target_") == now.target:
            own = {field.name: field.default for field in fields(now) if field.name in now.own}
            known = {**now.defaults, **own}
            new = now.content.keys() & known.keys() - section.keys() - former_defaults(now.target, 0).keys()
            added = {key: list(value) if isinstance(value := known[key], tuple) else value for key in new}
            completed[name] = {**section, **added}
    return completed


def first_difference(before: Plain, now: Plain, harmless: Sequence[str]) -> str:
    """How two configurations differ, beside keys and sections that are harmless; empty when they do not."""
    one, two = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in (*two, *(key for key in one if key not in two)) if not within(key, harmless)]
    changed = [key for key in keys if one.get(key) != two.get(key)]
    if not changed:
        return ""
    rest = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]}={one.get(changed[0])}, here it is {two.get(changed[0])}{rest}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaves of nested mappings with dotted keys."""
    for name, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            yield from _flat(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


def is_tracked(config: Train) -> bool:
    """Whether a run in this folder has told a journal or a store its settings, also when it got no further."""
    return _has_told(config.paths.run_dir, config.logger.journal)


def _has_told(run_dir: Path, journal: Path | None) -> bool:
    """See `is_tracked`."""
    journals = [run_dir / JOURNAL_FILE, *([] if journal is None else [journal])]
    return any(path.is_file() for path in journals) or "mlflow_run_id" in read_facts(run_dir)


def has_begun(plain: Plain) -> bool:
    """Whether a composed training goes on in its run folder: it has a checkpoint, or is tracked."""
    run_dir, logger = Path(plain["paths"]["run_dir"]), plain.get("logger")
    journal = logger.get("journal") if isinstance(logger, Mapping) else None
    return has_checkpoint(run_dir) or _has_told(run_dir, Path(journal) if isinstance(journal, str) else None)


def has_checkpoint(run_dir: Path) -> bool:
    """Whether a training in this folder has something to go on from."""
    return any((run_dir / "checkpoints" / name).is_file() for name in ("last.ckpt", "previous.ckpt"))


def is_finished(config: Train) -> bool:
    """Whether the run in this folder has come to its end and has been scored in the way that is asked for.

    A key that did not exist when it was scored is taken to have had its default.
    """
    scored = read_facts(config.paths.run_dir).get("scored") or {}
    before = with_current_names(scored.get("evaluation"))
    return is_scored(config) and isinstance(before, dict) and _same_scoring(before, config.evaluation)


def _same_scoring(before: Plain, now: EvaluationSection) -> bool:
    """Whether an evaluation scores as one that was recorded: by an earlier version, when it lacks a key of today.

    That one had none of the regions either that are there by default since.
    """
    defaults = now.defaults.items()
    known = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults}
    one, two = (dict(_flat({**known, **each})) for each in (before, now.content))
    earlier, default = not before.keys() >= now.content.keys(), dict(_flat(known))
    since = {key for key in two.keys() - one.keys() if earlier and key in default and default[key] == two[key]}
    return one == {key: value for key, value in two.items() if key not in since}


def is_scored(config: Train) -> bool:
    """Whether the run in this folder has come to its end and has been scored in some way."""
    scored = read_facts(config.paths.run_dir).get("scored") or {}
    ends = [scored.get(name) for name in ("max_epochs", "max_steps")]
    there = (config.paths.run_dir / "scores.csv").is_file()
    return there and ends == [config.trainer.max_epochs, config.trainer.max_steps]


def remember_scores(config: Train) -> None:
    """Note that a run has come to its end, and how it was scored."""
    ends = {"max_epochs": config.trainer.max_epochs, "max_steps": config.trainer.max_steps}
    add_facts(config.paths.run_dir, scored={"evaluation": dict(config.evaluation.content), **ends}, diverged=None)


def tracking_id(config: Train, own_run: str | None) -> dict[str, str]:
    """The keyword `run_id` of the logger for a run that goes on with the id that it is tracked under.

    Args:
        config: of the training.
        own_run: the tracked run of the checkpoint in the run folder, if there is one.

    """
    run_id = read_facts(config.paths.run_dir).get("mlflow_run_id") or own_run
    new = config.logger.tracking_uri and config.logger.run_id is None
    return {"run_id": run_id} if new and isinstance(run_id, str) and run_id else {}


def remember_tracking(config: Train, logger: Any) -> None:
    """Note in the run folder where the run is tracked, once the store has given it an id."""
    run_id = getattr(logger, "run_id", None)
    if run_id and first_process():
        add_facts(config.paths.run_dir, mlflow_run_id=run_id, tracking_uri=logger.tracking_uri)
