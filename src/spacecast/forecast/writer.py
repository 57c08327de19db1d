"""Forecasts, with or without the truth beside them, as a zarr store that xarray reads by itself."""

import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr

from spacecast.core.grid import DIRECTIONS
from spacecast.core.spec import DataSpec
from spacecast.process.files import atomic_write


class ForecastWriter:
    """Writes fields one lead at a time; the store appears under its name once it is complete.

    Variables `NAME` (forecast) and, where it is known, `NAME_truth` in physical units, float32, NaN inside Earth;
    dimensions example, member (ensembles only), lead_time, x, z; coordinates in R_E, lead_time in s, init_time and
    valid_time.

    Args:
        path: of the store; an older one is replaced.
        spec: names, units, grid and step.
        init_times: time of the state that each forecast starts from, datetime64, shape (example,).
        leads: number of leads.
        members: ensemble members.
        attributes: provenance, plain types.
        windows: number of the window in the data that each example is; `windows` of the writer finds the example.
        truth: whether the truth is known.

    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spec: DataSpec,
        init_times: np.ndarray,
        leads: int,
        members: int = 1,
        attributes: dict[str, Any] | None = None,
        windows: Sequence[int] = (),
        *,
        truth: bool = True,
    ) -> None:
        self.path = Path(path)
        self.spec, self.members = spec, members
        self.windows = {window: example for example, window in enumerate(windows)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._place = ExitStack()
        self.partial = self._place.enter_context(atomic_write(self.path))
        facts = {
            "Conventions": "CF-1.11",
            "title": "forecasts beside the truth" if truth else "forecasts",
            "coordinates": "init_time valid_time",  # tells xarray which arrays are no data
            **(attributes or {}),
        }
        self.group = zarr.create_group(store=self.partial, zarr_format=3, attributes=facts)
        self._coordinates(np.asarray(init_times), leads)
        ensemble: tuple[str, ...] = ("member",) if members > 1 else ()
        for name, units in zip(spec.state.names, spec.state.units, strict=True):
            kinds = [("", ("example", *ensemble)), *([("_truth", ("example",))] if truth else [])]
            for suffix, dims in kinds:
                sizes = [len(init_times), members][: len(dims)]
                self.group.create_array(
                    f"{name}{suffix}",
                    shape=(*sizes, leads, *spec.grid.shape),
                    chunks=(*(1 for _ in sizes), 1, *spec.grid.shape),
                    dtype="float32",
                    fill_value=np.nan,
                    dimension_names=(*dims, "lead_time", *spec.grid.axes),
                    attributes={"units": units, "long_name": f"{name}, {'truth' if suffix else 'forecast'}"},
                )

    def write(self, example: int, lead: int, members: np.ndarray, truth: np.ndarray | None = None) -> None:
        """Write one lead of one example: forecasts (member, node, state), truth (node, state), physical units."""
        for number, name in enumerate(self.spec.state.names):
            planes = self.spec.grid.to_field(members[..., number].astype(np.float32))
            where = (example, slice(None), lead) if self.members > 1 else (example, lead)
            self.group[name][where] = planes if self.members > 1 else planes[0]
            if truth is not None:
                plane = self.spec.grid.to_field(truth[:, number].astype(np.float32))
                self.group[f"{name}_truth"][example, lead] = plane

    def _coordinates(self, init_times: np.ndarray, leads: int) -> None:
        """Write the coordinates, times as CF milliseconds."""
        leads_s = np.arange(1, leads + 1) * self.spec.step_seconds
        start = init_times.astype("datetime64[ms]").astype(np.int64)
        valid = start[:, None] + np.round(1000 * leads_s).astype(np.int64)
        clock = {"units": "milliseconds since 1970-01-01", "calendar": "proleptic_gregorian"}
        self._coordinate("example", ("example",), np.arange(len(start)), {"long_name": "number of the example"})
        if self.members > 1:
            self._coordinate("member", ("member",), np.arange(self.members), {"long_name": "ensemble member"})
        self._coordinate("lead_time", ("lead_time",), leads_s, {"units": "s", "long_name": "lead time"})
        for axis, values in self.spec.grid.coordinates.items():
            self._coordinate(axis, (axis,), values, {"units": "R_E", "long_name": f"{axis}, {DIRECTIONS[axis]}"})
        self._coordinate("init_time", ("example",), start, {**clock, "long_name": "start of the forecast"})
        self._coordinate("valid_time", ("example", "lead_time"), valid, {**clock, "long_name": "time of the state"})

    def _coordinate(self, name: str, dims: Sequence[str], values: np.ndarray, attributes: dict[str, Any]) -> None:
        """Write one coordinate array."""
        self.group.create_array(name, data=values, dimension_names=dims, attributes=attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the store in its place, or remove what was written when something failed."""
        if kind is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # consolidated metadata is an extension of zarr 3 that xarray reads
                zarr.consolidate_metadata(self.partial)
        self._place.__exit__(kind, error, trace)
