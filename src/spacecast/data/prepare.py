"""Raw runs to training-ready ones with mllam-data-prep: quiet, atomic, only where something has changed."""

import contextlib
import importlib
import logging
import os
import shlex
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from spacecast.core.errors import UserError, nearest
from spacecast.data import configs
from spacecast.data.raw import Loader, check_functions, check_input, describe_missing, open_raw, tell_left_out
from spacecast.data.sources import SourceRecord
from spacecast.data.store import RunStore
from spacecast.process.files import atomic_write, leftovers
from spacecast.process.progress import ProgressCallback
from spacecast.process.workers import run_tasks
from spacecast.storage.arrays import kind_of_file
from spacecast.storage.folder import STORES, files_below, only_writer, require_folder, writable

logger = logging.getLogger(__name__)
WATCH_SECONDS = 0.5
SMALL = 2e9  # bytes of raw data up to which processes of their own cost more than they save (seconds to start)


def prepare(
    root: str | Path,
    runs: Sequence[int | str] | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    *,
    processes: int | None = None,
    trusted: Sequence[str] = (),
) -> list[Path]:
    """Turn raw runs into prepared ones with mllam-data-prep, as their YAML says.

    A run is prepared again only when its YAML or its raw data changed, or with `overwrite`; a copy with other file
    times has not. A prepared run whose raw data are absent, or that has no note of them (a download), is taken as it
    is. The old output stays until the new one is complete. Processes that prepare one folder at once wait for each
    other.

    Args:
        root: folder with raw runs and their YAML; a missing YAML is written (`configs.write_configs`).
        runs: names of runs; None takes all.
        overwrite: prepare in any case.
        progress: called with (run, frames written, frames).
        processes: runs prepared at the same time; None: one per core for large data, else 1, here.
        trusted: modules whose functions a YAML may name to derive variables, besides those of mllam-data-prep.

    Returns:
        The prepared stores, one per run.

    Raises:
        UserError: when raw data or YAML are missing or faulty, or something is to be done in a read-only folder.

    """
    root = Path(root).resolve()
    require_folder(root, write=False)
    names = tuple(map(str, runs)) if runs is not None else _all_runs(root)
    if not names:
        raise UserError(
            f"{root} holds no run to prepare; run spacecast-data simulate or download, or choose another folder"
        )
    if overwrite or leftovers(root, STORES) or any(_outdated(root, name, trusted) for name in names):
        with only_writer(root):
            stale = [name for name in names if configs.stale_config(root, name)]
            if stale:
                configs.write_configs(root, stale)
            jobs = [job for name in names if (job := _job(root, name, overwrite, trusted)) is not None]
            work = [_checked(job) for job in jobs]
            if work:
                require_folder(root, write=True)
                _carry_out(work, processes, progress)
    return [configs.prepared_path(root, name) for name in names]


def _all_runs(root: Path) -> tuple[str, ...]:
    """Runs that have a YAML, a prepared store or raw data, in this order of preference."""
    found = dict.fromkeys((*configs.find_runs(root, "yaml"), *configs.find_runs(root), *configs.find_raw_runs(root)))
    return tuple(found)


def _outdated(root: Path, name: str, trusted: Sequence[str]) -> bool:
    """Whether something is to be done for a run; needs no lock.

    Raises:
        UserError: it is, and the folder is read-only.

    """
    if not configs.stale_config(root, name) and _job(root, name, False, trusted) is None:
        return False
    if not writable(root):
        target = configs.prepared_path(root, name)
        changed = f"its raw data or its YAML have changed since {target.name} was made"
        raise UserError(
            f"run {name}: {changed if target.exists() else 'it is not prepared'}, and data folder {root} cannot be "
            f"written to; change its permissions and run spacecast-data prepare datastore.root={shlex.quote(str(root))}"
        )
    return True


def _job(root: Path, name: str, overwrite: bool, trusted: Sequence[str]) -> dict[str, Any] | None:
    """What is to be done for a run, None when its prepared store is up to date."""
    source, target = configs.config_path(root, name), configs.prepared_path(root, name)
    label = f"run {name}"
    if target.is_file():
        plain = "a file where the prepared store goes; move it away"
        raise UserError(f"{label}: {target} is {kind_of_file(target) if zipfile.is_zipfile(target) else plain}")
    if not source.exists():
        if target.exists():
            return None
        if (raw_path := root / f"run_{name}.zarr").exists() or raw_path.is_symlink():
            open_raw(raw_path, label)
        raise UserError(f"{label}: {root} holds neither raw nor prepared data of it; {nearest(name, _all_runs(root))}")
    target = source.with_suffix(".zarr")
    config = configs.read_config(source, label)
    raw = {entry: configs.find_raw(root, str(each["path"])) for entry, each in config["inputs"].items()}
    absent = [str(config["inputs"][entry]["path"]) for entry, found in raw.items() if found is None]
    sources = SourceRecord(root, config, raw)
    if target.exists() and not overwrite and sources.are_those_of(target):
        return None
    if absent and target.exists() and not overwrite:
        raise UserError(
            f"{label}: {source.name} or its raw data have changed since {target.name} was made, but {absent[0]} is not "
            f"in {root}; bring it back, undo the change, or remove {source.name} and all raw data to take "
            f"{target.name} as it is"
        )
    if absent:
        raise UserError(
            f"{label}: raw data {absent[0]} named in {source.name} do not exist in {root}; "
            "simulate or download them, or correct the path"
        )
    check_functions(config, f"{label}: {source.name}", trusted)
    for entry, found in raw.items():
        config["inputs"][entry]["path"] = str(found)
    output = config["output"]
    output["chunking"] = {"time": 1} | (output.get("chunking") or {})
    config["inputs"] = dict(sorted(config["inputs"].items(), key=lambda item: "time" not in item[1].get("dims", ())))
    return {"name": name, "config": config, "target": target, "sources": sources}


