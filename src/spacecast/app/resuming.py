"""Where a run starts: at nothing, in its own checkpoint, in another run's, or with another run's weights."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spacecast.config.targets import with_current_names
from spacecast.core.errors import UserError
from spacecast.core.names import within
from spacecast.core.text import as_typed
from spacecast.process.run_folder import CONFIG_FILE, add_facts, first_process, read_facts

if TYPE_CHECKING:
    from spacecast.app.assemble import Parts
    from spacecast.core.spec import DataSpec

log = logging.getLogger(__name__)

Plain = Mapping[str, Any]

JOURNAL_FILE = "tracking.jsonl"

# What may change when a run goes on: it leaves the numbers alone. Data and graph are held against their hashes instead.
HARMLESS = (
    "paths", "logger", "evaluation", "launcher", "simulation", "dry_run", "resume", "init_from", "trust",
    "datastore.root", "datastore.repository", "datastore.cache_gb", "graph.path", "data.workers", "trainer.max_epochs",
    "trainer.checkpoint_minutes", "trainer.max_nonfinite_steps", "trainer.log_every_n_steps",
    "trainer.enable_progress_bar", "trainer.detect_anomaly",
)  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    checkpoint: all of the training goes on from here; own: it is this run's.
    weights: only these are taken over.
    parent: tracked run that the checkpoint is of.
    data_hash, graph_hash: what the checkpoint was made with.
    """

    checkpoint: Path | None = None
    own: bool = False
    weights: Path | None = None
    parent: str | None = None
    data_hash: str = ""
    graph_hash: str = ""


def check_run_folder(plain: Plain) -> None:
    """Refuse to go on in the folder of a run with other settings. Reads `config.yaml` only.

    Raises:
        UserError: the first setting that differs is named.

    """
    if plain["resume"] and plain["init_from"]:
        raise UserError("resume takes over everything, init_from only the weights: give one of them")
    run_dir = Path(plain["paths"]["run_dir"])
    begun = holds_run(run_dir)
    if not (begun or is_tracked(plain)) or not (run_dir / CONFIG_FILE).is_file():
        return
    difference = first_difference(read_config(run_dir), plain, HARMLESS)
    if difference:
        start = (
            f", with {as_typed(f'init_from={run_dir}')} to start from its weights or "
            f"{as_typed(f'resume={run_dir}')} to go on from it"
        )
        raise UserError(
            f"{run_dir} holds a run with {difference}: choose another "
            f"paths.run_dir{start if begun else ', or remove that folder'}"
        )


def read_config(run_dir: Path) -> dict[str, Any]:
    """The recorded configuration of a run, targets by their names of today; empty where there is none to be read."""
    try:
        found = with_current_names(yaml.safe_load((run_dir / CONFIG_FILE).read_text()))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def first_difference(before: Plain, now: Plain, harmless: Sequence[str]) -> str:
    """How two configurations differ, beside keys and sections that are harmless; empty when they do not."""
    one, two = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in (*two, *(key for key in one if key not in two)) if not within(key, harmless)]
    changed = [key for key in keys if one.get(key) != two.get(key)]
    if not changed:
        return ""
    rest = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]}={one.get(changed[0])}, here it is {two.get(changed[0])}{rest}"


def holds_run(run_dir: Path) -> bool:
    """Whether a run has got somewhere in this folder."""
    checkpoints = run_dir / "checkpoints"
    return any((checkpoints / name).is_file() for name in ("last.ckpt", "previous.ckpt"))


def is_tracked(plain: Plain) -> bool:
    """Whether a run in this folder has told a journal or a store its settings, also when it got no further."""
    run_dir, logger = Path(plain["paths"]["run_dir"]), plain.get("logger") or {}
    journals = [run_dir / JOURNAL_FILE, *filter(None, [logger.get("journal")])]
    return any(Path(journal).is_file() for journal in journals) or "mlflow_run_id" in read_facts(run_dir)


def is_finished(plain: Plain) -> bool:
    """Whether the run in this folder has come to its end and has been scored in the way that is asked for."""
    scored = read_facts(Path(plain["paths"]["run_dir"])).get("scored") or {}
    return is_scored(plain) and with_current_names(scored.get("evaluation")) == dict(plain["evaluation"])


def is_scored(plain: Plain) -> bool:
    """Whether the run in this folder has come to its end and has been scored in some way."""
    run_dir = Path(plain["paths"]["run_dir"])
    scored = read_facts(run_dir).get("scored") or {}
    return (run_dir / "scores.csv").is_file() and all(scored.get(name) == end for name, end in _end(plain).items())


def remember_scores(plain: Plain) -> None:
    """Note that a run has come to its end, and how it was scored."""
    scored = {"evaluation": dict(plain["evaluation"]), **_end(plain)}
    add_facts(Path(plain["paths"]["run_dir"]), scored=scored, diverged=None)


def _end(plain: Plain) -> dict[str, Any]:
    """What decides where a run ends."""
    return {name: plain["trainer"].get(name) for name in ("max_epochs", "max_steps")}


