"""Checks of raw data before they are prepared, so that a fault is named where it lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from spacecast.core.errors import UserError, nearest
from spacecast.core.names import within
from spacecast.data.chunks import axis_names, missing_chunks
from spacecast.data.configs import open_raw
from spacecast.data.splits import check_times

DERIVE = tuple(
    f"mllam_data_prep.ops.derive_variable.{name}"
    for name in (
        "physical_field.calculate_toa_radiation",
        "time_components.calculate_day_of_year",
        "time_components.calculate_hour_of_day",
    )
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
    data = open_raw(path, label)
    group = zarr.open_group(path, mode="r")
    for name in entry.get("variables") or ():
        if name not in data:
            raise UserError(f"{label}: {path.name} has no variable {name!r}; {nearest(name, map(str, data.data_vars))}")
        array = group[name]
        if name in data.data_vars and set(data[name].dims) != set(dims):
            raise UserError(
                f"{label}: {name} in {path.name} has dimensions {', '.join(map(str, data[name].dims))}, "
                f"the configuration says {', '.join(dims)}"
            )
        lost = missing_chunks(array, path / name)
        if lost:
            axes = axis_names(array)
            where = f", first in frame {lost[0][axes.index('time')].start}" if "time" in axes else ""
            raise UserError(
                f"{label}: {len(lost)} chunk(s) of {name} in {path.name} are missing{where}; "
                "simulate or download the raw data again"
            )
    if "time" in dims:
        check_times(data["time"].values, f"{label}: {path.name}")
        seen["frames"] = int(data.sizes["time"])
    for axis in ("x", "z"):
        if axis not in data.coords:
            raise UserError(f"{label}: {path.name} has no coordinate {axis}; add cell centres in R_E")
        values = data[axis].values
        previous, where = seen.setdefault(axis, (values, path.name))
        if values.shape != previous.shape or not np.array_equal(values, previous):
            raise UserError(
                f"{label}: {axis} in {path.name} ({values.size} cells from {values.min():g} to {values.max():g}) "
                f"differs from {where} "
                f"({previous.size} cells from {previous.min():g} to {previous.max():g}); both must lie on one grid"
            )