def _checked(job: dict[str, Any]) -> dict[str, Any]:
    """A job whose raw data were checked, with its frames and bytes."""
    seen: dict[str, Any] = {}
    inputs, label = job["config"]["inputs"], f"run {job['name']}"
    for entry in inputs.values():
        check_input(entry, label, seen)
    tell_left_out(inputs, label)
    size = sum(path.stat().st_size for found in set(job["sources"].raw.values()) for path in files_below(found))
    return {**job, "frames": seen["frames"], "bytes": size}


def _carry_out(work: list[dict[str, Any]], processes: int | None, progress: ProgressCallback | None) -> None:
    """Prepare the runs here, or several at a time in processes of their own."""
    if processes is None:
        small = sum(job["bytes"] for job in work) < SMALL
        processes = 1 if small else min(len(work), len(os.sched_getaffinity(0)))
    tasks = {
        f"run {name}": (job["config"], str(job["target"]), job["sources"].attributes(), name, job["frames"])
        for job in work
        if (name := job["name"])
    }
    run_tasks(prepare_run, tasks, processes, progress)


def prepare_run(
    config: dict[str, Any],
    target: str,
    attributes: dict[str, Any],
    name: str,
    frames: int,
    report: Callable[[int, int], None],
) -> None:
    """Put a prepared run in its place once it is complete.

    Args:
        config: configuration as plain values, with absolute paths.
        target: its zarr store.
        attributes: to store in it.
        name: of the run.
        frames: of the run.
        report: called with the frames written and all frames.

    """
    done = threading.Event()
    with atomic_write(Path(target)) as folder:

        def watch() -> None:
            told = 0
            while not done.wait(WATCH_SECONDS):
                written = _frames_written(folder)
                if told < written < frames:
                    report(written, frames)
                    told = written

        report(0, frames)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            run_mdp(config, folder, attributes, name)
        finally:
            done.set()
            watcher.join()
    report(frames, frames)


def run_mdp(config: dict[str, Any], folder: Path, attributes: dict[str, Any], name: str) -> None:
    """Run mllam-data-prep on a configuration with absolute paths, then check that the result can be read.

    Args:
        config: configuration as plain types.
        folder: zarr store to write, must not exist.
        attributes: to store in it.
        name: name of the run, for errors.

    """
    import zarr
    from loguru import logger as loguru_logger

    loguru_logger.disable("mllam_data_prep")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        library: Any = importlib.import_module("mllam_data_prep.create_dataset")
        axes = {axis for entry in config["inputs"].values() for axis in entry.get("dims", ())}
        stack.callback(setattr, library, "load_input_dataset", library.load_input_dataset)
        library.load_input_dataset = Loader(f"run {name}", axes)
        path = Path(scratch) / "run.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        try:
            _write(library.create_dataset(library.Config.from_yaml_file(file=path)), folder)
            zarr.open_group(folder, mode="r+").attrs.update(attributes)
        except Exception as error:  # (a foreign library may raise anything)
            cause = error.__cause__ or error
            text = " ".join(f"{error} {cause if cause is not error else ''}".split())[:300]
            raise UserError(
                f"run {name}: mllam-data-prep could not prepare it ({type(cause).__name__}: {text}); "
                f"correct vlasiator_run_{name}.yaml or the raw data"
            ) from error
    try:
        store = RunStore(folder, name)
        for frame in range(store.num_frames):
            store.read("state", frame, frame + 1)
    except UserError as error:
        missing = describe_missing(config["inputs"].values(), f"run {name}")
        raise UserError("; ".join(text for text in (str(error), missing) if text)) from error


def _write(dataset: Any, folder: Path) -> None:
    """Write a dataset of mllam-data-prep so that it is quick to read: variables of a cell side by side, as nodes are.

    lz4 is decoded in a quarter of the time of zstd, which mllam-data-prep writes, from files that are about a
    tenth larger.
    """
    from zarr.codecs import BloscCodec

    small, quick = BloscCodec(cname="zstd", clevel=3), BloscCodec(cname="lz4", clevel=9, shuffle="shuffle")
    frames = {"state", "forcing"} & set(dataset.data_vars)
    for name in frames:
        dataset[name] = dataset[name].transpose("time", ..., f"{name}_feature", missing_dims="ignore")
    encoding = {name: {"compressors": quick if name in frames else small} for name in dataset.data_vars}
    dataset.to_zarr(folder, consolidated=True, mode="w-", encoding=encoding)


def _frames_written(folder: Path) -> int:
    """Frames of the state on disk so far, one chunk each."""
    chunks = folder / "state" / "c"
    return sum(1 for _ in chunks.iterdir()) if chunks.is_dir() else 0
