"""What plasma obeys and where its boundaries lie, in the units of the published data (`core.units.PUBLISHED`).

A position or a flux that a field does not have is NaN.
"""

import math

import torch
from torch import Tensor

from spacecast.core.units import BOLTZMANN, NKT, PROTON_MASS, SPEED_TIMES_FIELD, VACUUM_PERMEABILITY
from spacecast.formulas.averages import median

TWICE_PERMEABILITY = 2e9 * VACUUM_PERMEABILITY  # 2 mu0 P[nPa] in nT^2
SHOCK_RATIO = 1.5
"""Least density behind a bow shock over that of the solar wind: waves of the wind stay below, gas shocks reach 4."""
WIND_SPEED, WIND_TEMPERATURE = 0.8, 3.0
"""Of the solar wind: least speed towards the tail and largest temperature, over those at the sunward edge."""
SHOCK_HEAT = 3 / 16
"""Temperature behind a strong shock over `ram_temperature` ahead of it, of a gas of three degrees of freedom."""
CELLS_BEHIND = 3
"""Cells behind the steepest rise within which the density must have risen so far: a captured shock is that thick."""


def pressure_residual(pressure: Tensor, density: Tensor, temperature: Tensor) -> Tensor:
    """P - n k T of an ideal gas of one kind of particle [nPa].

    Args:
        pressure, density, temperature: in nPa, 1/cm3 and MK, shapes that broadcast.

    """
    return pressure - NKT * density * temperature


def electric_residual(electric: Tensor, velocity: Tensor, magnetic: Tensor) -> Tensor:
    """E + v x B, which vanishes in ideal magnetohydrodynamics [mV/m].

    Args:
        electric, velocity, magnetic: in mV/m, km/s and nT, components x, y, z on the last axis.

    """
    return electric + SPEED_TIMES_FIELD * torch.linalg.cross(velocity, magnetic, dim=-1)


def plasma_beta(pressure: Tensor, magnetic: Tensor) -> Tensor:
    """Thermal over magnetic pressure, 2 mu0 P / B^2; infinite without a field.

    Args:
        pressure: in nPa, shape (...).
        magnetic: in nT, components on the last axis, shape (..., component).

    """
    return TWICE_PERMEABILITY * pressure / magnetic.square().sum(dim=-1)


def ram_temperature(speed: Tensor) -> Tensor:
    """Temperature m v^2 / k of protons [MK]; a strong shock heats a gas of that speed to 3/16 of it.

    Args:
        speed: in km/s.

    """
    return PROTON_MASS / BOLTZMANN * speed.square()


def plasma_classes(density: Tensor, speed: Tensor, temperature: Tensor, heat: Tensor, beta: Tensor) -> Tensor:
    """Which kind of plasma it is: solar wind, magnetosheath, of the lobes or of the plasma sheet.

    The solar wind is fast and cold. The magnetosheath is what the bow shock has made of it: denser, or, where it has
    expanded again along the flanks, still ruled by its thermal pressure and no hotter than a strong shock makes a gas.
    Of the rest, the magnetic field rules the lobes (plasma beta below 1) and thermal pressure the plasma sheet. So each
    point is of one kind; the dipolar field near Earth, the cusps and the mantle count as lobes, so ask for the position
    too.

    Args:
        density, speed, temperature: over those of the solar wind ahead of the bow shock; speed towards the tail.
        heat: temperature over `ram_temperature` of that wind.
        beta: `plasma_beta`. All of shapes that broadcast.

    Returns:
        True for the kind, in the order above, shape (4, ...); False throughout where a value is no number.

    """
    known = density.isfinite() & speed.isfinite() & temperature.isfinite() & ~beta.isnan()
    wind = known & (speed > WIND_SPEED) & (temperature < WIND_TEMPERATURE)
    thermal = beta >= 1
    sheath = known & ~wind & ((density > 1) | (thermal & (heat <= SHOCK_HEAT)))
    inside = known & ~wind & ~sheath
    return torch.stack([wind, sheath, inside & ~thermal, inside & thermal])


def extrapolate(previous: Tensor, state: Tensor, steps: int) -> Tensor:
    """The state so many steps ahead if it went on changing as it last did, X_0 + k (X_0 - X_-1)."""
    return state + steps * (state - previous)


def magnetopause_distance(cosine: Tensor, standoff: float, flaring: float) -> Tensor:
    """Distance of the magnetopause, r_0 (2 / (1 + cos a))^alpha: Shue et al. (1998), J. Geophys. Res. 103, equation 1.

    Args:
        cosine: of the angle a between the direction and the Sun.
        standoff: r_0, distance on the line to the Sun.
        flaring: alpha; the tail closes below 1/2 and opens above.

    """
    return standoff * (2 / (1 + cosine)) ** flaring


