"""The simulated magnetosphere: symmetry, equilibrium, bow shock, identities between the stored variables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spacecast.core.grid import Grid
from spacecast.core.units import BOLTZMANN
from spacecast.simulation import code_units
from spacecast.simulation.magnetosphere import _make, cell_centres, frames, space_mask, spin_up
from spacecast.simulation.parameters import PRESETS
from spacecast.simulation.rates import GAMMA, GHOSTS
from spacecast.simulation.solver import conserve
from spacecast.simulation.wind import SolarWind

TINY = PRESETS["tiny"]
STEADY = replace(TINY, wave_amplitude=0.0, density_amplitude=0.0)


@pytest.fixture(scope="module")
def runs():
    """Frames (frame, variable, x, z) of the tiny preset by density."""
    short = replace(TINY, frames=30)
    return {density: np.stack(list(frames(replace(short, density=density)))) for density in (0.5, 1.0, 2.0)}


@pytest.fixture(scope="module")
def grid():
    return Grid(dict(zip("xz", cell_centres(TINY), strict=True)), space_mask(TINY))


def nose(density, rho, x):
    """Mean bow shock position on the Sun-Earth line [R_E]: outermost cell of twice the wind's density."""
    middle = rho.shape[-1] // 2
    line = rho[..., middle - 1 : middle + 1].mean(axis=-1)
    return np.mean([x[row > 2 * density].max() for row in line])


def test_frames_are_finite_in_space_and_missing_inside_the_planet(runs, grid):
    for values in runs.values():
        assert values.dtype == np.float32
        assert np.isfinite(values[:, :, grid.valid]).all()
        assert np.isnan(values[:, :, ~grid.valid]).all()
        assert (grid.to_nodes(values)[:, 9:] > 0).all()
        assert (grid.to_nodes(values).std(axis=(0, 2)) > 0).all()


def test_bow_shock_stands_closer_in_denser_wind_and_clear_of_the_inflow(runs, grid):
    noses = [nose(density, values[:, 9], grid.coordinates["x"]) for density, values in runs.items()]
    assert noses == sorted(noses, reverse=True)
    assert 11 < noses[-1] < noses[0] < 24


def test_divergence_of_stored_field_is_exactly_zero_in_single_precision(runs, grid):
    for values in runs.values():
        bx, _, bz = (torch.from_numpy(grid.to_nodes(values[:, number])) for number in range(3))
        divergence = grid.divergence(bx, bz)
        assert divergence.dtype == torch.float32
        assert divergence.abs().max().item() == 0.0


def test_electric_field_and_ideal_gas_law_hold_for_stored_values(runs, grid):
    for values in runs.values():
        nodes = grid.to_nodes(values).astype(np.float64).transpose(1, 0, 2)
        field, electric, velocity = nodes[0:3], nodes[3:6], nodes[6:9]
        assert np.abs(electric + 1e-3 * np.cross(velocity, field, axis=0)).max() < 1e-4
        rho, pressure, temperature = nodes[9:12]
        ideal = rho * 1e6 * BOLTZMANN * temperature * 1e6 * 1e9
        assert np.abs(ideal / pressure - 1).max() < 1e-5


def test_persistence_is_poor_at_lead_ten(runs, grid):
    """RMSE of persistence over the temporal standard deviation of each cell: near 1 is no better than climatology."""
    ratios = []
    for values in runs.values():
        nodes = grid.to_nodes(values).astype(np.float64)
        climatology = np.sqrt(nodes.var(axis=0).mean(axis=-1))
        ratios.append(np.sqrt(((nodes[10:] - nodes[:-10]) ** 2).mean(axis=(0, 2))) / climatology)
        first = np.sqrt(((nodes[1:] - nodes[:-1]) ** 2).mean(axis=(0, 2))) / climatology
        assert np.median(first) < 0.4
        assert np.median(ratios[-1]) > 0.7


def test_north_and_south_mirror_each_other_in_a_steady_southward_wind():
    solver = spin_up(replace(STEADY, imf=(0.0, 0.0, -3.0), spinup_coarse=200.0))
    conserved = solver.conserved.reshape(6, *solver.shape)[:, GHOSTS:-GHOSTS, GHOSTS:-GHOSTS]
    mirrored = conserved[:, :, ::-1] * np.array([1, 1, 1, -1, 1, 1])[:, None, None]
    assert solver.steps > 50
    assert np.abs(conserved - mirrored).max() < 1e-4


