"""What a file of forecasts is made of, by the CF conventions: dimensions, coordinates, variables, their chunks."""

import base64
import math
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import zarr

from spacecast.core.grid import DIRECTIONS, Grid
from spacecast.core.spec import DataSpec
from spacecast.core.units import quantity

Boundary = Literal["data", "persist"]
Statistics = Literal["none", "beside", "only"]

CONVENTIONS = "CF-1.11"
IDENTITY = "request_hash"
"""Global attribute that tells the file of one request from that of another."""
CLOCK = {"units": "milliseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
UNBROKEN = {"units_metadata": "leap_seconds: none"}  # times of a simulation
CHUNK_BYTES = 2**22  # of a chunk of the members: several leads where cells are few, and yet one read for a map
FILL = {"_FillValue": base64.standard_b64encode(struct.pack("<d", math.nan)).decode()}  # as xarray writes it to zarr 3


def statistics_of(given: bool | str) -> Statistics:
    """What is written of mean and spread: False `none`, True `beside` the members; other words stand for themselves."""
    word = ("none", "beside")[given] if isinstance(given, bool) else given
    return cast(Statistics, word)


class Variable(NamedTuple):
    """One array of the file; `values` of a coordinate, None for a field, which is filled later."""

    name: str
    dims: tuple[str, ...]
    attributes: dict[str, Any]
    values: np.ndarray | None = None


def lead_seconds(steps: int, step_seconds: float) -> np.ndarray:
    """Lead times [s], shape (lead,)."""
    return np.arange(1, steps + 1) * step_seconds


def valid_times(starts: np.ndarray, leads_s: np.ndarray) -> np.ndarray:
    """Times of the states in milliseconds since 1970, int64, shape (start, lead), of initial times in milliseconds."""
    return starts[:, None] + np.round(1000 * leads_s).astype(np.int64)


def axes_of(grid: Grid) -> list[Variable]:
    """Coordinates of the cells."""
    return [
        Variable(axis, (axis,), {"units": "R_E", "long_name": f"{axis}, {DIRECTIONS[axis]}"}, values)
        for axis, values in grid.coordinates.items()
    ]


@dataclass(frozen=True)
class Layout:
    """The file of a forecast.

    Args:
        spec: names, units, grid and step of what is forecast.
        starts: initial times, milliseconds since 1970, ascending, shape (start,).
        steps: number of leads.
        members: ensemble members; of a single one there is no axis.
        member_chunk: members that are computed together: no chunk of the file holds members of two of these.

    """

    spec: DataSpec
    starts: np.ndarray
    steps: int
    members: int
    member_chunk: int

    @property
    def ensemble(self) -> tuple[str, ...]:
        """The axis of the members, where there are several."""
        return ("member",) if self.members > 1 else ()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension."""
        axes = dict(zip(self.spec.grid.axes, self.spec.grid.shape, strict=True))
        return {"init_time": len(self.starts), "member": self.members, "lead_time": self.steps, **axes}

    @cached_property
    def chunks(self) -> dict[str, int]:
        """Length of a chunk along each dimension."""
        fitting = max(1, CHUNK_BYTES // (4 * math.prod(self.spec.grid.shape)))  # fields
        divisors = [n for n in range(1, self.member_chunk + 1) if self.member_chunk % n == 0 and n <= fitting]
        members = divisors[-1] if self.members > 1 else 1
        leads = math.ceil(self.steps / math.ceil(self.steps * members / fitting))
        return {**self.sizes, "init_time": 1, "member": min(members, self.members), "lead_time": leads}

    @property
    def coordinates(self) -> list[Variable]:
        """Coordinates but that of the members, with their values."""
        leads_s = lead_seconds(self.steps, self.spec.step_seconds)
        clocks = {
            "init_time": {"standard_name": "forecast_reference_time", "long_name": "initial time", **UNBROKEN},
            "valid_time": {"standard_name": "time", "long_name": "time of the state", **UNBROKEN},
        }
        lead = {"units": "s", "standard_name": "forecast_period", "long_name": "lead time"}
        valid = valid_times(self.starts, leads_s)
        return [
            Variable("init_time", ("init_time",), {**CLOCK, **clocks["init_time"]}, self.starts),
            Variable("lead_time", ("lead_time",), lead, leads_s),
            Variable("valid_time", ("init_time", "lead_time"), {**CLOCK, **clocks["valid_time"]}, valid),
            *axes_of(self.spec.grid),
        ]

    @property
    def fields(self) -> list[Variable]:
        """The forecasts themselves, with the coordinate of their members."""
        dims = ("init_time", *self.ensemble, "lead_time", *self.spec.grid.axes)
        member = {"units": "1", "standard_name": "realization", "long_name": "ensemble member"}
        numbers = np.arange(self.members, dtype=np.int32)
        return [
            *(Variable(name, (name,), member, numbers) for name in self.ensemble),
            *(self._field(name, dims, units, quantity(name)) for name, units in self._state),
        ]

    @property
    def statistics(self) -> list[Variable]:
        """Mean and spread of each variable over the members."""
        dims = ("init_time", "lead_time", *self.spec.grid.axes)
        kinds = {
            "mean": ("mean", f"over {self.members} members", "mean of the members"),
            "spread": ("standard_deviation", f"unbiased, over {self.members} members", "spread of the members"),
        }
        found = []
        for name, units in self._state:
            for kind, (method, detail, text) in kinds.items():
                variable = self._field(f"{name}_{kind}", dims, units, f"{quantity(name)}, {text}")
                variable.attributes["cell_methods"] = f"realization: {method} ({detail})"
                found.append(variable)
        return found

    @property
    def _state(self) -> list[tuple[str, str]]:
        """Names and units of what is forecast."""
        return list(zip(self.spec.state.names, self.spec.state.units, strict=True))

    def _field(self, name: str, dims: tuple[str, ...], units: str, text: str) -> Variable:
        """An array of fields; a variable without a unit has none in the file either."""
        described = {"long_name": text, **({"units": units} if units else {})}
        return Variable(name, dims, {**described, "coordinates": "valid_time", **FILL})

    def create(self, path: Path, fields: Sequence[Variable]) -> None:
        """Make a zarr store with the coordinates and empty fields."""
        group = zarr.create_group(store=path, zarr_format=3)
        for variable in [*self.coordinates, *fields]:
            names, attributes = variable.dims, variable.attributes
            if variable.values is not None:
                group.create_array(variable.name, data=variable.values, dimension_names=names, attributes=attributes)
                continue
            group.create_array(
                variable.name,
                shape=tuple(self.sizes[name] for name in names),
                chunks=tuple(self.chunks[name] for name in names),
                dtype="float32",
                fill_value=math.nan,
                dimension_names=names,
                attributes=attributes,
            )


def complete(store: Path, attributes: Mapping[str, Any]) -> None:
    """Give a store its global attributes and the list of its arrays, by which xarray opens it at once."""
    zarr.open_group(store, mode="r+").update_attributes(attributes)
    consolidate(store)


def consolidate(store: Path) -> None:
    """List the arrays of a store in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is an extension of zarr 3 that xarray reads
        zarr.consolidate_metadata(store)