def bow_shock_distance(cosine: Tensor, standoff: float, eccentricity: float) -> Tensor:
    """Distance of the bow shock, a conic with Earth's centre as its focus, r_0 (1 + e) / (1 + e cos a).

    Farris and Russell (1994), J. Geophys. Res. 99, equation 6, with e = 0.81. Infinite where a hyperbola, e > 1,
    has no point.

    Args:
        cosine: of the angle a between the direction and the Sun.
        standoff: r_0, distance on the line to the Sun.
        eccentricity: e.

    """
    below = 1 + eccentricity * cosine
    return torch.where(below > 0, standoff * (1 + eccentricity) / below, math.inf)


def shock_position(density: Tensor, positions: Tensor) -> Tensor:
    """Where the density rises most steeply on the way in from the solar wind: the bow shock, finer than a cell.

    The vertex of the parabola through the steepest difference of neighbours and those beside it. There is a shock when
    the density, within `CELLS_BEHIND` cells behind that place, reaches `SHOCK_RATIO` times its median ahead of it.

    Args:
        density: along the line from Earth to the Sun, outward, shape (..., cell), any unit.
        positions: distance of the cells from Earth's centre, ascending and uniform, shape (cell,).

    Returns:
        In the unit of the positions, shape (...); NaN where there is no shock.

    """
    rise = density[..., :-1] - density[..., 1:]
    finite = density.isfinite().all(dim=-1)
    inner = rise[..., 1:-1].nan_to_num(nan=-math.inf)
    at = inner.argmax(dim=-1, keepdim=True) + 1  # the rise between the cells `at` and `at` + 1
    before, here, after = (rise.gather(-1, at + side) for side in (-1, 0, 1))
    curvature = before - 2 * here + after
    shift = torch.where(curvature < 0, (before - after) / (2 * curvature), 0.0).clamp(-0.5, 0.5)
    step = positions[1] - positions[0]
    place = positions[at] + step * (0.5 + shift)
    cell = torch.arange(len(positions), device=density.device)
    ahead = median(torch.where(cell > at + 1, density, math.nan), skip_missing=True)
    behind = density.masked_fill((cell > at) | (cell <= at - CELLS_BEHIND), -math.inf).amax(dim=-1)
    found = finite & (here[..., 0] > 0) & (ahead > 0) & (behind >= SHOCK_RATIO * ahead)
    return torch.where(found, place[..., 0], math.nan)


def reversal_position(field: Tensor, positions: Tensor) -> Tensor:
    """Where a field that is positive near Earth first turns on the way out: of B_z, the magnetopause.

    The dipole points north on Earth's equator; where the field outside points south the two meet in a current sheet.
    Linear between cells.

    Args:
        field: along the line from Earth to the Sun, outward, shape (..., cell), any unit.
        positions: distance of the cells from Earth's centre, ascending, shape (cell,).

    Returns:
        In the unit of the positions, shape (...); NaN where the field does not turn, or is not positive near Earth.

    """
    turned = field[..., 1:] <= 0
    at = turned.long().argmax(dim=-1, keepdim=True)
    inside, outside = (field.gather(-1, at + side)[..., 0] for side in (0, 1))
    share = inside / (inside - outside)
    place = positions[at[..., 0]] + share * (positions[at[..., 0] + 1] - positions[at[..., 0]])
    found = field.isfinite().all(dim=-1) & turned.any(dim=-1) & (field[..., 0] > 0)
    return torch.where(found, place, math.nan)


def flux_range(field: Tensor, step: float) -> Tensor:
    """Range of the flux function A along a line across which `field` points: dA/dx = B_z, trapezoidal rule.

    B = (-dA/dz, dA/dx) in the plane, so that field lines are lines of constant A; along the axis of the tail A is
    extreme at X-points and O-points, and its range is the magnetic flux per length that reconnection has closed or
    bound in plasmoids.

    Args:
        field: shape (..., cell), in nT.
        step: distance of the cells [R_E].

    Returns:
        In nT R_E, shape (...).

    """
    between = (field[..., 1:] + field[..., :-1]) * (step / 2)
    # a product of matrices, for on GPUs a cumulative sum is refused where all is to be deterministic
    sums = torch.ones(between.shape[-1], field.shape[-1], dtype=field.dtype, device=field.device).triu(diagonal=1)
    potential = between @ sums
    return potential.amax(dim=-1) - potential.amin(dim=-1)
