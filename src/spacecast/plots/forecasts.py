"""Forecasts in files, ours beside the truth and those of `spacecast-forecast`, read frame by frame for pictures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.names import MEAN, SPREAD, TRUTH
from spacecast.core.regions import Bounds, boundary_nodes
from spacecast.plots.canvas import unit_text
from spacecast.plots.paper_layout import as_ours, is_published
from spacecast.plots.plane import Plane

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

FORCING = "forcing"  # what is given from outside for each step, no state
# of the variables, which zarr keeps by the alphabet
ORDER = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T")
LEAD = 10  # shown beside the last one, where nothing is chosen


@dataclass(frozen=True)
class Frame:
    """One forecast at one lead, physical units.

    Args:
        title: run, density of the solar wind at the beginning, initial time and lead, for people.
        truth: shape (node, state); None: it is not known.
        members: shape (member, node, state), one where there is no ensemble; None: the file holds their mean and spread
            alone.
        mean: of the members, shape (node, state).
        spread: their unbiased standard deviation, shape (node, state); None: there is no ensemble.

    """

    title: str
    truth: np.ndarray | None
    members: np.ndarray | None
    mean: np.ndarray
    spread: np.ndarray | None


class ForecastFile:
    """An open file of forecasts.

    Args:
        data: what xarray opened, with the axis `example` or `init_time`.
        plane: of its fields.

    """

    def __init__(self, data: "Dataset", plane: Plane) -> None:
        self.axis = "example" if "example" in data.dims else "init_time"
        self.data, self.plane = data, plane

    @cached_property
    def count(self) -> int:
        """Number of forecasts."""
        return int(self.data.sizes[self.axis])

    @cached_property
    def leads(self) -> np.ndarray:
        """Lead times [s], shape (lead,)."""
        return np.asarray(self.data["lead_time"].values, dtype=float)

    @property
    def has_truth(self) -> bool:
        """Whether the truth is known."""
        return f"{next(iter(self.plane.units))}{TRUTH}" in self.data

    @property
    def members(self) -> int:
        """Members of the ensemble that are in the file."""
        return int(self.data.sizes.get("member", 1))

    def chosen_leads(self, wanted: Sequence[int] | None) -> list[int]:
        """Numbers of leads, 1 is the first.

        Raises:
            UserError: there is no such lead.

        """
        last = len(self.leads)
        if wanted is None:
            return sorted({min(LEAD, last), last})
        for lead in wanted:
            if not 1 <= lead <= last:
                raise UserError(f"leads: there is no lead {lead}; the forecasts have 1 to {last}")
        return list(dict.fromkeys(wanted))

    def frame(self, example: int, lead: int) -> Frame:
        """One forecast at one lead; numbers from 0 and from 1."""
        part = self.data.isel({self.axis: example, "lead_time": lead - 1})
        truth = self._nodes(part, TRUTH) if self.has_truth else None
        if next(iter(self.plane.units)) in self.data:
            values = self._nodes(part, "")
            members = values if "member" in self.data.sizes else values[None]
            spread = members.std(axis=0, ddof=1) if len(members) > 1 else None
            mean = members.mean(axis=0)
        else:
            members, mean, spread = None, self._nodes(part, MEAN), self._nodes(part, SPREAD)
        return Frame(self.title(example, lead), truth, members, mean, spread)

    def series(self, name: str, example: int, kind: str = "") -> np.ndarray:
        """Planes of a variable at all leads, of an ensemble its mean: shape (lead, x, z)."""
        suffix = MEAN if kind == "" and name not in self.data else kind
        part = self.data[f"{name}{suffix}"].isel({self.axis: example})
        part = part.mean("member") if "member" in part.dims else part
        return np.asarray(part.transpose("lead_time", *self.plane.grid.axes).values, dtype=float)

    def title(self, example: int, lead: int | None = None) -> str:
        """Run, density of the solar wind at the beginning, initial time, and lead where one is given."""
        runs = self.data.attrs.get("runs", self.data.attrs.get("run", ""))
        names = [str(run) for run in runs] if isinstance(runs, list | tuple | np.ndarray) else [str(runs)]
        run = names[example] if len(names) == self.count else names[0] if len(set(names)) == 1 else ""
        moment = self.data.isel({self.axis: example})["init_time"].values
        start = "start" if np.isnat(moment) else str(np.datetime_as_string(moment, unit="s")).replace("T", " ")
        words = [f"run {run}"] if run else []
        density = self._wind_density(example)
        if density is not None:
            words.append(f"solar wind {density:.2g} {unit_text(self.plane.units['rho'])}")
        return ", ".join([*words, start if lead is None else f"{start} + {self.leads[lead - 1]:g} s"])

    def _wind_density(self, example: int) -> float | None:
        """Mean density at the first lead where the solar wind is driven by true values; None: it is nowhere."""
        driven = self.plane.boundary
        if "rho" not in self.plane.units or not driven.any():
            return None
        kind = next(ending for ending in (TRUTH, "", MEAN) if f"rho{ending}" in self.data)
        field = self.data[f"rho{kind}"].isel({self.axis: example, "lead_time": 0})
        nodes = self.plane.grid.to_nodes(field.transpose(..., *self.plane.grid.axes).values)
        density = float(np.mean(nodes[..., driven]))
        return density if np.isfinite(density) else None

    def _nodes(self, part: "Dataset", suffix: str) -> np.ndarray:
        """All variables on the nodes, shape (..., node, state)."""
        axes = self.plane.grid.axes
        fields = [part[f"{name}{suffix}"].transpose(..., *axes).values for name in self.plane.units]
        return np.stack([self.plane.grid.to_nodes(field) for field in fields], axis=-1)


@contextmanager
def opened(
    path: Path,
    plane: Plane | None = None,
    boundary: Bounds | Sequence[Bounds] | None = None,
    step_seconds: float = 1.0,
) -> Iterator[ForecastFile]:
    """A file of forecasts.

    Args:
        path: a zarr store or a NetCDF file.
        plane: of its fields; None: as the file has it.
        boundary: of a plane that is taken from the file: what the truth drives.
        step_seconds: from one lead to the next of a published example that does not say [s].

    Raises:
        UserError: it holds no forecasts on a plane.

    """
    import xarray as xr

    try:
        reader = xr.open_zarr(path, chunks=None) if path.is_dir() else xr.open_dataset(path, decode_timedelta=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as forecasts ({type(error).__name__}); give a run or a forecast"
        ) from error
    with reader as data:
        if is_published(data):
            data = as_ours(data, str(path), step_seconds)
        if not {"x", "z", "lead_time", "init_time"} <= set(data.variables):
            raise UserError(
                f"{path} holds no forecasts on the x-z plane; give examples.zarr or what spacecast-forecast wrote"
            )
        yield ForecastFile(data, plane or read_plane(data, boundary))


def read_plane(data: "Dataset", boundary: Bounds | Sequence[Bounds] | None) -> Plane:
    """The plane of a file: what is never a number is inside Earth."""
    fields = [str(name) for name in data.data_vars if {"x", "z", "lead_time"} <= set(data[name].dims)]
    names = [name for name in fields if name != FORCING]
    found = {name.removesuffix(TRUTH).removesuffix(MEAN).removesuffix(SPREAD) for name in names}
    states = [*(name for name in ORDER if name in found), *sorted(found.difference(ORDER))]
    first = data[next(name for name in names if name.endswith(TRUTH)) if f"{states[0]}{TRUTH}" in names else names[0]]
    frame = first.isel({dim: 0 for dim in first.dims if dim not in ("x", "z")}).transpose("x", "z").values
    coordinates = {axis: np.asarray(data[axis].values, dtype=float) for axis in ("x", "z")}
    grid = Grid(coordinates, np.isfinite(frame))
    units = {name: str(_variable(data, name).attrs.get("units", "")) for name in states}
    return Plane(grid, units, boundary_nodes(grid, boundary))


def _variable(data: "Dataset", name: str) -> "DataArray":
    """The array that says the units of a variable."""
    return data[name] if name in data else data[f"{name}{MEAN}"]
