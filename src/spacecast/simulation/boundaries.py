"""What surrounds the plasma of the magnetosphere: solar wind, free outflow, the planet."""

import numpy as np

from spacecast.simulation import code_units
from spacecast.simulation.parameters import Parameters
from spacecast.simulation.rates import BY, ENERGY, GAMMA, GHOSTS, MX, MZ, RHO
from spacecast.simulation.solver import conserve
from spacecast.simulation.wind import SolarWind

SWEEPS = 3
"""Jacobi sweeps of the harmonic fill per step."""

MAGNETOPAUSE_START = 15.0
"""Plane x [R_E] up to which the initial dipole reaches."""


class Magnetosphere:
    """Inflow at +x, outflow elsewhere, an insulating and permeable planet in the middle.

    Args:
        parameters: of the run.
        x, z: cell centres with ghost cells [R_E].
        background: flux function of the dipole, shape (x, z).

    """

    def __init__(self, parameters: Parameters, x: np.ndarray, z: np.ndarray, background: np.ndarray) -> None:
        self.wind = SolarWind(parameters)
        self.offset = -MAGNETOPAUSE_START * self.wind.imf[2]
        """Constant of the flux function that makes the wind's equal the initial dipole's at the magnetopause."""
        self.inflow_x, self.inflow_z = (points.ravel() for points in np.meshgrid(x[-GHOSTS:], z, indexing="ij"))
        self.inflow_basis = self.wind.basis(self.inflow_x, self.inflow_z)
        self.inflow_background = background[-GHOSTS:]
        self.inflow_conserved = np.zeros((6, GHOSTS, z.size))
        self.inflow_potential = np.zeros((GHOSTS, z.size))
        self.planet_density = parameters.inner_density * parameters.density
        self.planet_pressure = self.planet_density * parameters.inner_temperature / code_units.TEMPERATURE
        self._patch(np.hypot(*np.meshgrid(x, z, indexing="ij")) < parameters.inner_radius)

    def _patch(self, inside: np.ndarray) -> None:
        """The smallest rectangle around the planet with a margin of one cell."""
        along_x, along_z = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        self.patch = slice(along_x[0] - 1, along_x[-1] + 2), slice(along_z[0] - 1, along_z[-1] + 2)
        self.inside = inside[self.patch][1:-1, 1:-1]

    def advance(self, time: float) -> None:
        """Wind in the inflow columns at a point in time."""
        primitive, potential = self.wind.fields(self.inflow_basis, self.inflow_x, self.inflow_z, time)
        self.inflow_conserved[:] = conserve(primitive).reshape(self.inflow_conserved.shape)
        self.inflow_potential[:] = potential.reshape(self.inflow_potential.shape) + self.offset - self.inflow_background

    def fill(self, conserved: np.ndarray, potential: np.ndarray) -> None:
        """Outflow at -x, then at both ends of z, then the wind at +x."""
        for plane, flux, normal, sign in (
            (conserved, potential, MX, 1),
            (conserved.transpose(0, 2, 1), potential.T, MZ, 1),
            (conserved[:, :, ::-1].transpose(0, 2, 1), potential[:, ::-1].T, MZ, -1),
        ):
            edge = plane[:, GHOSTS].copy()
            inward = np.maximum(sign * edge[normal], 0.0)
            edge[ENERGY] -= 0.5 * inward**2 / edge[RHO]
            edge[normal] -= sign * inward
            plane[:, :GHOSTS] = edge[:, None]
            flux[1] = 2 * flux[2] - flux[3]
            flux[0] = 3 * flux[2] - 2 * flux[3]
        conserved[:, -GHOSTS:] = self.inflow_conserved
        potential[-GHOSTS:] = self.inflow_potential

    def finish(self, conserved: np.ndarray, potential: np.ndarray) -> None:
        """Planet: fixed density and temperature; velocity, By and A1 relax towards harmonic functions."""
        patch = conserved[:, *self.patch]
        fields = np.empty((5, *patch.shape[1:]))
        np.divide(patch[MX : MZ + 1], patch[RHO], out=fields[:3])
        fields[3], fields[4] = patch[BY], potential[self.patch]
        centre = fields[:, 1:-1, 1:-1]
        for _ in range(SWEEPS):
            across = fields[:, 2:, 1:-1] + fields[:, :-2, 1:-1]
            across += fields[:, 1:-1, 2:] + fields[:, 1:-1, :-2]
            across *= 0.25
            np.copyto(centre, across, where=self.inside)
        inner, where = patch[:, 1:-1, 1:-1], self.inside
        momentum = self.planet_density * centre[:3]
        energy = self.planet_pressure / (GAMMA - 1) + 0.5 * (momentum * centre[:3]).sum(axis=0)
        np.copyto(inner[RHO], self.planet_density, where=where)
        np.copyto(inner[MX : MZ + 1], momentum, where=where, casting="same_kind")
        np.copyto(inner[ENERGY], energy, where=where, casting="same_kind")
        np.copyto(inner[BY], centre[3], where=where, casting="same_kind")
        np.copyto(potential[self.patch][1:-1, 1:-1], centre[4], where=where)
