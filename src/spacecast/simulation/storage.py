"""Writes simulated runs in the layout of raw runs: one zarr store per run, one for the static fields."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spacecast import __version__
from spacecast.core.errors import UserError
from spacecast.process.files import atomic_write
from spacecast.simulation.magnetosphere import VARIABLES, cell_centres, frames, space_mask
from spacecast.simulation.parameters import Parameters

BLOCK = 20
"""Frames per chunk, and frames held in memory."""

ORIGIN = "spacecast simulation"
"""Value of the attribute `source` by which a store is known to be ours and may be replaced."""

DESCRIPTION = (
    "Miniature global magnetosphere: two-dimensional ideal magnetohydrodynamics with dissipation by the grid, line "
    "dipole, insulating permeable planet, Alfven speed limited to 2000 km/s unless changed. Qualitatively right (bow "
    "shock, magnetosheath, cusps, lobes, tail reconnection), not a prediction of the real magnetosphere."
)


def write_run(path: Path, parameters: Parameters, report: Callable[[int, int], None] | None = None) -> None:
    """Simulate a run and write it, block by block.

    Args:
        path: of the store, must not exist.
        parameters: of the run.
        report: called with the work done and the total.

    Raises:
        UserError: when the store cannot be written or the simulation is unstable.

    """
    shape = (parameters.frames, parameters.nx, parameters.nz)
    try:
        group = _create(path, _run_attributes(parameters), parameters)
        milliseconds = np.arange(parameters.frames, dtype=np.int64) * round(parameters.cadence * 1000)
        calendar = {"units": "milliseconds since 2000-01-01T00:00:00", "calendar": "proleptic_gregorian"}
        _add(group, "time", ("time",), milliseconds, calendar)
        arrays = [
            _add(group, name, ("time", "x", "z"), None, {"units": units, "long_name": text}, shape)
            for name, (units, text) in VARIABLES.items()
        ]
        block = np.empty((BLOCK, len(arrays), *shape[1:]), dtype=np.float32)
        for number, values in enumerate(frames(parameters, report)):
            block[number % BLOCK] = values
            filled = number % BLOCK + 1
            if filled == BLOCK or number + 1 == parameters.frames:
                for column, array in enumerate(arrays):
                    array[number + 1 - filled : number + 1] = block[:filled, column]
        _finish(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def static_features(parameters: Parameters) -> dict[str, tuple[np.ndarray, str, str]]:
    """Values (x, z), unit and meaning of each static feature by name."""
    along_x, along_z = np.meshgrid(*cell_centres(parameters), indexing="ij")
    return {
        "x_coord": (along_x, "R_E", "distance from Earth along the Sun-Earth line, sunward"),
        "z_coord": (along_z, "R_E", "distance from the equator, northward"),
        "r": (np.hypot(along_x, along_z), "R_E", "distance from Earth's centre"),
    }


def write_static(path: Path, parameters: Parameters) -> None:
    """Write coordinates, distance from Earth's centre and the mask (1 = space), dims (x, z).

    Raises:
        UserError: when the store cannot be written.

    """
    mask = (space_mask(parameters), "1", "1 in space, 0 inside the inner boundary")
    features = {**static_features(parameters), "mask": mask}
    attributes = {"title": "Static fields of the simulated magnetosphere", "source": ORIGIN}
    attributes["parameters_hash"] = parameters.grid_hash
    try:
        with atomic_write(path) as partial:
            group = _create(partial, attributes, parameters)
            for name, (values, units, text) in features.items():
                _add(group, name, ("x", "z"), values.astype(np.float32), {"units": units, "long_name": text})
            _finish(partial)
    except OSError as error:
        raise _unwritable(path, error) from None


def simulate_run(path: str, parameters: dict[str, Any], report: Callable[[int, int], None]) -> None:
    """Put the store of a run in its place once it is complete; for `process.workers`, hence plain values."""
    place = Path(path)
    try:
        with atomic_write(place) as partial:
            write_run(partial, Parameters(**parameters), report)
    except OSError as error:
        raise _unwritable(place, error) from None


def stored_hash(path: Path) -> str | None:
    """Hash of the parameters of a store that this package wrote, '' for any other content, None for nothing."""
    if not path.exists():
        return None
    try:
        attributes = json.loads((path / ".zattrs").read_text())
        return str(attributes["parameters_hash"]) if attributes["source"] == ORIGIN else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _run_attributes(parameters: Parameters) -> dict[str, Any]:
    """Provenance of a run."""
    return {
        "title": f"Simulated magnetosphere, solar wind density {parameters.density:g} per cm3",
        "source": ORIGIN,
        "description": DESCRIPTION,
        "spacecast_version": __version__,
        "numpy_version": np.__version__,
        "solar_wind_density": parameters.density,
        "solar_wind_velocity": [-parameters.speed, 0.0, 0.0],
        "solar_wind_temperature": parameters.temperature,
        "solar_wind_magnetic_field": list(parameters.imf),
        "solar_wind_units": "density 1/cm3, velocity km/s, temperature MK, magnetic field nT",
        "seed": parameters.seed,
        "parameters": json.dumps(parameters.to_dict()),
        "parameters_hash": parameters.hash,
    }


def _create(path: Path, attributes: dict[str, Any], parameters: Parameters) -> Any:
    """A new zarr group with the coordinates x and z. Format 2: readable by every zarr and free of warnings."""
    import zarr

    group = zarr.create_group(str(path), zarr_format=2, attributes=attributes)
    for name, values in zip(("x", "z"), cell_centres(parameters), strict=True):
        _add(group, name, (name,), values, {"units": "R_E", "long_name": f"{name} coordinate of the cell centre"})
    return group


def _add(
    group: Any,
    name: str,
    dims: tuple[str, ...],
    values: np.ndarray | None,
    attributes: dict[str, str],
    shape: tuple[int, ...] = (),
) -> Any:
    """A new array in a group: filled, or float32 of a shape with chunks of some frames and NaN until written."""
    array = group.create_array(
        name,
        shape=shape if values is None else values.shape,
        chunks=(min(BLOCK, shape[0]), *shape[1:]) if values is None else values.shape,
        dtype=np.float32 if values is None else values.dtype,
        compressors={"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 1},
        fill_value=float("nan") if values is None else None,
        attributes={**attributes, "_ARRAY_DIMENSIONS": list(dims)},
    )
    if values is not None:
        array[...] = values
    return array


def _finish(path: Path) -> None:
    """Collect the metadata of a store in one file."""
    import zarr

    zarr.consolidate_metadata(str(path))


def _unwritable(path: Path, error: OSError) -> UserError:
    """One line for a full disk, a folder without permission and the like."""
    reason = error.strerror or str(error)
    return UserError(
        f"cannot write simulated data to {path.parent}: {reason}; free some space there or choose another data folder"
    )
