"""What an evaluation takes over from a training, and the places that it may read and write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spacecast.app.resuming import HARMLESS, first_difference, read_config
from spacecast.config.paths import absolute_path
from spacecast.core.errors import UserError
from spacecast.process.run_folder import CONFIG_FILE

Plain = Mapping[str, Any]

# What may change when an evaluation is made again in its own folder: it leaves the scores alone.
ALIKE = (*(name for name in HARMLESS if name not in ("evaluation", "datastore.root")), "trainer", "same_data")
RELATIVE = (("datastore", "root"), ("simulation", "root"), ("graph", "path"))  # paths that were recorded as typed
WRITTEN = (CONFIG_FILE, "scores.csv", "examples.zarr", "figures")


def anchored(stored: Plain, keys: Sequence[str], source: str) -> dict[str, Any]:
    """A stored configuration without relative paths, which older checkpoints hold: never against today's folder.

    Args:
        stored: from a checkpoint. A relative path is meant in the project folder of that training.
        keys: what was typed; it wins.
        source: the checkpoint, for the message.

    Raises:
        UserError: the checkpoint does not say which folder that was.

    """
    found, paths = dict(stored), stored.get("paths")
    base = paths.get("project_dir") if isinstance(paths, Mapping) else None
    for name, key in RELATIVE:
        section = stored.get(name)
        value = section.get(key) if isinstance(section, Mapping) else None
        if not isinstance(section, Mapping) or not isinstance(value, str) or Path(value).is_absolute():
            continue
        if {name, f"{name}.{key}"} & set(keys) or "://" in value:
            continue
        if not isinstance(base, str) or not Path(base).is_absolute():
            raise UserError(f"{source}: {name}.{key}={value} is relative to a folder unknown; give {name}.{key}=DIR")
        found[name] = {**section, key: absolute_path(value, f"{name}.{key}", Path(base))}
    return found


def check_same_data(plain: Plain, trained: Plain, data_hash: str) -> None:
    """With `same_data`, refuse other data than those of the training.

    Args:
        plain: the configuration of the evaluation.
        trained: the entry `spacecast` of the checkpoint.
        data_hash: of the data at hand.

    Raises:
        UserError: they are others.

    """
    from spacecast.storage.fingerprint import same_kind

    before = str((trained.get("data_spec") or {}).get("data_hash") or "")
    if plain.get("same_data") and same_kind(before, data_hash) and before != data_hash:
        root = plain["datastore"].get("root")
        raise UserError(
            f"the data in {root} are not those of the training, which are no longer where they were: give "
            f"datastore.root=DIR where they are, or datastore.root={root} to score these all the same"
        )


def chosen_evaluation(member: Plain, stored: Plain) -> dict[str, Any]:
    """A member of the group `evaluation` that was typed, with the values that the training had for the same keys."""
    if member.get("_target_") != stored.get("_target_"):
        return dict(member)
    return {**member, **{key: value for key, value in stored.items() if key in member}}


def check_data_place(plain: Plain, stored: Plain) -> None:
    """Refuse to simulate the data of a training anew in another place, where a run folder was copied without them.

    Args:
        plain: the configuration of the evaluation.
        stored: that of the training.

    Raises:
        UserError: the data are neither where they were nor where they are looked for.

    """
    from spacecast.data.configs import find_raw_runs, find_runs

    now, before = plain.get("simulation"), stored.get("simulation")
    if not now or not before or now.get("root") == before.get("root"):
        return
    if first_difference(before, now, ["root"]):
        return  # other data are asked for
    root = Path(str(now.get("root")))
    if not find_runs(root) and not find_raw_runs(root):
        raise UserError(
            f"the data of this training are neither in {before.get('root')}, where they were made, nor in {root}; give "
            "datastore.root=DIR, the folder with its runs, or paths.data_dir=DIR, the folder above"
        )


def check_evaluation_folder(plain: Plain) -> None:
    """Refuse a folder whose files an evaluation would overwrite: it may hold only the same evaluation.

    Raises:
        UserError: it holds a training, a sweep, another evaluation or files of another origin.

    """
    run_dir = Path(plain["paths"]["run_dir"])
    before = read_config(run_dir)
    other = f"choose another folder, for example paths.run_dir={run_dir}-evaluation"
    kinds = {"checkpoints": "a training", "sweep.json": "a sweep"}
    for name, kind in kinds.items():
        if (run_dir / name).exists():
            raise UserError(f"paths.run_dir={run_dir} holds {kind}, whose files would be overwritten; {other}")
    if before.get("checkpoint"):
        difference = first_difference(before, plain, ALIKE)
        if difference:
            raise UserError(f"paths.run_dir={run_dir} holds an evaluation with {difference}; {other}")
        return
    found = [name for name in WRITTEN if (run_dir / name).exists()]
    if found:
        kind = "a training" if before else found[0]
        raise UserError(f"paths.run_dir={run_dir} holds {kind}, which would be overwritten; {other}")
