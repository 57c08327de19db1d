"""The scheme against exact solutions of magnetohydrodynamics."""

import numpy as np
import pytest
from scipy.optimize import brentq

from spacecast.simulation.rates import GAMMA
from spacecast.simulation.solver import Solver, conserve


class Channel:
    """Uniform along z; along x periodic or with zero gradient (A1 continued linearly)."""

    def __init__(self, periodic: bool):
        self.periodic = periodic

    def advance(self, time):
        pass

    def fill(self, conserved, potential):
        for field, linear in ((conserved, False), (potential, True)):
            if self.periodic:
                field[..., :2, :] = field[..., -4:-2, :]
                field[..., -2:, :] = field[..., 2:4, :]
            else:
                for ghost in (1, 2):
                    for edge, inward in ((2, 1), (-3, -1)):
                        slope = linear * ghost * (field[..., edge + inward, :] - field[..., edge, :])
                        field[..., edge - inward * ghost, :] = field[..., edge, :] - slope
            field[..., :2] = field[..., -4:-2]
            field[..., -2:] = field[..., 2:4]

    def finish(self, conserved, potential):
        pass


def channel(cells, primitive, potential, periodic, bx=0.0, length=1.0):
    """A solver of functions of x on [0, length] that are uniform along z, with a constant Bx as background."""
    spacing = length / cells
    x, z = (np.arange(-2, cells + 2) + 0.5) * spacing, (np.arange(-2, 4) + 0.5) * spacing
    plane = np.ones((x.size, z.size))
    state = np.stack([np.broadcast_to(value, x.shape)[:, None] * plane for value in primitive(x)])
    background = -bx * z * plane
    solver = Solver(conserve(state), potential(x)[:, None] * plane, background, spacing, Channel(periodic))
    return solver, x[2:-2]


def rows(solver):
    """Conserved variables of the middle row, shape (6, cell), and Bz."""
    conserved = solver.conserved.reshape(6, *solver.shape)[:, 2:-2, 3].astype(float)
    potential = (solver.potential.reshape(solver.shape) + solver.background)[:, 3]
    return conserved, (potential[3:-1] - potential[1:-3]) / (2 * solver.spacing)


def alfven_wave(cells):
    """L1 errors of Bz and By over the amplitude after one period of a circularly polarised wave; change of mass."""
    amplitude, k = 0.1, 2 * np.pi

    def primitive(x):
        by, bz = amplitude * np.sin(k * x), amplitude * np.cos(k * x)
        return 1.0, 0.0, -by, -bz, 0.1, by

    solver, x = channel(cells, primitive, lambda x: amplitude / k * np.sin(k * x), periodic=True, bx=1.0)
    before = rows(solver)[0][0].sum()
    solver.run_until(1.0)
    conserved, bz = rows(solver)
    errors = np.abs(bz - amplitude * np.cos(k * x)).mean(), np.abs(conserved[5] - amplitude * np.sin(k * x)).mean()
    return *(error / amplitude for error in errors), abs(conserved[0].sum() / before - 1)


def test_alfven_wave_converges_at_second_order_and_conserves_mass():
    coarse, fine = alfven_wave(64), alfven_wave(128)
    for component in range(2):
        assert fine[component] < 0.003
        assert np.log2(coarse[component] / fine[component]) > 1.8
    assert max(coarse[2], fine[2]) < 1e-5


def exact_sod(position, left=(1.0, 1.0), right=(0.125, 0.1)):
    """Density of the shock tube at x / t with the gas at rest on both sides (density, pressure)."""
    g = GAMMA
    (rho_l, p_l), (rho_r, p_r) = left, right
    c_l = np.sqrt(g * p_l / rho_l)

    def rarefaction(p):
        return 2 * c_l / (g - 1) * (1 - (p / p_l) ** ((g - 1) / (2 * g)))

    def shock(p):
        return (p - p_r) * np.sqrt(2 / rho_r / ((g + 1) * p + (g - 1) * p_r))

    p = brentq(lambda p: rarefaction(p) - shock(p), p_r, p_l)
    speed, ratio = shock(p), (g - 1) / (g + 1)
    behind_fan, behind_shock = rho_l * (p / p_l) ** (1 / g), rho_r * (p / p_r + ratio) / (ratio * p / p_r + 1)
    front = speed * behind_shock / (behind_shock - rho_r)
    tail = speed - np.sqrt(g * p / behind_fan)
    fan = rho_l * (2 / (g + 1) - (g - 1) / (g + 1) * position / c_l) ** (2 / (g - 1))
    bounds = [position < -c_l, position < tail, position < speed, position < front]
    return np.select(bounds, [rho_l, fan, behind_fan, behind_shock], rho_r)


@pytest.mark.parametrize(("cells", "bound"), [(100, 0.010), (200, 0.006), (400, 0.0035)])
def test_shock_tube_approaches_exact_solution(cells, bound):
    def primitive(x):
        return np.where(x < 0.5, 1.0, 0.125), 0.0, 0.0, 0.0, np.where(x < 0.5, 1.0, 0.1), 0.0

    solver, x = channel(cells, primitive, np.zeros_like, periodic=False)
    solver.run_until(0.2)
    density = rows(solver)[0][0]
    assert np.abs(density - exact_sod((x - 0.5) / 0.2)).mean() < bound


def shock_behind_wall(speed, pressure, field):
    """Compression and pressure where gas of unit density stops at a perpendicular fast shock (Rankine-Hugoniot)."""
    g = GAMMA

    def downstream(ratio):
        front = speed / (ratio - 1)
        return front, pressure + (1 - ratio**2) * field**2 / 2 + (speed + front) ** 2 - ratio * front**2

    def energy(ratio):
        front, after = downstream(ratio)
        before = (speed + front) * (g / (g - 1) * pressure + field**2 + (speed + front) ** 2 / 2)
        return before - front * (g / (g - 1) * after + ratio**2 * field**2 + ratio * front**2 / 2)

    ratio = brentq(energy, 1.05, 3.99)
    return ratio, *downstream(ratio)


def test_perpendicular_fast_shock_satisfies_jump_conditions():
    speed, pressure, field = 3.0, 0.5, 1.0
    ratio, front, after = shock_behind_wall(speed, pressure, field)
    assert 2.5 < (speed + front) / np.sqrt(GAMMA * pressure + field**2) < 4

    def primitive(x):
        return 1.0, np.where(x < 2, speed, -speed), 0.0, 0.0, pressure, 0.0

    solver, x = channel(400, primitive, lambda x: field * x, periodic=False, length=4.0)
    end = 1.2 / front
    solver.run_until(end)
    conserved, bz = rows(solver)
    middle = np.abs(np.abs(x - 2) - 0.6) < 0.3
    kinetic = 0.5 * (conserved[1:4] ** 2).sum(axis=0) / conserved[0]
    assert conserved[0][middle].mean() == pytest.approx(ratio, rel=0.02)
    assert bz[middle].mean() == pytest.approx(ratio * field, rel=0.02)
    assert ((conserved[4] - kinetic) * (GAMMA - 1))[middle].mean() == pytest.approx(after, rel=0.02)


def test_step_reaches_the_requested_time_exactly_and_unstable_runs_are_reported():
    solver, _ = channel(16, lambda x: (1.0, 1.0, 0.0, 0.0, 1.0, 0.0), np.zeros_like, periodic=True)
    solver.run_until(0.1)
    assert solver.time == 0.1
    assert solver.steps > 1
    solver.conserved[4] = np.nan
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="not finite"):
        solver.run_until(0.2)
