"""Example forecasts beside the truth, as a zarr store that xarray reads by itself; `run` writes forecasts alone."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr

from spacecast.core.names import TRUTH
from spacecast.core.spec import DataSpec
from spacecast.forecast.layout import CLOCK, CONVENTIONS, axes_of, consolidate, lead_seconds, valid_times
from spacecast.forecast.noise import milliseconds
from spacecast.process.files import atomic_write


class ForecastWriter:
    """Writes fields one lead at a time; the store appears under its name once it is complete.

    Variables `NAME` (forecast) and, where it is known, `NAME_truth` in physical units, float32, NaN inside Earth;
    dimensions example, member (ensembles only), lead_time, x, z; coordinates in R_E, lead_time in s, init_time and
    valid_time. Of data with forcing also that of each step, `forcing` over example, lead_time, forcing_column, x, z,
    whose attributes have the names and the units of the columns.

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
            "Conventions": CONVENTIONS,
            "title": "forecasts beside the truth" if truth else "forecasts",
            "coordinates": "init_time valid_time",  # tells xarray which arrays are no data
            **(attributes or {}),
        }
        self.group = zarr.create_group(store=self.partial, zarr_format=3, attributes=facts)
        self._coordinates(np.asarray(init_times), leads)
        ensemble: tuple[str, ...] = ("member",) if members > 1 else ()
        for name, units in zip(spec.state.names, spec.state.units, strict=True):
            kinds = [("", ("example", *ensemble)), *([(TRUTH, ("example",))] if truth else [])]
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
        if truth and spec.forcing.names:
            shape = (leads, len(spec.forcing.names), *spec.grid.shape)
            self.group.create_array(
                "forcing",
                shape=(len(init_times), *shape),
                chunks=(1, 1, *shape[1:]),
                dtype="float32",
                fill_value=np.nan,
                dimension_names=("example", "lead_time", "forcing_column", *spec.grid.axes),
                attributes={"columns": list(spec.forcing.names), "column_units": list(spec.forcing.units)},
            )

    def write(
        self,
        example: int,
        lead: int,
        members: np.ndarray,
        truth: np.ndarray | None = None,
        forcing: np.ndarray | None = None,
    ) -> None:
        """Write one lead of one example.

        Args:
            example, lead: numbers from 0.
            members: forecasts, shape (member, node, state), physical units, as all that follows.
            truth: shape (node, state).
            forcing: of the step to this lead, shape (node, forcing).

        """
        for number, name in enumerate(self.spec.state.names):
            planes = self.spec.grid.to_field(members[..., number].astype(np.float32))
            where = (example, slice(None), lead) if self.members > 1 else (example, lead)
            self.group[name][where] = planes if self.members > 1 else planes[0]
            if truth is not None:
                plane = self.spec.grid.to_field(truth[:, number].astype(np.float32))
                self.group[f"{name}{TRUTH}"][example, lead] = plane
        if forcing is not None and "forcing" in self.group:
            self.group["forcing"][example, lead] = self.spec.grid.to_field(forcing.T.astype(np.float32))

    def _coordinates(self, init_times: np.ndarray, leads: int) -> None:
        """Write the coordinates, times as CF milliseconds."""
        leads_s, start = lead_seconds(leads, self.spec.step_seconds), milliseconds(init_times)
        self._coordinate("example", ("example",), {"long_name": "number of the example"}, np.arange(len(start)))
        if self.members > 1:
            self._coordinate("member", ("member",), {"long_name": "ensemble member"}, np.arange(self.members))
        self._coordinate("lead_time", ("lead_time",), {"units": "s", "long_name": "lead time"}, leads_s)
        for axis in axes_of(self.spec.grid):
            self._coordinate(*axis)
        valid = valid_times(start, leads_s)
        self._coordinate("init_time", ("example",), {**CLOCK, "long_name": "initial time"}, start)
        self._coordinate("valid_time", ("example", "lead_time"), {**CLOCK, "long_name": "time of the state"}, valid)

    def _coordinate(self, name: str, dims: Sequence[str], attributes: dict[str, Any], values: Any) -> None:
        """Write one coordinate array."""
        self.group.create_array(name, data=values, dimension_names=dims, attributes=attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the store in its place, or remove what was written when something failed."""
        if kind is None:
            consolidate(self.partial)
        self._place.__exit__(kind, error, trace)
