"""Right-hand side of two-dimensional magnetohydrodynamics with all three vector components.

The fluid (rho, rho v, gas energy e, By) follows a MUSCL scheme (van Leer limiter, Rusanov flux), the in-plane field
the flux function A_y at cell centres, so that the central differences Bx = -dA/dz, Bz = dA/dx are free of divergence by
construction. A fixed, force-free background A0 (the dipole) is split off. Momentum and gas energy feel J x B as a
source, reduced by the simplified Boris factor f = c^2 / (c^2 + v_A^2). Code units of `code_units.py`.

Every field is one flat array over all cells, z fast, with two ghost cells on each side: neighbours are fixed offsets (1
along z, the row length along x), and every operation is a contiguous one into a preallocated buffer. Wrap-around from
row to row reaches ghost cells only.
"""

import numpy as np

GAMMA = 5 / 3
GHOSTS = 2
RHO, MX, MY, MZ, ENERGY, BY = range(6)
"""Rows of the conserved variables; the primitive ones hold v in rows 1-3 and the pressure in row 4."""


class Rates:
    """Time derivatives of the state.

    Args:
        background: A0, the flux function of the fixed field, with ghost cells, shape (x, z).
        spacing: side of a cell.
        pressure_floor: least pressure.
        speed_limit: Boris limit of the Alfven speed; infinite for plain magnetohydrodynamics.
        resistivity: weight of the dissipation of A1 (limited second differences, ~ spacing^3 where A1 is smooth).

    """

    def __init__(
        self, background: np.ndarray, spacing: float, pressure_floor: float, speed_limit: float, resistivity: float
    ) -> None:
        self.spacing, self.pressure_floor, self.resistivity = spacing, pressure_floor, resistivity
        self.inverse_limit = float(1 / speed_limit**2)
        cells, self.row = background.size, background.shape[1]
        self.inner = slice(2 * self.row, cells - 2 * self.row)
        """Columns of interior cells; their z ghosts are updated with them and filled again."""
        flat = background.astype(np.float64).ravel()
        self.background_bx, self.background_bz = np.zeros((2, cells), dtype=np.float32)
        self.background_bx[1:-1] = (flat[:-2] - flat[2:]) / (2 * spacing)
        self.background_bz[self.row : -self.row] = (flat[2 * self.row :] - flat[: -2 * self.row]) / (2 * spacing)

        def buffer(*shape: int) -> np.ndarray:
            return np.zeros(shape, dtype=np.float32)

        self.primitive, self.rate = buffer(6, cells), buffer(6, cells)
        self.bx, self.bz, self.boris, self.speed_x, self.speed_z = buffer(5, cells)
        self.step_x, self.step_z, self.curve_x, self.curve_z, self.limited, self.ohmic = buffer(6, cells)
        self.scratch, self.potential_rate = buffer(4, cells), buffer(cells)
        self.slope, self.work = buffer(6, cells), buffer(6, cells)
        self.sides, self.fluxes, self.faces = buffer(2, 6, cells), buffer(2, 6, cells), buffer(4, cells)

    def __call__(self, conserved: np.ndarray, potential: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
        product, inverse = self.scratch[:3], self.scratch[3]
        np.copyto(primitive[RHO], conserved[RHO])
        np.copyto(primitive[BY], conserved[BY])
        np.divide(1.0, conserved[RHO], out=inverse)
        np.multiply(momentum, inverse, out=primitive[MX : MZ + 1])
        np.multiply(momentum, primitive[MX : MZ + 1], out=product)
        pressure = primitive[ENERGY]
        np.add(product[0], product[1], out=pressure)
        pressure += product[2]
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
        inner = self.inner
        primitive = self.primitive[:, inner.start - 2 * offset : inner.stop + 2 * offset]
        faces = primitive.shape[1] - 3 * offset
        self._slopes(primitive, offset)
        left, right = primitive[:, offset : offset + faces], primitive[:, 2 * offset : 2 * offset + faces]
        sides = self.sides[:, :, :faces]
        np.add(left, self.slope[:, :faces], out=sides[0])
        np.subtract(right, self.slope[:, offset : offset + faces], out=sides[1])
        near, far = slice(inner.start - offset, inner.stop), slice(inner.start, inner.stop + offset)
        normal_field, fastest = self.faces[0, :faces], self.faces[1, :faces]
        np.add(field[near], field[far], out=normal_field)
        normal_field *= 0.5
        np.maximum(speed[near], speed[far], out=fastest)
        flux = self._rusanov(sides, normal, normal_field, fastest)
        target = self.rate[:, inner]
        if first:
            np.subtract(flux[:, offset:], flux[:, :-offset], out=target)
        else:
            difference = self.work[:, : target.shape[1]]
            np.subtract(flux[:, offset:], flux[:, :-offset], out=difference)
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
        energy = self.faces[2:4, :faces]
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
        current, dby_dx, dby_dz, part = (self.scratch[number, inner] for number in range(4))
        bx, bz, boris, ohmic = self.bx[inner], self.bz[inner], self.boris[inner], self.ohmic[inner]
        by, rate, force = self.primitive[BY], self.rate[:, inner], self.work[:3, : boris.size]
        velocity = self.primitive[MX : MZ + 1, inner]
        np.add(self.curve_x[inner], self.curve_z[inner], out=current)
        current *= -1 / self.spacing**2
        for offset, slope in ((row, dby_dx), (1, dby_dz)):
            ahead, behind = (by[inner.start + shift : inner.stop + shift] for shift in (offset, -offset))
            np.subtract(ahead, behind, out=slope)
            slope *= scale
        np.multiply(current, bz, out=force[0])
        np.multiply(bx, dby_dx, out=force[1])
        np.multiply(current, bx, out=force[2])
        np.negative(force[2], out=force[2])
        np.multiply(by[inner], dby_dx, out=part)
        force[0] -= part
        np.multiply(bz, dby_dz, out=part)
        force[1] += part
        np.multiply(by[inner], dby_dz, out=part)
        force[2] -= part
        force *= boris
        rate[MX : MZ + 1] += force
        force *= velocity
        for power in force:
            rate[ENERGY] += power
        np.multiply(current, ohmic, out=part)
        np.minimum(part, 0.0, out=part)
        rate[ENERGY] -= part
        change = self.potential_rate[inner]
        np.multiply(velocity[2], bx, out=change)
        np.multiply(velocity[0], bz, out=part)
        change -= part
        change += ohmic

    def crossing_time(self) -> float:
        """Shortest time that a wave takes to cross a cell, for the state that was seen last."""
        total = np.add(self.speed_x[self.inner], self.speed_z[self.inner], out=self.scratch[0, self.inner])
        return float(self.spacing / total.reshape(-1, self.row)[:, GHOSTS:-GHOSTS].max())
