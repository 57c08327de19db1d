"""What is known of a data set before any of its frames is read: names, units, statistics, geometry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.core.shards import GridPart

NON_NEGATIVE = ("rho", "P", "T")  # density, pressure and temperature


@dataclass(frozen=True, eq=False)
class FeatureSpec:
    """The variables of one category (state, static or forcing) with their statistics.

    Args:
        names: variable names in storage order.
        units: one unit per name.
        mean, std: over nodes and times of the training runs, physical units, shape (variable,).

    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray

    def __post_init__(self) -> None:
        for label in ("mean", "std"):
            values = np.asarray(getattr(self, label), dtype=np.float32)
            if values.shape != (len(self.names),):
                raise UserError(f"{label} of {len(self.names)} variables has shape {values.shape}")
            object.__setattr__(self, label, values)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of a variable; the error names the nearest one."""
        if name not in self.names:
            raise UserError(f"the data have no variable {name!r}; {nearest(name, self.names)}")
        return self.names.index(name)

    def indices(self, names: Sequence[str]) -> list[int]:
        """Positions of several variables."""
        return [self.index(name) for name in names]

    @classmethod
    def empty(cls) -> Self:
        """A category without variables."""
        return cls((), (), np.zeros(0), np.zeros(0))


@dataclass(frozen=True, eq=False)
class DataSpec:
    """The facts of the data that models, losses and scores may depend on.

    Args:
        grid: the cells and which of them are nodes.
        state, static, forcing: variables with statistics.
        diff_mean, diff_std: mean and standard deviation of the one-step increment of each state variable,
            physical units, shape (state,).
        static_values: static features on the nodes, physical units, shape (node, static).
        boundary: True where the true values drive the forecast, shape (node,).
        step_seconds: time between two frames [s].
        data_hash: content hash of the source, for provenance.
        lower, upper: least and greatest value of each node and state variable in the training frames of the training
            runs, physical units, float32, shape (node, state); None: not known.
        part: where `grid` is only the part of a larger one that this process owns: which, see `core.shards`.

    """

    grid: Grid
    state: FeatureSpec
    static: FeatureSpec
    forcing: FeatureSpec
    diff_mean: np.ndarray
    diff_std: np.ndarray
    static_values: np.ndarray
    boundary: np.ndarray
    step_seconds: float
    data_hash: str = field(default="")
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    part: GridPart | None = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes of the grid."""
        return self.grid.num_nodes

    @cached_property
    def interior(self) -> np.ndarray:
        """True where the model forecasts and scores count, shape (node,)."""
        return ~self.boundary

    @cached_property
    def interior_nodes(self) -> np.ndarray:
        """Numbers of the nodes where the model forecasts and scores count, int64, shape (interior,)."""
        return np.flatnonzero(self.interior)

    @property
    def driven(self) -> np.ndarray | None:
        """`boundary` where it holds a node; None: no true value drives the forecast."""
        return self.boundary if self.boundary.any() else None

    @property
    def static_standardized(self) -> np.ndarray:
        """Static features on the nodes, standardised, shape (node, static), float32."""
        return ((self.static_values - self.static.mean) / self.static.std).astype(np.float32)

    @property
    def increment_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the one-step increments of standardised states, each (state,), float32."""
        return (
            (self.diff_mean / self.state.std).astype(np.float32),
            (self.diff_std / self.state.std).astype(np.float32),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types and arrays only, fit for a checkpoint that loads without executing code; not of which part."""

        def category(spec: FeatureSpec) -> dict[str, Any]:
            return {"names": list(spec.names), "units": list(spec.units), "mean": spec.mean, "std": spec.std}

        ranges = {"lower": self.lower, "upper": self.upper}
        return {
            "grid": {**self.grid.coordinates, "valid": self.grid.valid},
            "state": category(self.state),
            "static": category(self.static),
            "forcing": category(self.forcing),
            "diff_mean": self.diff_mean,
            "diff_std": self.diff_std,
            "static_values": self.static_values,
            "boundary": self.boundary,
            "step_seconds": float(self.step_seconds),
            "data_hash": self.data_hash,
            **{name: value for name, value in ranges.items() if value is not None},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`; arrays may be numpy arrays or tensors."""

        def category(entry: dict[str, Any]) -> FeatureSpec:
            mean, std = np.asarray(entry["mean"]), np.asarray(entry["std"])
            return FeatureSpec(tuple(entry["names"]), tuple(entry["units"]), mean, std)

        grid = {name: np.asarray(value) for name, value in values["grid"].items()}
        valid = grid.pop("valid")
        ranges = {name: np.asarray(values[name]) for name in ("lower", "upper") if values.get(name) is not None}
        return cls(
            grid=Grid(grid, valid),
            state=category(values["state"]),
            static=category(values["static"]),
            forcing=category(values["forcing"]),
            diff_mean=np.asarray(values["diff_mean"]),
            diff_std=np.asarray(values["diff_std"]),
            static_values=np.asarray(values["static_values"]),
            boundary=np.asarray(values["boundary"]),
            step_seconds=float(values["step_seconds"]),
            data_hash=str(values["data_hash"]),
            lower=ranges.get("lower"),
            upper=ranges.get("upper"),
        )
