"""Generates the data set of the simulated magnetosphere: several runs that differ in the density of the solar wind."""

import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spacecast.core.errors import UserError
from spacecast.core.names import UNSEEN
from spacecast.core.ranges import NonNegativeInt
from spacecast.process.progress import ProgressCallback
from spacecast.process.workers import run_tasks
from spacecast.simulation.magnetosphere import VARIABLES
from spacecast.simulation.parameters import Parameters, get_parameters
from spacecast.simulation.storage import simulate_run, stored_hash, write_static
from spacecast.storage.folder import only_writer, writable

logger = logging.getLogger(__name__)

UNSEEN_RUN = f"run_{UNSEEN}"
DENSITIES = (0.5, 1.0, 1.5, 2.0)
"""Solar wind densities of the four runs [1/cm3]."""
TEST_SHARE = 0.75
"""Frames of the test run over those of the others: enough to forecast 100 steps, a fifth of the work of the four."""


def generate(
    root: str | Path,
    preset: str | Parameters = "small",
    densities: Sequence[float] = DENSITIES,
    seed: NonNegativeInt = 10,
    test_seed: NonNegativeInt | None = None,
    processes: int | None = None,
    progress: ProgressCallback | None = None,
    overwrite: bool = False,
    **overrides: Any,
) -> list[Path]:
    """Simulate runs and write `run_1.zarr` ... `run_N.zarr` and `static.zarr` into a folder, and a run to test on.

    Stores that are there with the same parameters are kept. Each store appears complete or not at all, whatever
    happens to the process; a second process that generates into the same folder waits for the first.

    Args:
        root: folder, made if absent.
        preset: name of a preset or all parameters of a run.
        densities: solar wind density of each run [1/cm3].
        seed: run N has the fluctuations of seed + N - 1.
        test_seed: of the fluctuations of a further run, `run_unseen.zarr`, of the middle one of the densities and
            `TEST_SHARE` times as many frames, which no training takes (`core.names.UNSEEN`); None: no such run.
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
    base, runs = plan_runs(preset, densities, seed, test_seed, **overrides)
    missing = _missing(root, base, runs, overwrite)
    if list(missing) == [UNSEEN_RUN] and not writable(root):
        logger.warning("%s cannot be written to, so there is no run of another wind to score", root)
        return [root / f"{name}.zarr" for name in runs if name != UNSEEN_RUN]
    if missing:
        with _made(root), only_writer(root):
            _write(root, base, _missing(root, base, runs, overwrite), processes or _cores(), progress)
    return [root / f"{name}.zarr" for name in runs]


def plan_runs(
    preset: str | Parameters = "small",
    densities: Sequence[float] = DENSITIES,
    seed: int = 10,
    test_seed: int | None = None,
    **overrides: Any,
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
    if test_seed is not None:
        if taken := [name for name, run in runs.items() if run.seed == test_seed]:
            raise UserError(f"simulation.test_seed={test_seed} is the wind of {taken[0]}: give another one, or null")
        middle = sorted(densities)[(len(densities) - 1) // 2]
        frames = math.ceil(TEST_SHARE * base.frames)
        runs[UNSEEN_RUN] = base.override(density=middle, seed=test_seed, frames=frames)
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
def _made(root: Path) -> Iterator[None]:
    """Make the folder, and remove it again if nothing came into it."""
    created = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write simulated data to {root}: {reason}; choose another data folder") from None
    try:
        yield
    finally:
        if created:
            with suppress(OSError):
                root.rmdir()


def _write(
    root: Path,
    base: Parameters,
    missing: dict[str, Parameters | None],
    processes: int,
    progress: ProgressCallback | None,
) -> None:
    """Write the missing stores, each as a whole."""
    runs = {name: parameters for name, parameters in missing.items() if parameters is not None}
    _check_space(root, list(runs.values()))
    if "static" in missing:
        write_static(root / "static.zarr", base)
    tasks = {name: (str(root / f"{name}.zarr"), parameters.to_dict()) for name, parameters in runs.items()}
    run_tasks(simulate_run, tasks, min(processes, len(runs)), progress)


def _check_space(root: Path, runs: list[Parameters]) -> None:
    """Refuse early what the disk cannot hold (runs compress to about two thirds)."""
    needed = sum(0.7 * 4 * len(VARIABLES) * run.frames * run.nx * run.nz for run in runs)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"simulated data need about {needed / 1e9:.2g} GB, {root} has {free / 1e9:.2g} GB free: "
            "free some space or choose another data folder"
        )