def test_static_dipole_in_uniform_gas_stays_exactly_at_rest():
    x, z = cell_centres(TINY, GHOSTS)
    primitive = np.zeros((6, x.size, z.size))
    primitive[0], primitive[4] = 1.0, 0.7
    solver = _make(TINY, conserve(primitive), np.zeros((x.size, z.size)), 0.0)
    state, potential = conserve(primitive).astype(np.float32).reshape(6, -1), np.zeros(x.size * z.size)
    rate, potential_rate = solver.rates(state, potential)
    interior = (slice(GHOSTS, -GHOSTS), slice(GHOSTS, -GHOSTS))
    assert np.abs(solver.rates.bz).max() > 10
    assert (rate.reshape(6, *solver.shape)[:, *interior] == 0).all()
    assert (potential_rate.reshape(solver.shape)[interior] == 0).all()


def test_subsolar_shock_in_a_steady_wind_satisfies_jump_conditions():
    """Perpendicular shock of unit density at rest: mass, momentum and energy give a quadratic for the compression."""
    steady = replace(PRESETS["small"], wave_amplitude=0.0, density_amplitude=0.0, frames=8)
    values = np.stack(list(frames(steady)))[-1].astype(np.float64)
    x, _ = cell_centres(steady)
    rho, pressure = values[[9, 10], :, 29:31].mean(axis=-1)
    shock = np.flatnonzero(rho > 2).max()
    field, wind_pressure = np.hypot(1.0, 3.0) / code_units.FIELD, steady.temperature / code_units.TEMPERATURE
    speed = steady.speed / code_units.VELOCITY
    sound, alfven = GAMMA * wind_pressure / speed**2, field**2 / speed**2
    quadratic = [(2 - GAMMA) * alfven, GAMMA * alfven + 2 * sound + GAMMA - 1, -(GAMMA + 1)]
    ratio = max(np.roots(quadratic).real)
    after = (wind_pressure + speed**2 * (1 - 1 / ratio) + field**2 / 2 * (1 - ratio**2)) * code_units.PRESSURE
    assert rho[shock - 2 : shock].mean() == pytest.approx(ratio, rel=0.05)
    assert pressure[shock - 2 : shock].mean() == pytest.approx(after, rel=0.05)
    assert 11 < x[shock] < 24


def test_wind_is_divergence_free_frozen_into_the_flow_and_alfvenic():
    wind = SolarWind(TINY)
    x, z = (points.ravel() for points in np.meshgrid(np.linspace(0, 400, 300), np.linspace(-30, 30, 40), indexing="ij"))

    def at(x, z, time):
        return wind.fields(wind.basis(x, z), x, z, time)

    step = 1e-4
    primitive, _ = at(x, z, 0.0)
    bx = -(at(x, z + step, 0.0)[1] - at(x, z - step, 0.0)[1]) / (2 * step)
    bz = (at(x + step, z, 0.0)[1] - at(x - step, z, 0.0)[1]) / (2 * step)
    scale = np.sqrt(TINY.density)
    np.testing.assert_allclose(bx - wind.imf[0], scale * (primitive[1] + wind.speed), atol=1e-6)
    np.testing.assert_allclose(bz - wind.imf[2], scale * primitive[3], atol=1e-6)
    np.testing.assert_allclose(primitive[5] - wind.imf[1], scale * primitive[2], atol=1e-12)
    np.testing.assert_allclose(at(x - 3.0 * wind.speed, z, 3.0)[0], primitive, atol=1e-9)
    by = (primitive[5] - wind.imf[1]) * code_units.FIELD
    assert by.std() == pytest.approx(TINY.wave_amplitude, rel=0.15)
    assert primitive[0].std() == pytest.approx(TINY.density_amplitude, rel=0.15)


def test_steady_wind_is_uniform():
    wind = SolarWind(STEADY)
    x = np.linspace(0, 50, 20)
    primitive, _ = wind.fields(wind.basis(x, 0 * x), x, 0 * x, 1.0)
    assert np.ptp(primitive, axis=1).max() == 0


def test_code_units_have_the_documented_values():
    values = code_units.FIELD, code_units.PRESSURE, code_units.TEMPERATURE, code_units.TIME
    assert values == pytest.approx((4.584625, 0.0167262, 1.211475, 63.71), rel=1e-5)
