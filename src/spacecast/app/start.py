"""Where a training starts: at nothing, in its own checkpoint, in another run's, or with another run's weights."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.config.command import Opened
from spacecast.config.schema import Section, Train
from spacecast.config.targets import current_name
from spacecast.core.errors import UserError
from spacecast.core.text import as_typed

if TYPE_CHECKING:
    from spacecast.app.assemble import Parts
    from spacecast.core.spec import DataSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where a training starts.

    Args:
        checkpoint: all of the training goes on from here.
        own: it is this run's.
        weights: only these are taken over.
        parent: tracked run that the checkpoint is of.

    """

    checkpoint: Path | None = None
    own: bool = False
    weights: Path | None = None
    parent: str | None = None


def find_start(config: Train, opened: Opened) -> Start:
    """Where this run starts; its own checkpoints come first, so that the same command may be given again and again.

    Args:
        config: of the training.
        opened: receives what is in the file, for whoever takes it over.

    Raises:
        UserError: a checkpoint that is asked for is absent or damaged.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint
    from spacecast.checkpoint.files import newest

    own = newest(config.paths.run_dir / "checkpoints")
    found = own if own is not None or not config.resume else _to_resume(config.resume)
    if found is None and config.init_from:
        file = find_checkpoint(config.init_from)
        opened[file] = load_checkpoint(file)
        return Start(weights=file, parent=_tracked_run(opened[file]))
    if found is None:
        return Start()
    file, opened[found[0]] = found
    return Start(checkpoint=file, own=own is not None, parent=_tracked_run(opened[file]))


def _to_resume(path: Path) -> tuple[Path, dict[str, Any]]:
    """A checkpoint of a training, by its file or the folder of its run, and what is in it."""
    from spacecast.checkpoint.content import load_checkpoint
    from spacecast.checkpoint.exported import WEIGHTS
    from spacecast.checkpoint.files import newest

    exported = path.name == WEIGHTS or (path / WEIGHTS).is_file()
    alone = exported or path.is_file()
    found = (path, load_checkpoint(path)) if alone else newest(path / "checkpoints") or newest(path)
    if found is None:
        raise UserError(f"resume={path}: no checkpoint there; give a .ckpt file or the folder of a run")
    if exported or "reference" in found[1]["spacecast"]:  # which began as published weights
        weights = as_typed(f"init_from={path}")
        raise UserError(f"resume={path} holds weights, not a training to go on with; use {weights}")
    return found


def _tracked_run(content: Mapping[str, Any]) -> str | None:
    """The tracked run that a checkpoint is of."""
    run_id: str | None = content.get("progress", {}).get("run_id")
    return run_id


def check_start(start: Start, parts: "Parts", opened: Opened) -> None:
    """Data and graph must be those of the checkpoint; a warning where its data were hashed in another way.

    Raises:
        UserError: they are not.

    """
    from spacecast.storage.fingerprint import same_kind

    if start.checkpoint is None:
        return
    facts = opened[start.checkpoint]["spacecast"]
    data_hash, graph_hash = str((facts["data_spec"] or {}).get("data_hash", "")), (facts["graph"] or {}).get("hash", "")
    pairs = [("graph", graph_hash, parts.graph.content_hash)]
    if same_kind(data_hash, parts.spec.data_hash):
        pairs.insert(0, ("data", data_hash, parts.spec.data_hash))
    else:
        log.warning("%s holds no hash that these data can be compared by: taken to be the same", start.checkpoint)
    for what, before, now in pairs:
        if before != now:
            raise UserError(
                f"{start.checkpoint} was made with other {what} than there are now: "
                f"to train its weights on, use init_from in another paths.run_dir"
            )


def check_former_defaults(config: Train, start: Start, opened: Opened) -> None:
    """What a training leaves to constructors must be what they took when its checkpoint was written.

    Raises:
        UserError: a default was another one then; the first is named.

    """
    from spacecast.checkpoint.formats import former_defaults

    facts = opened[start.checkpoint]["spacecast"] if start.checkpoint else {}
    for name, before in (facts.get("config") or {}).items():
        section = getattr(config, name, None)
        target = current_name(str(before.get("_target_"))) if isinstance(before, Mapping) else ""
        if not isinstance(section, Section) or section.target != target:
            continue
        former = former_defaults(target, facts["format"])
        for key in sorted(former.keys() - section.content.keys()):
            if before[key] == former[key]:
                value = "null" if former[key] is None else former[key]
                again = as_typed(f"resume={start.checkpoint}", f"{name}.{key}={value}")
                raise UserError(
                    f"{name}.{key} is not in the configuration, and its default was {value} when {start.checkpoint} "
                    f"was written: go on with {again} in another paths.run_dir"
                )


def take_weights(start: Start, parts: "Parts", opened: Opened) -> None:
    """Load the weights of `init_from`, once; noise may be added to a model that was trained without.

    Raises:
        UserError: they belong to another model, or to other variables.

    """
    from spacecast.checkpoint.content import load_weights, model_weights
    from spacecast.nn.conditioning import noise_weights

    if start.weights is not None:
        checkpoint = opened.pop(start.weights)
        _check_variables(checkpoint["spacecast"]["data_spec"], parts.spec, start.weights)
        load_weights(parts.model, model_weights(checkpoint), str(start.weights), noise_weights(parts.model))
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
