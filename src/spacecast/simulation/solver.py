"""State of the plasma and its advance in time."""

from typing import Protocol

import numpy as np

from spacecast.simulation.rates import ENERGY, GAMMA, MX, MY, MZ, RHO, Rates


class Boundary(Protocol):
    """What surrounds the interior cells."""

    def advance(self, time: float) -> None:
        """Compute whatever depends on time, once per step."""

    def fill(self, conserved: np.ndarray, potential: np.ndarray) -> None:
        """Set the ghost cells of (6, x, z) and (x, z)."""

    def finish(self, conserved: np.ndarray, potential: np.ndarray) -> None:
        """Act on the interior after a whole step."""


def conserve(primitive: np.ndarray) -> np.ndarray:
    """Primitive (rho, vx, vy, vz, p, By) to conserved (rho, rho v, e, By), shape (6, ...)."""
    conserved = np.array(primitive)
    conserved[MX : MZ + 1] *= primitive[RHO]
    kinetic = 0.5 * (conserved[MX : MZ + 1] * primitive[MX : MZ + 1]).sum(axis=0)
    conserved[ENERGY] = primitive[ENERGY] / (GAMMA - 1) + kinetic
    return conserved


class Solver:
    """State and time step.

    Args:
        conserved: (rho, rho v, e, By) with ghost cells, shape (6, x, z).
        potential: A1, the flux function without the background, with ghost cells, shape (x, z).
        background: A0, shape (x, z).
        spacing: side of a cell.
        boundary: fills ghost cells.
        time: of the initial state.
        density_floor, pressure_floor: least values.
        speed_limit: Boris limit of the Alfven speed; infinite for plain magnetohydrodynamics.
        resistivity: weight of the dissipation of A1 (limited second differences, ~ spacing^3 where A1 is smooth).
        cfl: Courant number.

    """

    def __init__(
        self,
        conserved: np.ndarray,
        potential: np.ndarray,
        background: np.ndarray,
        spacing: float,
        boundary: Boundary,
        *,
        time: float = 0.0,
        density_floor: float = 0.0,
        pressure_floor: float = 0.0,
        speed_limit: float = float("inf"),
        resistivity: float = 0.15,
        cfl: float = 0.8,
    ) -> None:
        self.spacing, self.boundary, self.time, self.steps = spacing, boundary, time, 0
        self.density_floor, self.pressure_floor, self.cfl = density_floor, pressure_floor, cfl
        self.shape, cells = potential.shape, potential.size
        self.background = np.array(background, dtype=np.float64)
        self.rates = Rates(self.background, spacing, pressure_floor, speed_limit, resistivity)
        self.inner = self.rates.inner
        self.conserved = np.array(conserved, dtype=np.float32).reshape(6, cells)
        self.potential = np.array(potential, dtype=np.float64).reshape(cells)
        self.other, self.other_potential = self.conserved.copy(), self.potential.copy()
        boundary.advance(time)
        self._fill()

    def step(self, limit: float = float("inf")) -> float:
        """One step of Heun's method (SSP-RK2), at most `limit` long; returns its length, NaN when unstable."""
        inner, state, other = self.inner, self.conserved[:, self.inner], self.other[:, self.inner]
        potential, other_potential = self.potential[inner], self.other_potential[inner]
        rate, potential_rate = (values[..., inner] for values in self.rates(self.conserved, self.potential))
        step = min(self.cfl * self.rates.crossing_time(), limit)
        rate *= step
        np.add(state, rate, out=other)
        np.multiply(potential_rate, step, out=other_potential)
        other_potential += potential
        self._floor(other)
        self.boundary.advance(self.time + step)
        self.boundary.fill(self.other.reshape(6, *self.shape), self.other_potential.reshape(self.shape))
        self.rates(self.other, self.other_potential)
        rate *= step
        state += other
        state += rate
        state *= 0.5
        potential_rate *= step
        potential += other_potential
        potential += potential_rate
        potential *= 0.5
        self._floor(state)
        self._fill()
        self.boundary.finish(self.conserved.reshape(6, *self.shape), self.potential.reshape(self.shape))
        self.time += step
        self.steps += 1
        return step

    def run_until(self, end: float) -> None:
        """Advance to a point in time exactly.

        Raises:
            FloatingPointError: when the solution is not finite any more.

        """
        while end - self.time > 1e-9:
            if not np.isfinite(self.step(end - self.time)):
                raise FloatingPointError(f"the solution is not finite after {self.steps} steps")
        self.time = end

    def _floor(self, state: np.ndarray) -> None:
        """Keep density and pressure above their floors in columns of interior cells."""
        kinetic, part = self.rates.scratch[:2, self.inner]
        np.maximum(state[RHO], self.density_floor, out=state[RHO])
        np.multiply(state[MX], state[MX], out=kinetic)
        for row in (MY, MZ):
            np.multiply(state[row], state[row], out=part)
            kinetic += part
        kinetic /= state[RHO]
        kinetic *= 0.5
        kinetic += self.pressure_floor / (GAMMA - 1)
        np.maximum(state[ENERGY], kinetic, out=state[ENERGY])

    def _fill(self) -> None:
        """Ghost cells of the current state."""
        self.boundary.fill(self.conserved.reshape(6, *self.shape), self.potential.reshape(self.shape))
