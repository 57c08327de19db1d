"""What of the physics can be judged on some data: variables in known units, places on the plane, kinds of plasma."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.spec import DataSpec
from spacecast.core.text import several
from spacecast.core.units import expected_units, factor
from spacecast.evaluation.boundaries import (
    LEAST_SIDE,
    SUNWARD_FROM,
    TAIL_FROM,
    largest_rectangle,
    sunward_axis,
    tail_axis,
)
from spacecast.formulas.averages import median
from spacecast.formulas.physics import plasma_beta, plasma_classes, ram_temperature

log = logging.getLogger(__name__)

LAW_OF_GAS = ("P", "rho", "T")
OHM = tuple(f"{field}{axis}" for field in "EvB" for axis in "xyz")
BOUNDARIES = {"bow_shock": ("rho",), "magnetopause": ("Bz",)}
"""Variables by which the boundaries on the line to the Sun are found."""
PLASMA_REGIONS = tuple(f"{name}_by_plasma" for name in ("solar_wind", "magnetosheath", "lobes", "plasma_sheet"))
UPSTREAM = 3.0  # R_E next to the sunward edge, the median over which is the state of the solar wind


@dataclass(frozen=True, eq=False)
class Columns:
    """Some variables of the state, read in the units of the published data.

    Args:
        numbers: of the variables.
        mean, std: by which they are standardised, in the units of the data, shape (variable,).
        factors: from the units of the data to the published ones, shape (variable,).

    """

    numbers: Sequence[int]
    mean: Tensor
    std: Tensor
    factors: Tensor

    @classmethod
    def find(cls, spec: DataSpec, names: Sequence[str]) -> Self | None:
        """The variables of some names; None unless the data have all of them, in units that can be converted."""
        state = spec.state
        if not set(names) <= set(state.names):
            return None
        numbers = state.indices(names)
        factors = [factor(state.units[number], str(expected_units(state.names[number]))) for number in numbers]
        if None in factors:
            return None
        values = (torch.as_tensor(each) for each in (state.mean[numbers], state.std[numbers], np.array(factors)))
        return cls(numbers, *(each.double() for each in values))

    def scaled(self, states: Tensor) -> Tensor:
        """Their values out of standardised states, double precision: (..., state) to (..., variable)."""
        return self._picked(states, (self.std * self.factors).tolist(), (self.mean * self.factors).tolist())

    def physical(self, states: Tensor) -> Tensor:
        """The same out of states in the units of the data."""
        return self._picked(states, self.factors.tolist(), [0.0] * len(self.numbers))

    def _picked(self, states: Tensor, scales: Sequence[float], offsets: Sequence[float]) -> Tensor:
        """Scale x + offset of each variable x; each lies in one piece of memory, which makes formulas twice as fast."""
        picked = zip(self.numbers, scales, offsets, strict=True)
        return torch.stack([states[..., n].double() * scale + offset for n, scale, offset in picked]).movedim(0, -1)


class Plasma:
    """Variables and places that the scores of the physics need, as far as the data have them.

    What the grid has no place for is said in the log.

    Args:
        spec: grid, boundary, variables and units of the data.

    Attributes:
        columns: the variables of the laws of gas (`gas`) and Ohm (`electric`), and of each of `BOUNDARIES`.
        sunward: the line from Earth to the Sun, if there is one.
        tail: the axis of the tail, if there is one.
        rectangle: where spectra are taken, the largest part of the plane without Earth and the driven boundary; None:
            it is too small.

    """

    def __init__(self, spec: DataSpec) -> None:
        needed: dict[str, Sequence[str]] = {"gas": LAW_OF_GAS, "electric": OHM, **BOUNDARIES}
        found = {name: Columns.find(spec, names) for name, names in needed.items()}
        self.columns = {name: columns for name, columns in found.items() if columns}
        self.sunward, self.tail = sunward_axis(spec.grid), tail_axis(spec.grid)
        largest = largest_rectangle(spec.grid, spec.interior)
        self.rectangle = largest if largest and min(largest.shape) >= LEAST_SIDE else None
        size = " x ".join(map(str, largest.shape)) if largest else "none"
        lacking = {
            f"power spectra (on {LEAST_SIDE} x {LEAST_SIDE} cells without Earth, found {size})": not self.rectangle,
            f"distance of boundaries (on the axis from x = {SUNWARD_FROM:g} R_E)": self._shown and not self.sunward,
            f"reconnected flux (on the axis up to x = {-TAIL_FROM:g} R_E)": self._turns and not self.tail,
        }
        if any(lacking.values()):
            log.info("the grid has no place for %s", ", ".join(name for name, missing in lacking.items() if missing))

    @property
    def _shown(self) -> list[str]:
        """Boundaries that the variables show."""
        return [name for name in self.columns if name in BOUNDARIES]

    @property
    def boundaries(self) -> list[str]:
        """Names of the boundaries that can be found on the line to the Sun."""
        return self._shown if self.sunward else []

    @property
    def flux(self) -> bool:
        """Whether there is a flux in the tail to integrate."""
        return self._turns and self.tail is not None

    @property
    def _turns(self) -> bool:
        """Whether the data have B_z."""
        return "magnetopause" in self.columns


class PlasmaRegions:
    """Parts of the plane by the plasma that is there; they move from frame to frame.

    Lobes and plasma sheet are looked for on the night side beyond `TAIL_FROM`, since dipolar field and cusps are as
    tenuous as the lobes.

    Args:
        spec: of the data.
        upstream_from: least x of the solar wind [R_E], the analytic bow shock.

    Raises:
        UserError: when the data lack a variable that tells plasmas apart, or hold no solar wind.

    """

    names = PLASMA_REGIONS

    def __init__(self, spec: DataSpec, upstream_from: float) -> None:
        needed = ("rho", "vx", "T", "P", "Bx", "By", "Bz")
        columns = Columns.find(spec, needed)
        if columns is None:
            lacking = [name for name in needed if Columns.find(spec, (name,)) is None]
            raise UserError(
                f"evaluation.plasma_regions needs {several(len(lacking), 'more variable')}, in units that can be "
                f"converted: {', '.join(lacking)}; set it to false"
            )
        self._columns = columns
        places = dict(zip(spec.grid.axes, spec.grid.positions.T, strict=True))
        x = places.get("x", np.zeros(spec.num_nodes))
        upstream = x > x.max() - UPSTREAM
        if x[upstream].min() < upstream_from:
            raise UserError(
                f"evaluation.plasma_regions needs the solar wind: the grid ends at x = {x.max():g} R_E, less than "
                f"{UPSTREAM:g} R_E from the bow shock at {upstream_from:g} R_E (evaluation.surfaces.bow_shock_standoff)"
            )
        self._upstream = torch.as_tensor(np.flatnonzero(upstream))
        tail = (x < 0) & (spec.grid.radius >= TAIL_FROM)
        anywhere = np.ones_like(tail)
        self._allowed = torch.as_tensor(np.stack([anywhere, anywhere, tail, tail]) & spec.interior)

    def masks(self, states: Tensor) -> Tensor:
        """True on the nodes of each region: states in physical units (window, node, state) to (window, region, node).

        Where the wind at the sunward edge does not blow towards the tail, there is none of them.
        """
        values = self._columns.physical(states)
        wind = median(values.index_select(-2, self._upstream.to(states.device)).movedim(-2, -1)).unsqueeze(-2)
        density, speed, temperature = (values / wind)[..., :3].unbind(-1)
        heat = values[..., 2] / ram_temperature(wind[..., 1])
        beta = plasma_beta(values[..., 3], values[..., 4:])
        classes = plasma_classes(density, speed, temperature, heat, beta).movedim(0, -2)
        return classes & self._allowed.to(states.device) & (wind[..., 1:2] < 0)
