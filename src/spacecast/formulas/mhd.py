"""Ideal magnetohydrodynamics on the x-z plane: what the equations make of a state, with all three vector components.

In the units of the published data (`core.units.PUBLISHED`), lengths in R_E, times in s. No quantity varies along y.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from spacecast.core.units import EARTH_RADIUS, PROTON_MASS, VACUUM_PERMEABILITY

ADIABATIC_INDEX = 5 / 3  # of a gas of three degrees of freedom
PER_LENGTH = 1e3 / EARTH_RADIUS
"""1 km/s over 1 R_E [1/s]."""
FORCE = 1e-9 / EARTH_RADIUS / (PROTON_MASS * 1e6) / 1e3
"""Acceleration of 1 proton per cm3 by 1 nPa/R_E [km/s2]."""
TENSION = 1e-18 / VACUUM_PERMEABILITY / EARTH_RADIUS / (PROTON_MASS * 1e6) / 1e3
"""Acceleration of 1 proton per cm3 by curl B x B of 1 nT2/R_E [km/s2]."""


class Fields(NamedTuple):
    """A state, or its slope along an axis: tensors of one shape, vectors with components x, y, z on the first axis.

    log_density, log_pressure: natural logarithms of the density and the pressure in 1/cm3 and nPa.
    velocity: km/s, shape (3, ...).
    magnetic: nT, shape (3, ...).
    """

    log_density: Tensor
    log_pressure: Tensor
    velocity: Tensor
    magnetic: Tensor


class Rates(NamedTuple):
    """What the equations say of a state.

    log_density, log_pressure: d/dt of the logarithms [1/s].
    velocity: dv/dt [km/s2], shape (3, ...).
    magnetic: dB/dt = -curl E [nT/s], shape (3, ...).
    potential: dA/dt = -E_y [nT R_E/s], of the potential A of the field in the plane, B_x = -dA/dz, B_z = dA/dx.
    compression: div v [1/s].
    current: mu0 J_y = dB_x/dz - dB_z/dx [nT/R_E].
    """

    log_density: Tensor
    log_pressure: Tensor
    velocity: Tensor
    magnetic: Tensor
    potential: Tensor
    compression: Tensor
    current: Tensor


def slopes(values: Tensor, neighbours: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Differences of node values along each axis: central, one-sided next to a missing neighbour, else 0.

    Args:
        values: shape (..., node).
        neighbours: nodes after and before each node along each axis, the node itself where there is none
            (`Grid.neighbours`), shape (2 axis, node).
        weights: of `slope_weights`, shape (axis, node).

    Returns:
        Slope along each axis, in units of the values over that of the spacing, each of the shape of `values`.

    """
    rows = values.flatten(0, -2)  # torch gathers rows of a matrix ten times as fast as those of more axes
    pairs = zip(neighbours.unflatten(0, (-1, 2)), weights, strict=True)
    return tuple(
        ((rows.index_select(1, after) - rows.index_select(1, before)) * weight).view_as(values)
        for (after, before), weight in pairs
    )


def slope_weights(neighbours: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """One over the distance of a node's neighbours along each axis, 0 where it has none.

    Args:
        neighbours: see `slopes`.
        spacing: cell size along each axis.

    Returns:
        Shape (axis, node).

    """
    there = neighbours != torch.arange(neighbours.shape[1], device=neighbours.device)
    count = there.unflatten(0, (-1, 2)).sum(dim=1)
    distance = count * torch.tensor(spacing, device=neighbours.device)[:, None]
    return torch.where(count > 0, 1 / distance.clamp(min=min(spacing)), 0.0)


def ideal_rates(state: Fields, along_x: Fields, along_z: Fields) -> Rates:
    """The equations of ideal magnetohydrodynamics, as in Freidberg (2014), Ideal MHD, chapter 2.

    d ln n/dt = -v . grad ln n - div v; d ln P/dt = -v . grad ln P - 5/3 div v; dv/dt = -v . grad v +
    (J x B - grad P) / (m n) of protons; dB/dt = curl (v x B), where div B = 0 is used.

    Args:
        state: on some points.
        along_x, along_z: its slopes there, per R_E.

    """
    (vx, _, vz), (bx, by, bz) = state.velocity.unbind(), state.magnetic.unbind()
    dvx, dvz, dbx, dbz = along_x.velocity, along_z.velocity, along_x.magnetic, along_z.magnetic
    inflow = dvx.unbind()[0] + dvz.unbind()[2]
    (_, dby_dx, dbz_dx), (dbx_dz, dby_dz, _) = dbx.unbind(), dbz.unbind()
    current = dbx_dz - dbz_dx

    def advected(one: Tensor, other: Tensor) -> Tensor:
        """-v . grad of something by its slopes along x and z."""
        return -(vx * one + vz * other)

    inverse = torch.exp(-state.log_density)
    sound = FORCE * inverse * torch.exp(state.log_pressure)
    tension = TENSION * inverse
    force = (
        tension * (current * bz - by * dby_dx) - sound * along_x.log_pressure,
        tension * (bx * dby_dx + bz * dby_dz),
        -tension * (current * bx + by * dby_dz) - sound * along_z.log_pressure,
    )
    stretched = bx * dvx + bz * dvz
    return Rates(
        log_density=PER_LENGTH * (advected(along_x.log_density, along_z.log_density) - inflow),
        log_pressure=PER_LENGTH * (advected(along_x.log_pressure, along_z.log_pressure) - ADIABATIC_INDEX * inflow),
        velocity=PER_LENGTH * advected(dvx, dvz) + torch.stack(force),
        magnetic=PER_LENGTH * (advected(dbx, dbz) + stretched - state.magnetic * inflow),
        potential=PER_LENGTH * (vz * bx - vx * bz),
        compression=PER_LENGTH * inflow,
        current=current,
    )
