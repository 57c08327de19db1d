"""Raw data as they are prepared: checked so that a fault is named where it lies, and in the form that every run has."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import DIRECTIONS
from spacecast.core.names import within
from spacecast.core.units import check_length
from spacecast.storage.absences import check_absent, fill_of, missing_chunks, per_frame
from spacecast.storage.arrays import axis_names, open_dataset, open_group
from spacecast.storage.encoding import encoding_of
from spacecast.storage.times import check_times, warn_deviation

logger = logging.getLogger(__name__)
ADVICE = "simulate or download it again"
AXES = ("time", "x", "z")
ROUNDING = 1e-5
"""Difference of coordinates, in cells, that is taken as rounding (float32 beside float64)."""


def open_raw(path: Path, label: str, axes: Iterable[str] = AXES) -> xr.Dataset:
    """Open a raw store lazily, decoded, cells in ascending order, without axes of length 1.

    Args:
        path: folder of the store.
        label: what it is, for the error.
        axes: those to keep even if they have length 1.

    Raises:
        UserError: when it cannot be opened, naming it.

    """
    data = open_dataset(path, label, ADVICE)
    spare = [axis for axis, size in data.sizes.items() if size == 1 and axis not in {*AXES, *axes}]
    data = data.squeeze(spare, drop=True)
    for axis in DIRECTIONS:
        if axis in data.coords and data[axis].size > 1 and data[axis].values[0] > data[axis].values[-1]:
            data = data.isel({axis: slice(None, None, -1)})
    return data


def space_axes(axes: Iterable[str]) -> tuple[str, ...]:
    """Those of some axes that are of space: x and z in any case, and y where it is one of them."""
    return tuple(axis for axis in DIRECTIONS if axis != "y" or axis in axes)


def left_out(data: xr.Dataset, axes: set[str]) -> dict[str, str]:
    """Variables that cannot be prepared, and why.

    Args:
        data: an open raw store.
        axes: what a variable needs.

    """
    reasons = {}
    for name, values in data.data_vars.items():
        if set(values.dims) != axes:
            found = ", ".join(f"{axis} ({size})" for axis, size in values.sizes.items()) or "none"
            reasons[str(name)] = f"axes {found}"
        elif values.dtype.kind not in "biuf":
            reasons[str(name)] = f"type {values.dtype}"
    return reasons


def tell_left_out(entries: Mapping[str, Mapping[str, Any]], label: str) -> None:
    """Say in a warning which variables of the raw stores of a configuration are not prepared, and why."""
    for path in dict.fromkeys(str(entry["path"]) for entry in entries.values()):
        uses = [entry for entry in entries.values() if str(entry["path"]) == path]
        taken = {str(name) for entry in uses for name in entry.get("variables") or ()}
        data = open_raw(Path(path), label, uses[0].get("dims", ()))
        why = left_out(data, set(uses[0].get("dims", ())))
        rest = [f"{n} ({why.get(str(n), 'not in the YAML')})" for n in map(str, data.data_vars) if n not in taken]
        if rest:
            logger.warning("%s: left out of %s: %s", label, Path(path).name, "; ".join(sorted(rest)))


DERIVE = (
    "mllam_data_prep.ops.derive_variable.physical_field.calculate_toa_radiation",
    "mllam_data_prep.ops.derive_variable.time_components.calculate_day_of_year",
    "mllam_data_prep.ops.derive_variable.time_components.calculate_hour_of_day",
)


def check_functions(config: dict[str, Any], label: str, trusted: Sequence[str]) -> None:
    """Refuse functions that a configuration of mllam-data-prep names and that it would import and call.

    Args:
        config: the configuration; it lies in the folder of the data, and may have been written by anybody.
        label: the file, for errors.
        trusted: modules and functions that the user trusts by name.

    Raises:
        UserError: a function is neither one of mllam-data-prep nor trusted, or another configuration is named, which
            nobody has looked at.

    """
    for name, entry in config["inputs"].items():
        for variable, recipe in (entry.get("derived_variables") or {}).items():
            function = recipe.get("function") if isinstance(recipe, dict) else None
            if function in DERIVE or (isinstance(function, str) and within(function, trusted)):
                continue
            hint = f"add trust={function.rpartition('.')[0]}" if isinstance(function, str) and "." in function else ""
            raise UserError(
                f"{label}: inputs.{name}.derived_variables.{variable}.function={str(function)[:100]!r} is none of "
                f"mllam-data-prep's and is not called; {hint or 'name a function'} if you know and trust that code"
            )
    if config["output"].get("domain_cropping"):
        raise UserError(f"{label}: output.domain_cropping names another configuration, which is not read; take it out")


def check_input(entry: dict[str, Any], label: str, seen: dict[str, Any]) -> None:
    """Check one input of a configuration: variables, dimensions, chunks on disk, time axis, coordinates.

    Args:
        entry: an input of a mllam-data-prep configuration with an absolute path.
        label: name of the run, for errors.
        seen: gathers `frames` and the coordinates of the inputs, which must agree.

    """
    path, dims = Path(entry["path"]), list(entry.get("dims", ()))
    data = open_raw(path, label, dims)
    names = [str(name) for name in entry.get("variables") or ()]
    for name in names:
        if name not in data:
            raise UserError(f"{label}: {path.name} has no variable {name!r}; {nearest(name, map(str, data.data_vars))}")
        if name in data.data_vars and set(data[name].dims) != set(dims):
            raise UserError(
                f"{label}: {name} in {path.name} has dimensions {', '.join(map(str, data[name].dims))}, "
                f"the configuration says {', '.join(dims)}"
            )
        if data[name].dtype.kind not in "biuf":
            found = f"{name} in {path.name} holds {data[name].dtype}"
            raise UserError(f"{label}: {found}, expected real numbers; convert it or take it out of the YAML")
    check_chunks(path, names, label)
    if "time" in dims:
        check_times(data["time"].values, f"{label}: {path.name}")
        warn_deviation(data["time"], f"{label}: {path.name}")
        seen["frames"] = int(data.sizes["time"])
    for axis in space_axes(dims):
        check_coordinate(data, axis, path.name, label, seen)


def check_chunks(path: Path, names: list[str], label: str) -> None:
    """Refuse a raw store of which chunks are missing; see `check_absent`.

    Args:
        path: folder of the store.
        names: variables that will be read.
        label: name of the run, for errors.

    """
    group = open_group(path, label, ADVICE)
    absent: dict[str, np.ndarray] = {}
    fills: dict[str, float] = {}
    for name in names:
        array = group[name]
        axes, missing = axis_names(array), missing_chunks(array, path / name, label)
        places = per_frame(missing, array, axes)
        fill = fill_of(array, encoding_of(array, f"{label}: {name}"))
        if fill is None and missing.any():
            gone = check_absent({name: places}, None, label)
            where = f", first in frame {np.argmax(gone)}" if "time" in axes else ""
            raise UserError(
                f"{label}: {missing.sum()} chunk(s) of {name} in {path.name} are missing{where}; "
                "simulate or download the raw data again"
            )
        absent[name], fills[name] = places, 0.0 if fill is None else fill
    if not any(places.any() for places in absent.values()):
        return
    gone = check_absent(absent, fills, f"{label}: {path.name}", earth=True)
    if gone.any():
        raise UserError(
            f"{label}: chunks of all variables in {path.name} are missing in {gone.sum()} of {gone.size} frames, "
            f"first in frame {np.argmax(gone)}; simulate or download the raw data again"
        )


def check_coordinate(data: xr.Dataset, axis: str, name: str, label: str, seen: dict[str, Any]) -> None:
    """A coordinate must be there, in R_E, and the same in all inputs up to rounding.

    Args:
        data: an open store.
        axis: name of the coordinate.
        name: of the store, for errors.
        label: name of the run, for errors.
        seen: coordinates of the inputs before and their names, by axis; gathers this one.

    """
    if axis not in data.coords:
        raise UserError(f"{label}: {name} has no coordinate {axis}; add cell centres in R_E")
    values = data[axis].values
    check_length(str(data[axis].attrs.get("units", "")), f"{label}: {axis} in {name}")
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise UserError(f"{label}: {axis} in {name} is not finite everywhere; add cell centres in R_E")
    if np.unique(values).size < values.size:
        raise UserError(f"{label}: {axis} in {name} holds one value twice; give each cell a place of its own")
    previous, where = seen.setdefault(axis, (values, name))
    if values.shape != previous.shape:
        raise UserError(
            f"{label}: {axis} in {name} ({values.size} cells from {values.min():g} to {values.max():g}) differs from "
            f"{where} ({previous.size} cells from {previous.min():g} to {previous.max():g}); both must lie on one grid"
        )
    apart = np.abs(values.astype(np.float64) - previous)
    if apart.max() > ROUNDING * np.abs(np.diff(previous)).min():
        cell = int(np.argmax(apart))
        raise UserError(
            f"{label}: {axis} in {name} differs from that in {where} by up to {apart.max():.3g} R_E "
            f"({values[cell]:.9g} and {previous[cell]:.9g} in cell {cell} of {values.size}); both must lie on one grid"
        )


def describe_missing(entries: Iterable[Mapping[str, Any]], label: str) -> str:
    """Which stored numbers of the raw variables of a configuration count as missing, in words, "" for none but NaN."""
    told: dict[str, list[str]] = {}
    for entry in entries:
        group = open_group(Path(entry["path"]), label, ADVICE)
        for name in map(str, entry.get("variables") or ()):
            told.setdefault(encoding_of(group[name], f"{label}: {name}").describe(), []).append(name)
    return "; ".join(f"in raw {', '.join(names)} {text}" for text, names in told.items() if text)


class Loader:
    """Gives mllam-data-prep each raw store as it was checked, in place of what xarray makes of it.

    xarray takes a fill value of 0 in format 2 for missing, and leaves rounded times and coordinates as they are, on
    which mllam-data-prep fails.

    Args:
        label: name of the run, for errors.
        axes: axes that the configuration names.

    """

    def __init__(self, label: str, axes: Iterable[str]) -> None:
        self.label, self.axes = label, set(axes)
        self.coordinates: dict[str, np.ndarray] = {}

    def __call__(self, fp: str | Path) -> xr.Dataset:
        """The store at a path, in dask arrays of its own chunks; coordinates of all stores are those of the first."""
        data = open_raw(Path(fp), self.label, self.axes)
        for axis in space_axes(self.axes):
            values = self.coordinates.setdefault(axis, data[axis].values.astype(np.float64))
            data = data.assign_coords({axis: (axis, values, data[axis].attrs)})
        for name, array in data.data_vars.items():
            chunks = array.encoding.get("preferred_chunks", {})
            data[name] = array.chunk({axis: chunks[axis] for axis in array.dims if axis in chunks})
        return data
