"""Finite-volume solver for two-dimensional magnetohydrodynamics with all three vector components.

The fluid (rho, rho v, gas energy e, By) is advanced by a MUSCL scheme (van Leer limiter, Rusanov flux), the in-plane field by
the flux function A_y at cell centres, so that the central differences Bx = -dA/dz, Bz = dA/dx are free of divergence by
construction. A fixed, force-free background A0 (the dipole) is split off. Momentum and gas energy feel J x B as a
source, reduced by the simplified Boris factor f = c^2 / (c^2 + v_A^2). Code units of `units.py`.

Every field is one flat array over all cells, z fast, with two ghost cells on each side: neighbours are fixed offsets (1
along z, the row length along x), and every operation is a contiguous one into a preallocated buffer. Wrap-around from row
to row reaches ghost cells only.
"""

from typing import Protocol

import numpy as np

GAMMA = 5 / 3
GHOSTS = 2
RHO, MX, MY, MZ, ENERGY, BY = range(6)
"""Rows of the conserved variables; the primitive ones hold v in rows 1-3 and the pressure in row 4."""


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
    conserved[ENERGY] = primitive[ENERGY] / (GAMMA - 1) + 0.5 * (conserved[MX : MZ + 1] * primitive[MX : MZ + 1]).sum(axis=0)
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
        self.density_floor, self.pressure_floor, self.resistivity, self.cfl = density_floor, pressure_floor, resistivity, cfl
        self.inverse_limit = float(1 / speed_limit**2)
        self.shape = potential.shape
        cells = potential.size
        self.row = self.shape[1]
        self.inner = slice(2 * self.row, cells - 2 * self.row)
        """Columns of interior cells; their z ghosts are updated with them and filled again."""
        self.conserved = np.array(conserved, dtype=np.float32).reshape(6, cells)
        self.potential = np.array(potential, dtype=np.float64).reshape(cells)
        self.background = np.array(background, dtype=np.float64)
        flat = self.background.ravel()
        self.background_bx, self.background_bz = np.zeros((2, cells), dtype=np.float32)
        self.background_bx[1:-1] = (flat[:-2] - flat[2:]) / (2 * spacing)
        self.background_bz[self.row : -self.row] = (flat[2 * self.row :] - flat[: -2 * self.row]) / (2 * spacing)
        self._allocate(cells)
        boundary.advance(time)
        self._fill()

    def _allocate(self, cells: int) -> None:
        """Every buffer of a time step."""
        def buffer(*shape: int) -> np.ndarray:
            return np.zeros(shape, dtype=np.float32)

        self.primitive, self.rate, self.other = buffer(6, cells), buffer(6, cells), self.conserved.copy()
        self.slope, self.work = buffer(6, cells), buffer(6, cells)
        self.sides, self.fluxes = buffer(2, 6, cells), buffer(2, 6, cells)
        self.bx, self.bz, self.boris, self.speed_x, self.speed_z = buffer(5, cells)
        self.step_x, self.step_z, self.curve_x, self.curve_z, self.limited, self.ohmic = buffer(6, cells)
        self.scratch = buffer(8, cells)
        self.potential_rate = buffer(cells)
        self.other_potential = self.potential.copy()

    def rates(self, conserved: np.ndarray, potential: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Time derivatives of flat conserved variables and A1; valid in interior cells, buffers of the solver.

        Returns:
            d/dt of (rho, rho v, e, By), shape (6, cell), and of A1, shape (cell,).

        """
        self._primitives(conserved)
        self._magnetic(potential)
        self._signal_speeds()
        self._sweep(self.row, MX, self.bx, self.speed_x, first=True)
        self._sweep(1, MZ, self.bz, self.speed_z, first=False)
        self.rate[:, self.inner] *= -0.5 / self.spacing
        self._dissipation()
        self._sources()
        return self.rate, self.potential_rate

    def _primitives(self, conserved: np.ndarray) -> None:
        """Primitive variables of all cells, pressure floored."""
        primitive, momentum = self.primitive, conserved[MX : MZ + 1]
        work, scratch = self.work, self.scratch
        np.copyto(primitive[RHO], conserved[RHO])
        np.copyto(primitive[BY], conserved[BY])
        np.divide(1.0, conserved[RHO], out=scratch[0])
        np.multiply(momentum, scratch[0], out=primitive[MX : MZ + 1])
        np.multiply(momentum, primitive[MX : MZ + 1], out=work[:3])
        pressure = primitive[ENERGY]
        np.add(work[0], work[1], out=pressure)
        pressure += work[2]
        pressure *= -0.5
        pressure += conserved[ENERGY]
        pressure *= GAMMA - 1
        np.maximum(pressure, self.pressure_floor, out=pressure)

    def _magnetic(self, potential: np.ndarray) -> None:
        """In-plane field and second differences of A1 in all cells but the outermost column."""
        row, scale, some = self.row, 0.5 / self.spacing, slice(self.row, -self.row)
        for offset, step, curve, field, background, sign in (
            (row, self.step_x, self.curve_x, self.bz, self.background_bz, 1.0),
            (1, self.step_z, self.curve_z, self.bx, self.background_bx, -1.0),
        ):
            np.subtract(potential[offset:], potential[:-offset], out=step[:-offset], casting="same_kind")
            after, before = step[some], step[row - offset : -row - offset]
            np.subtract(after, before, out=curve[some])
            np.add(after, before, out=field[some])
            field[some] *= sign * scale
            field[some] += background[some]

    def _signal_speeds(self) -> None:
        """Boris factor and |v| + fast speed along x and z."""
        some = slice(self.row, -self.row)
        square, inverse, fast, squared_by = (self.scratch[number, some] for number in range(4))
        boris, primitive = self.boris[some], self.primitive[:, some]
        np.multiply(self.bx[some], self.bx[some], out=square)
        np.multiply(self.bz[some], self.bz[some], out=fast)
        square += fast
        np.multiply(primitive[BY], primitive[BY], out=squared_by)
        square += squared_by
        np.divide(1.0, primitive[RHO], out=inverse)
        square *= inverse
        np.multiply(square, self.inverse_limit, out=boris)
        boris += 1.0
        np.divide(1.0, boris, out=boris)
        square *= boris
        np.multiply(primitive[ENERGY], inverse, out=fast)
        fast *= GAMMA
        fast += square
        np.sqrt(fast, out=fast)
        for component, speed in ((MX, self.speed_x), (MZ, self.speed_z)):
            np.abs(primitive[component], out=speed[some])
            speed[some] += fast

    def _sweep(self, offset: int, normal: int, field: np.ndarray, speed: np.ndarray, first: bool) -> None:
        """Add (or set, when first) twice the flux difference along one direction to the rate."""
        cells = slice(self.inner.start - 2 * offset, self.inner.stop + 2 * offset)
        primitive = self.primitive[:, cells]
        size = primitive.shape[1]
        self._slopes(primitive, offset)
        faces = size - 3 * offset
        left, right = primitive[:, offset : offset + faces], primitive[:, 2 * offset : 2 * offset + faces]
        sides = self.sides[:, :, :faces]
        np.add(left, self.slope[:, :faces], out=sides[0])
        np.subtract(right, self.slope[:, offset : offset + faces], out=sides[1])
        start = cells.start + offset
        near, far = slice(start, start + faces), slice(start + offset, start + offset + faces)
        normal_field, fastest = self.scratch[0, :faces], self.scratch[1, :faces]
        np.add(field[near], field[far], out=normal_field)
        normal_field *= 0.5
        np.maximum(speed[near], speed[far], out=fastest)
        flux = self._rusanov(sides, normal, normal_field, fastest)
        target = self.rate[:, self.inner]
        inner = target.shape[1]
        if first:
            np.subtract(flux[:, offset : offset + inner], flux[:, :inner], out=target)
        else:
            difference = self.work[:, :inner]
            np.subtract(flux[:, offset : offset + inner], flux[:, :inner], out=difference)
            target += difference

    def _slopes(self, primitive: np.ndarray, offset: int) -> None:
        """Half of the van Leer slopes of all cells but `offset` at each end."""
        steps, size = self.work[:, : primitive.shape[1] - offset], primitive.shape[1] - 2 * offset
        np.subtract(primitive[:, offset:], primitive[:, :-offset], out=steps)
        before, after = steps[:, :-offset], steps[:, offset:]
        slope, total = self.slope[:, :size], self.fluxes[0, :, :size]
        np.multiply(before, after, out=slope)
        np.maximum(slope, 0.0, out=slope)
        np.add(before, after, out=total)
        total += 1e-30
        slope /= total

    def _rusanov(self, sides: np.ndarray, normal: int, normal_field: np.ndarray, fastest: np.ndarray) -> np.ndarray:
        """Twice the Rusanov flux from the primitive variables left and right of each face."""
        faces = sides.shape[-1]
        rho, velocity, pressure, by = sides[:, RHO], sides[:, MX : MZ + 1], sides[:, ENERGY], sides[:, BY]
        fluxes = self.fluxes[:, :, :faces]
        speed = sides[:, normal]
        momentum = self.slope.reshape(2, 3, -1)[:, :, :faces]
        product = self.work.reshape(2, 3, -1)[:, :, :faces]
        energy = self.scratch[2:4, :faces]
        np.multiply(velocity, rho[:, None], out=momentum)
        np.multiply(momentum, velocity, out=product)
        np.add(product[:, 0], product[:, 1], out=energy)
        energy += product[:, 2]
        energy *= 0.5
        np.multiply(pressure, 1 / (GAMMA - 1), out=product[:, 0])
        energy += product[:, 0]
        np.multiply(momentum, speed[:, None], out=fluxes[:, MX : MZ + 1])
        fluxes[:, normal] += pressure
        np.add(energy, pressure, out=product[:, 0])
        np.multiply(product[:, 0], speed, out=fluxes[:, ENERGY])
        np.multiply(by, speed, out=fluxes[:, BY])
        np.multiply(velocity[:, 1], normal_field, out=product[:, 0])
        fluxes[:, BY] -= product[:, 0]
        flux, jump = fluxes[0], fluxes[1]
        flux[MX:] += fluxes[1, MX:]
        np.add(momentum[0, normal - MX], momentum[1, normal - MX], out=flux[RHO])
        np.subtract(rho[1], rho[0], out=jump[RHO])
        np.subtract(momentum[1], momentum[0], out=jump[MX : MZ + 1])
        np.subtract(energy[1], energy[0], out=jump[ENERGY])
        np.subtract(by[1], by[0], out=jump[BY])
        jump *= fastest
        flux -= jump
        return flux

    def _dissipation(self) -> None:
        """Ohmic term S of the flux function: second differences without their smooth part, times signal speed."""
        inner, row = self.inner, self.row
        low, high, total = (self.scratch[number] for number in range(3))
        ohmic = self.ohmic[inner]
        ohmic[:] = 0.0
        for offset, curve, speed in ((row, self.curve_x, self.speed_x), (1, self.curve_z, self.speed_z)):
            some = slice(inner.start - offset, inner.stop)
            here, there = curve[some], curve[some.start + offset : some.stop + offset]
            np.minimum(here, there, out=low[some])
            np.maximum(low[some], 0.0, out=low[some])
            np.maximum(here, there, out=high[some])
            np.minimum(high[some], 0.0, out=high[some])
            limited = self.limited[some]
            np.add(low[some], high[some], out=limited)
            part = total[inner]
            np.add(limited[:-offset], limited[offset:], out=part)
            part *= -0.5
            part += curve[inner]
            part *= speed[inner]
            ohmic += part
        ohmic *= self.resistivity * 0.5 / self.spacing

    def _sources(self) -> None:
        """J x B force, its work, numerical Ohmic heating; induction of the flux function."""
        inner, row, scale = self.inner, self.row, 0.5 / self.spacing
        current, dby_dx, dby_dz, force, part, work = (self.scratch[number, inner] for number in range(6))
        bx, bz, boris, ohmic = self.bx[inner], self.bz[inner], self.boris[inner], self.ohmic[inner]
        by, rate = self.primitive[BY], self.rate[:, inner]
        velocity = self.primitive[MX : MZ + 1, inner]
        np.add(self.curve_x[inner], self.curve_z[inner], out=current)
        current *= -1 / self.spacing**2
        np.subtract(by[inner.start + row : inner.stop + row], by[inner.start - row : inner.stop - row], out=dby_dx)
        dby_dx *= scale
        np.subtract(by[inner.start + 1 : inner.stop + 1], by[inner.start - 1 : inner.stop - 1], out=dby_dz)
        dby_dz *= scale
        work[:] = 0.0
        for number, first, second, minus in (
            (0, (current, bz), (by[inner], dby_dx), True),
            (1, (bx, dby_dx), (bz, dby_dz), False),
            (2, (current, bx), (by[inner], dby_dz), False),
        ):
            np.multiply(*first, out=force)
            np.multiply(*second, out=part)
            if minus:
                force -= part
            else:
                force += part
            force *= boris
            np.multiply(force, velocity[number], out=part)
            if number == 2:
                rate[MZ] -= force
                work -= part
            else:
                rate[MX + number] += force
                work += part
        rate[ENERGY] += work
        np.multiply(current, ohmic, out=part)
        np.minimum(part, 0.0, out=part)
        rate[ENERGY] -= part
        change = self.potential_rate[inner]
        np.multiply(velocity[2], bx, out=change)
        np.multiply(velocity[0], bz, out=part)
        change -= part
        change += ohmic

    def largest_step(self) -> float:
        """Time step of the Courant condition for the state that `rates` saw last."""
        total = np.add(self.speed_x[self.inner], self.speed_z[self.inner], out=self.scratch[0, self.inner])
        interior = total.reshape(-1, self.row)[:, GHOSTS:-GHOSTS]
        return float(self.cfl * self.spacing / interior.max())

    def step(self, limit: float = float("inf")) -> float:
        """One step of Heun's method (SSP-RK2), at most `limit` long; returns its length, NaN when unstable."""
        inner, state, other = self.inner, self.conserved[:, self.inner], self.other[:, self.inner]
        potential, other_potential = self.potential[inner], self.other_potential[inner]
        rate, potential_rate = self.rate[:, inner], self.potential_rate[inner]
        self.rates(self.conserved, self.potential)
        step = min(self.largest_step(), limit)
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
        kinetic, part = self.scratch[0, self.inner], self.scratch[1, self.inner]
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