def find_start(plain: Plain) -> Start:
    """Where this run starts; its own checkpoints come first, so that the same command may be given again and again.

    Raises:
        UserError: a checkpoint that is asked for is absent or damaged.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint
    from spacecast.checkpoint.files import newest

    own = newest(Path(plain["paths"]["run_dir"]) / "checkpoints")
    if own is not None:
        return _start(*own, own=True)
    if plain["resume"]:
        path = Path(plain["resume"])
        found = (path, load_checkpoint(path)) if path.is_file() else newest(path / "checkpoints") or newest(path)
        if found is None:
            raise UserError(f"resume={path}: no checkpoint there; give a .ckpt file or the folder of a run")
        if "reference" in found[1]["spacecast"]:  # began as published weights
            weights = as_typed(f"init_from={path}")
            raise UserError(f"resume={path} holds weights, not a training to go on with; use {weights}")
        return _start(*found, own=False)
    if plain["init_from"]:
        file = find_checkpoint(Path(plain["init_from"]))
        return Start(weights=file, parent=_start(file, load_checkpoint(file), own=False).parent)
    return Start()


def _start(file: Path, content: Plain, *, own: bool) -> Start:
    """What matters of a checkpoint."""
    facts = content["spacecast"]
    data, graph = facts["data_spec"] or {}, facts["graph"] or {}
    return Start(
        checkpoint=file,
        own=own,
        parent=content.get("progress", {}).get("run_id"),
        data_hash=str(data.get("data_hash", "")),
        graph_hash=graph.get("hash", ""),
    )


def check_start(start: Start, parts: "Parts") -> None:
    """Data and graph must be those of the checkpoint; a warning where its data were hashed in another way.

    Raises:
        UserError: they are not.

    """
    from spacecast.storage.fingerprint import same_kind

    if start.checkpoint is None:
        return
    pairs = [("graph", start.graph_hash, parts.graph.content_hash)]
    if same_kind(start.data_hash, parts.spec.data_hash):
        pairs.insert(0, ("data", start.data_hash, parts.spec.data_hash))
    else:
        log.warning("%s holds no hash that these data can be compared by: taken to be the same", start.checkpoint)
    for what, before, now in pairs:
        if before != now:
            raise UserError(
                f"{start.checkpoint} was made with other {what} than there are now: "
                f"to train its weights on, use init_from in another paths.run_dir"
            )


def take_weights(start: Start, parts: "Parts") -> None:
    """Load the weights of `init_from`.

    Raises:
        UserError: they belong to another model, or to other variables.

    """
    from spacecast.app.evaluate import load_weights
    from spacecast.checkpoint.content import load_checkpoint, model_weights

    if start.weights is not None:
        checkpoint = load_checkpoint(start.weights)
        _check_variables(checkpoint["spacecast"]["data_spec"], parts.spec, start.weights)
        load_weights(parts.model, model_weights(checkpoint), str(start.weights))
        log.info("weights of %s", start.weights)


def _check_variables(stored: dict[str, Any] | None, spec: "DataSpec", source: Path) -> None:
    """Weights may start a training on data of another plane, cadence or unit, which is told; variables must be alike.

    Raises:
        UserError: other variables, or the same in another order, to which columns of the weights belong.

    """
    from spacecast.core.spec import DataSpec
    from spacecast.data.fit import misfits

    if stored is None:  # of the reference, which does not say
        return
    trained = DataSpec.from_dict(stored)
    for category in ("state", "forcing", "static"):
        before, now = getattr(trained, category).names, getattr(spec, category).names
        if before != now:
            one, two = (", ".join(names) or "none" for names in (before, now))
            what = f"its {category} variables are {one}, those of the data {two}"
            raise UserError(f"init_from={source}: {what}; give data with the same ones in the same order")
    for fault in misfits(trained, spec, convert_units=True):
        log.warning("init_from: %s", fault.partition(";")[0])


def tracking_section(plain: Plain, start: Start) -> dict[str, Any]:
    """The section `logger`, for a run that goes on with the id that it is tracked under."""
    section = dict(plain["logger"])
    facts = read_facts(Path(plain["paths"]["run_dir"]))
    run_id = facts.get("mlflow_run_id") or (start.parent if start.own else None)
    if isinstance(run_id, str) and run_id and section.get("tracking_uri") and section.get("run_id") is None:
        section["run_id"] = run_id
    return section


def remember_tracking(plain: Plain, logger: Any) -> None:
    """Note in the run folder where the run is tracked, once the store has given it an id."""
    run_id = getattr(logger, "run_id", None)
    if run_id and first_process():
        add_facts(Path(plain["paths"]["run_dir"]), mlflow_run_id=run_id, tracking_uri=logger.tracking_uri)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaves of nested mappings with dotted keys."""
    for name, entry in value.items():
        if isinstance(entry, Mapping) and entry:
            yield from _flat(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry
