"""The forms in which an `xarray.Dataset` holds one run: a variable for each field, or as mllam-data-prep writes it."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Protocol

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.data.decoded import filled_mask, limits_of, loaded, marks_of, of_numbers, stored_in, within_limits
from spacecast.data.geometry import read_grid
from spacecast.data.raw import check_chunks, check_coordinate
from spacecast.data.store import check_category, check_names

Wanted = Mapping[str, Sequence[str]]  # names of the variables that a model takes, by category
Static = dict[str, tuple[str, np.ndarray]]  # units, and values on the nodes, by name


class Layout(Protocol):
    """One run of the variables that a model takes, on the nodes of a grid.

    `static` are the static features of the model that the data hold, `units` those of each variable by category, ""
    where they are not said; `missing` says in words what counts as missing in a variable, "" where only NaN does.
    """

    grid: Grid
    static: Static
    units: dict[str, tuple[str, ...]]
    missing: dict[str, str]

    def read(self, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop): (frame, node, variable), float32, not finite where values are missing."""


def is_prepared(data: xr.Dataset) -> bool:
    """Whether a dataset holds a run as mllam-data-prep writes it."""
    return "state" in data and "grid_index" in data["state"].dims


class Fields:
    """A variable for each field, over time and the axes of space in any order; forcing may be over time alone.

    The mask is the variable `mask` where there is one, else the model's own.

    Args:
        data: decoded as xarray does it.
        wanted: what a model takes.
        spec: what it was trained on.
        label: what the data are, for errors.

    Raises:
        UserError: a variable is missing, or not what a model can take.

    """

    def __init__(self, data: xr.Dataset, wanted: Wanted, spec: DataSpec, label: str) -> None:
        self._label, self._wanted, self._axes = label, wanted, spec.grid.axes
        names = [name for each in wanted.values() for name in each]
        _require(names, map(str, data.variables), label)
        path, stored = stored_in(data, names)
        if path is not None:
            check_chunks(path, stored, label)
        data = _squeezed(data, ("time", *self._axes))
        for axis in self._axes:
            check_coordinate(data, axis, "its grid", label, {})
        data = _ascending(data, self._axes)
        self._variables = {name: self._checked(data[name].variable, name) for name in names}
        self._limits = {name: limits_of(variable, f"{label}: {name}") for name, variable in self._variables.items()}
        self.missing = {name: marks_of(self._variables[name], self._limits[name]) for name in names}
        self.units = {
            category: tuple(str(self._variables[name].attrs.get("units", "")) for name in names)
            for category, names in wanted.items()
        }
        coordinates = {axis: data[axis].values.astype(np.float64) for axis in self._axes}
        shape = tuple(values.size for values in coordinates.values())
        valid = self._mask(data["mask"]) if "mask" in data else np.ones(shape, dtype=bool)
        if "mask" not in data and spec.grid.shape == shape:
            valid = spec.grid.valid
        try:
            self.grid = Grid(coordinates, valid)
        except UserError as error:
            raise UserError(f"{label}: {error}") from error
        self.static = {
            name: (str(data[name].attrs.get("units", "")), self._plane(data[name]))
            for name in spec.static.names
            if name in data.variables and set(data[name].dims) == set(self._axes)
        }

    def _checked(self, variable: xr.Variable, name: str) -> xr.Variable:
        """A variable of numbers over time and the axes of space."""
        of_time = variable.dims == ("time",) and name in self._wanted.get("forcing", ())
        if set(variable.dims) != {"time", *self._axes} and not of_time:
            found = ", ".join(f"{axis} ({size})" for axis, size in variable.sizes.items()) or "none"
            more = [str(axis) for axis in variable.dims if axis not in ("time", *self._axes)]
            way = f"select one with dataset.isel({more[0]}=NUMBER)" if more else "give fields over all of them"
            expected = ", ".join(("time", *self._axes))
            raise UserError(f"{self._label}: {name} has axes {found}, expected {expected}; {way}")
        return of_numbers(variable, f"{self._label}: {name}")

    def _mask(self, mask: xr.DataArray) -> np.ndarray:
        """True where a cell carries plasma."""
        if set(mask.dims) != set(self._axes):
            found, expected = (", ".join(map(str, axes)) for axes in (mask.dims, self._axes))
            raise UserError(f"{self._label}: mask has axes {found}, expected {expected}; select one frame of it")
        values = filled_mask(mask).transpose(*self._axes).values
        if not np.isin(values, (0, 1)).all():
            raise UserError(f"{self._label}: mask holds {np.unique(values)[:4]}, expected 1 = space, 0 = inside Earth")
        return np.asarray(values == 1)

    def _plane(self, field: xr.DataArray) -> np.ndarray:
        """A field without time on the nodes."""
        return self.grid.to_nodes(field.transpose(*self._axes).values)

    def read(self, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop): (frame, node, variable)."""
        names = self._wanted[category]
        nodes = np.empty((stop - start, self.grid.num_nodes, len(names)), dtype=np.float32)
        for number, name in enumerate(names):
            block = loaded(self._variables[name].isel(time=slice(start, stop)), f"{self._label}: {name}")
            if block.dims == ("time",):
                values = block.values[:, None]
            else:
                values = self.grid.to_nodes(block.transpose("time", *self._axes).values)
            with np.errstate(over="ignore"):  # (infinities are refused)
                nodes[..., number] = within_limits(values, self._limits[name])
        return nodes


class Prepared:
    """Nodes and variables along one axis each: state(time, grid_index, state_feature) and so on, in any order.

    Args:
        data: decoded as xarray does it.
        wanted: what a model takes.
        label: what the data are, for errors.

    Raises:
        UserError: a variable is missing, or not what a model can take.

    """

    def __init__(self, data: xr.Dataset, wanted: Wanted, label: str) -> None:
        self._label = label
        for category in (*wanted, "mask"):
            if category not in data:
                raise UserError(f"{label} has no {category}; {nearest(category, map(str, data.data_vars))}")
        path, stored = stored_in(data, list(wanted))
        features = [f"{category}_feature" for category in ("static", "mask", *wanted)]
        data = _squeezed(data, ("time", "grid_index", *features))
        self._check_axes(data["mask"].variable, "mask", {"mask_feature", "grid_index"})
        self.grid, self._order = read_grid(data.assign(mask=filled_mask(data["mask"])), label)
        held = {category: tuple(map(str, data[f"{category}_feature"].values)) for category in wanted}
        check_names(held, label)
        if path is not None:
            for category in stored:
                check_category(path, category, held[category], self._order, label)
        self._variables: dict[str, xr.Variable] = {}
        self.units: dict[str, tuple[str, ...]] = {}
        for category, names in wanted.items():
            _require(names, held[category], label)
            columns = [held[category].index(name) for name in names]
            needed = {"time", "grid_index", f"{category}_feature"}
            variable = of_numbers(data[category].variable, f"{label}: {category}")
            self._check_axes(variable, category, needed, {"grid_index"} if category == "forcing" else set())
            self._variables[category] = variable.isel({f"{category}_feature": columns})
            units = self._units(data, category, len(held[category]))
            self.units[category] = tuple(units[column] for column in columns)
        self._limits = {name: limits_of(each, f"{label}: {name}") for name, each in self._variables.items()}
        marks = {category: marks_of(self._variables[category], self._limits[category]) for category in wanted}
        self.missing = {name: marks[category] for category, names in wanted.items() for name in names}
        self.static = self._static(data) if "static" in data else {}

    def _check_axes(
        self, variable: xr.Variable, category: str, needed: Set[str], optional: Set[str] = frozenset()
    ) -> None:
        """Refuse other axes than those of mllam-data-prep."""
        if not needed - optional <= set(variable.dims) <= needed:
            found, expected = (", ".join(map(str, axes)) for axes in (variable.dims, sorted(needed)))
            raise UserError(f"{self._label}: {category} has axes {found}, expected {expected}")

    def _units(self, data: xr.Dataset, category: str, count: int) -> list[str]:
        """Units of all variables of a category."""
        key = f"{category}_feature_units"
        return [str(unit) for unit in data[key].values] if key in data else [""] * count

    def _static(self, data: xr.Dataset) -> Static:
        """Static features by name."""
        self._check_axes(data["static"].variable, "static", {"static_feature", "grid_index"})
        names = [str(name) for name in data["static_feature"].values]
        values = data["static"].transpose("static_feature", "grid_index").values[:, self._order]
        return dict(zip(names, zip(self._units(data, "static", len(names)), values, strict=True), strict=True))

    def read(self, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop): (frame, node, variable)."""
        block = loaded(self._variables[category].isel(time=slice(start, stop)), f"{self._label}: {category}")
        if "grid_index" in block.dims:
            values = block.transpose("time", "grid_index", f"{category}_feature").values[:, self._order]
        else:
            values = block.transpose("time", f"{category}_feature").values[:, None]
        values = np.broadcast_to(values, (values.shape[0], self.grid.num_nodes, values.shape[2]))
        with np.errstate(over="ignore"):  # (infinities are refused)
            return within_limits(values, self._limits[category]).astype(np.float32)


def _require(names: Iterable[str], held: Iterable[str], label: str) -> None:
    """Refuse data without a variable that the model takes."""
    known = list(held)
    for name in names:
        if name not in known:
            raise UserError(f"{label} has no variable {name!r}, which the model takes; {nearest(name, known)}")


def _squeezed(data: xr.Dataset, axes: Sequence[str]) -> xr.Dataset:
    """Without axes of length 1, except for some."""
    return data.squeeze([axis for axis, size in data.sizes.items() if size == 1 and axis not in axes], drop=True)


def _ascending(data: xr.Dataset, axes: Sequence[str]) -> xr.Dataset:
    """Cells in ascending order along each axis."""
    for axis in axes:
        order = np.argsort(data[axis].values)
        if (order[::-1] == np.arange(order.size)).all():
            data = data.isel({axis: slice(None, None, -1)})
        elif (np.diff(order) < 0).any():
            data = data.isel({axis: order})
    return data
