"""Generates the data set of the simulated magnetosphere: several runs that differ in the density of the solar wind."""

import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from spacecast.core.errors import UserError
from spacecast.simulation.magnetosphere import VARIABLES
from spacecast.simulation.parameters import Parameters, get_parameters
from spacecast.simulation.storage import install, stored_hash, write_run, write_static

logger = logging.getLogger(__name__)

DENSITIES = (0.5, 1.0, 1.5, 2.0)
"""Solar wind densities of the four runs [1/cm3]."""

Progress = Callable[[str, int, int], None]


def generate(
    root: str | Path,
    preset: str | Parameters = "small",
    densities: Sequence[float] = DENSITIES,
    seed: int = 10,
    processes: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    **overrides: Any,
) -> list[Path]:
    """Simulate runs and write `run_1.zarr` ... `run_N.zarr` and `static.zarr` into a folder.

    Stores that are there with the same parameters are kept. Each store appears complete or not at all, whatever
    happens to the process; a second process that generates into the same folder waits for the first.

    Args:
        root: folder, made if absent.
        preset: name of a preset or all parameters of a run.
        densities: solar wind density of each run [1/cm3].
        seed: run N has the fluctuations of seed + N - 1.
        processes: runs at a time; default: as many as cores.
        progress: called in this thread as progress(run name, work done, total work).
        overwrite: replace simulated runs of other parameters; foreign data are never touched.
        overrides: any of `Parameters`.

    Returns:
        Paths of the runs.

    Raises:
        UserError: for bad parameters, an unwritable folder, a full disk, or other data in the way.

    """
    root = Path(root)
    if processes is not None and processes < 1:
        raise UserError(f"simulation processes = {processes}: give at least 1")
    base, runs = plan_runs(preset, densities, seed, **overrides)
    paths = [root / f"{name}.zarr" for name in runs]
    if _missing(root, base, runs, overwrite):
        with _locked(root) as lock:
            _write(root, base, _missing(root, base, runs, overwrite), processes or _cores(), progress, lock)
    return paths


def plan_runs(
    preset: str | Parameters = "small", densities: Sequence[float] = DENSITIES, seed: int = 10, **overrides: Any
) -> tuple[Parameters, dict[str, Parameters]]:
    """What all runs share, and the parameters of each by name; arguments and errors as in `generate`."""
    if "density" in overrides:
        raise UserError("simulation parameter 'density' differs from run to run: give `densities`")
    if not densities:
        raise UserError("no run to simulate: give at least one solar wind density")
    base = get_parameters(preset, **overrides)
    runs = {
        f"run_{number}": base.override(density=density, seed=seed + number - 1)
        for number, density in enumerate(densities, start=1)
    }
    return base, runs


def _missing(
    root: Path, base: Parameters, runs: dict[str, Parameters], overwrite: bool
) -> dict[str, Parameters | None]:
    """Stores to write: runs with their parameters, `static` with None."""
    hashes = {name: parameters.hash for name, parameters in runs.items()} | {"static": base.grid_hash}
    missing: dict[str, Parameters | None] = {}
    for name, wanted in hashes.items():
        store = root / f"{name}.zarr"
        found = stored_hash(store)
        if found == wanted:
            continue
        if found == "":
            raise UserError(f"{store} was not made by the simulation: move it away or choose another data folder")
        if found is not None and not overwrite:
            raise UserError(
                f"{store} was simulated with other parameters: give those, another datastore.root or another "
                "paths.data_dir; spacecast-data simulate with overwrite=true makes the data anew"
            )
        missing[name] = runs.get(name)
    return missing


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _locked(root: Path) -> Iterator[int | None]:
    """Make the folder and hold a lock on it, that workers inherit and that ends with the last process that holds it."""
    created = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write simulated data to {root}: {reason}; choose another data folder") from None
    descriptor = _lock(root)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
        if created:
            with suppress(OSError):
                root.rmdir()


def _lock(root: Path) -> int | None:
    """Lock a folder; None on systems and file systems without such locks."""
    try:
        import fcntl

        descriptor = os.open(root, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that simulates into %s", root)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _write(
    root: Path,
    base: Parameters,
    missing: dict[str, Parameters | None],
    processes: int,
    progress: Progress | None,
    lock: int | None,
) -> None:
    """Write the missing stores to temporary ones and move each to its place."""
    if lock is not None:
        for stale in root.glob(".*.zarr.partial-*"):
            shutil.rmtree(stale, ignore_errors=True)
    partial = {name: root / f".{name}.zarr.partial-{os.getpid()}" for name in missing}
    runs = {name: parameters for name, parameters in missing.items() if parameters is not None}
    _check_space(root, list(runs.values()))
    try:
        if "static" in missing:
            write_static(partial["static"], base)
            install(partial["static"], root / "static.zarr")
        processes = min(processes, len(runs))
        if processes > 1:
            finished = _in_processes(runs, partial, processes, progress, lock)
        else:
            finished = _in_turn(runs, partial, progress)
        with closing(finished):
            for name in finished:
                install(partial[name], root / f"{name}.zarr")
    finally:
        for path in partial.values():
            shutil.rmtree(path, ignore_errors=True)


def _check_space(root: Path, runs: list[Parameters]) -> None:
    """Refuse early what the disk cannot hold (runs compress to about two thirds)."""
    needed = sum(0.7 * 4 * len(VARIABLES) * run.frames * run.nx * run.nz for run in runs)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"simulated data need about {needed / 1e9:.2g} GB, {root} has {free / 1e9:.2g} GB free: "
            "free some space or choose another data folder"
        )


def _in_turn(runs: dict[str, Parameters], partial: dict[str, Path], progress: Progress | None) -> Generator[str]:
    """Simulate in this process; yields the names of finished runs."""
    for name, parameters in runs.items():

        def report(done: int, total: int, name: str = name) -> None:
            if progress:
                progress(name, done, total)

        write_run(partial[name], parameters, report)
        yield name


def _in_processes(
    runs: dict[str, Parameters], partial: dict[str, Path], processes: int, progress: Progress | None, lock: int | None
) -> Generator[str]:
    """Simulate in several processes; yields the names of finished runs."""
    waiting, messages = list(runs), queue.SimpleQueue[tuple[str, Any]]()
    working: dict[str, subprocess.Popen[str]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < processes:
                name = waiting.pop(0)
                working[name] = _start_worker(name, partial[name], runs[name], messages, lock)
            name, message = messages.get()
            if isinstance(message, tuple):
                if progress:
                    progress(name, *message)
                continue
            working.pop(name)
            if message:
                raise message
            yield name
    finally:
        for process in working.values():
            process.kill()
        for process in working.values():
            process.wait()


def _start_worker(
    name: str, path: Path, parameters: Parameters, messages: "queue.SimpleQueue[tuple[str, Any]]", lock: int | None
) -> "subprocess.Popen[str]":
    """Start the process of a run; a thread forwards (name, (done, total)) and finally (name, error or None)."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  closed by the thread
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "spacecast.simulation.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=environment,
        pass_fds=() if lock is None else (lock,),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines = process.stdout
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"path": str(path), "parameters": parameters.to_dict()}) + "\n")
        process.stdin.close()

    def forward() -> None:
        with lines:
            for line in lines:
                done, total = line.split()
                messages.put((name, (int(done), int(total))))
        code = process.wait()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1]
        errors.close()
        failure: Exception | None = None
        if code == 2:
            failure = UserError(last)
        elif code:
            failure = RuntimeError(f"the simulation of {name} ended with code {code}: {last}")
        messages.put((name, failure))

    threading.Thread(target=forward, daemon=True).start()
    return process
