"""The equations against waves known in closed form and against the right-hand side that the simulation advances."""

import math

import numpy as np
import pytest
import torch

from spacecast.core.grid import Grid
from spacecast.core.units import EARTH_RADIUS, PROTON_MASS, VACUUM_PERMEABILITY
from spacecast.formulas.mhd import ADIABATIC_INDEX, Fields, Rates, ideal_rates, slope_weights, slopes
from spacecast.simulation import code_units
from spacecast.simulation.rates import Rates as SimulatedRates
from spacecast.simulation.solver import conserve

KM_PER_RADIUS = EARTH_RADIUS / 1e3
DENSITY, PRESSURE = 2.0, 0.3  # 1/cm3, nPa
SOUND = math.sqrt(ADIABATIC_INDEX * PRESSURE * 1e-9 / (DENSITY * 1e6 * PROTON_MASS)) / 1e3  # km/s
ALFVEN_PER_NT = 1e-9 / math.sqrt(VACUUM_PERMEABILITY * DENSITY * 1e6 * PROTON_MASS) / 1e3  # km/s
WIND, WAVE = (-60.0, 25.0, 40.0), (0.3, -0.5)  # km/s; wave numbers along x and z, 1/R_E
DIRECTION = torch.tensor([WAVE[0], 0, WAVE[1]], dtype=torch.float64) / math.hypot(*WAVE)
ACROSS = (torch.tensor([0, 1.0, 0], dtype=torch.float64), torch.tensor([-DIRECTION[2], 0, DIRECTION[0]]))


def plane(cells, hole=False):
    """A square of side 8 R_E."""
    side = (np.arange(cells) + 0.5) * 8 / cells - 4
    distance = np.hypot(side[:, None], side[None, :])
    return Grid({"x": side, "z": side}, (distance > 1.5) if hole else np.ones_like(distance, dtype=bool))


def fields(values):
    """Rows (8, ...) by name."""
    return Fields(values[0], values[1], values[2:5], values[5:8])


def by_differences(grid, values):
    """Rates of a state (8, node) with slopes from differences."""
    neighbours = torch.as_tensor(grid.neighbours)
    along = slopes(values, neighbours, slope_weights(neighbours, grid.spacing).double())
    return ideal_rates(fields(values), *map(fields, along))


def at_rest(phase):
    """Log n, log P, v and B of a gas without field in a wind, shape (8, node)."""
    rows = [math.log(DENSITY), math.log(PRESSURE), *WIND, 0, 0, 0]
    return torch.stack([torch.full_like(phase, value) for value in rows])


def advection(phase):
    """Density that the wind carries with it; nothing else changes. State, and its derivative by the phase's time."""
    state = at_rest(phase)
    state[0] += 0.4 * phase.cos()
    change = torch.zeros_like(state)
    change[0] = 0.4 * phase.sin()
    return state, change, 0.0


def sound(phase, size=1e-7):
    """A weak sound wave along the wave number."""
    state = at_rest(phase)
    wave, change = size * phase.cos(), torch.zeros_like(state)
    amplitudes = torch.zeros(8, dtype=torch.float64)
    amplitudes[0], amplitudes[1], amplitudes[2:5] = 1, ADIABATIC_INDEX, SOUND * DIRECTION
    state += amplitudes[:, None] * wave
    change += amplitudes[:, None] * size * phase.sin()
    return state, change, SOUND


def alfven(phase, along=12.0, size=9.0):
    """A circularly polarised Alfven wave, exact at any size: v = wind - B_across / sqrt(mu0 n m)."""
    state, change = at_rest(phase), torch.zeros(8, len(phase), dtype=torch.float64)
    across = size * (ACROSS[0][:, None] * phase.cos() + ACROSS[1][:, None] * phase.sin())
    turned = size * (ACROSS[0][:, None] * phase.sin() - ACROSS[1][:, None] * phase.cos())
    state[5:8] = along * DIRECTION[:, None] + across
    state[2:5] -= ALFVEN_PER_NT * across
    change[5:8], change[2:5] = turned, -ALFVEN_PER_NT * turned
    return state, change, ALFVEN_PER_NT * along


def errors(wave, cells):
    """Largest error of each rate on nodes with all neighbours, over the largest size of it or of a term in it."""
    grid = plane(cells)
    x, z = torch.as_tensor(grid.positions).T
    state, change, speed = wave(WAVE[0] * x + WAVE[1] * z)
    frequency = (math.hypot(*WAVE) * speed + WAVE[0] * WIND[0] + WAVE[1] * WIND[2]) / KM_PER_RADIUS
    wanted, found = fields(change * frequency), by_differences(grid, state)
    inner = grid.stencil[0]
    sizes = change.abs().amax(dim=1).clamp(min=1e-300) * max(abs(frequency), 1e-3)
    result = []
    for name, size in zip(Fields._fields, (sizes[0], sizes[1], sizes[2:5].max(), sizes[5:8].max()), strict=True):
        gap = (getattr(found, name) - getattr(wanted, name))[..., inner].abs().max()
        result.append(float(gap / size) if size > 1e-200 else float(gap))
    return np.array(result)


@pytest.mark.parametrize("wave", [advection, sound, alfven])
def test_waves_move_as_they_should_to_second_order(wave):
    coarse, fine = errors(wave, 40), errors(wave, 80)
    assert (fine < 5e-3).all()
    converging = fine > 1e-6
    assert converging.any()
    np.testing.assert_allclose(coarse[converging] / fine[converging], 4, rtol=0.1)


def test_slopes_are_exact_for_a_plane_also_beside_a_hole_and_an_edge():
    grid = plane(12, hole=True)
    x, z = torch.as_tensor(grid.positions).T
    neighbours = torch.as_tensor(grid.neighbours)
    values = torch.stack([2 * x - 3 * z, x, z]).expand(4, 3, -1)
    along_x, along_z = slopes(values, neighbours, slope_weights(neighbours, grid.spacing).double())
    torch.testing.assert_close(along_x, torch.tensor([2.0, 1, 0]).double()[:, None].expand_as(values))
    torch.testing.assert_close(along_z, torch.tensor([-3.0, 0, 1]).double()[:, None].expand_as(values))


def test_a_node_without_neighbours_along_an_axis_has_no_slope_along_it():
    valid = np.zeros((3, 4), dtype=bool)
    valid[1] = True
    grid = Grid({"x": np.arange(3.0), "z": 2 * np.arange(4.0)}, valid)
    neighbours = torch.as_tensor(grid.neighbours)
    along_x, along_z = slopes(torch.arange(4.0)[None], neighbours, slope_weights(neighbours, grid.spacing))
    assert along_x.tolist() == [[0, 0, 0, 0]]
    assert along_z.tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_the_field_in_the_plane_is_the_curl_of_the_potential():
    """dB_x/dt = -d/dz dA/dt and dB_z/dt = d/dx dA/dt, for a field without divergence."""
    gaps = []
    for cells in (40, 80):
        grid = plane(cells)
        x, z = torch.as_tensor(grid.positions).T
        rates = by_differences(grid, smooth_state(x, z))
        neighbours = torch.as_tensor(grid.neighbours)
        along = slopes(rates.potential[None], neighbours, slope_weights(neighbours, grid.spacing).double())
        deep = np.abs(grid.positions).max(axis=1) < 3.5
        curl = torch.stack([-along[1][0], along[0][0]])
        gaps.append(float((curl - rates.magnetic[[0, 2]])[:, deep].abs().max() / rates.magnetic.abs().max()))
    assert gaps[1] < 2e-3
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.15)


def potential(x, z):
    """A flux function in nT R_E without extrema of its field's components near the plane."""
    return 6 * torch.exp(0.11 * x - 0.08 * z) + 0.4 * x * z


def smooth_state(x, z):
    """Fields that rise or fall along both axes throughout, so that no limiter of a scheme acts on them."""
    exponential = 6 * torch.exp(0.11 * x - 0.08 * z)
    rows = (
        0.7 + 0.10 * x + 0.05 * torch.sin(0.3 * z),
        -1.2 + 0.2 * torch.sin(0.25 * x) - 0.06 * z,
        -80 + 6 * x + 3 * z, 15 + 4 * x - 2 * torch.exp(0.1 * z), 20 + 2 * x + 5 * torch.sin(0.2 * z),
        0.08 * exponential - 0.4 * x, 3 + 0.3 * x + 0.5 * torch.sin(0.25 * z), 0.11 * exponential + 0.4 * z,
    )  # fmt: skip
    return torch.stack([row.expand_as(x) for row in rows])


def simulated(cells):
    """Rates of the simulation's scheme for `smooth_state` on deep cells, published units, and those of differences."""
    grid = plane(cells)
    x, z = torch.as_tensor(grid.positions).T
    state = smooth_state(x, z)
    n, p, (v, b) = state[0].exp(), state[1].exp(), (state[2:5], state[5:8])
    primitive = torch.cat([n[None], v / code_units.VELOCITY, p[None] / code_units.PRESSURE, b[1:2] / code_units.FIELD])
    primitive = primitive.reshape(6, cells, cells).numpy()
    scheme = SimulatedRates(np.zeros((cells, cells)), grid.spacing[0], 0.0, math.inf, 0.15)
    flux = potential(x, z).numpy() / code_units.FIELD
    rate, potential_rate = scheme(conserve(primitive).reshape(6, -1).astype(np.float32), flux)
    rate = torch.as_tensor(rate.astype(np.float64)) / code_units.TIME
    density, momentum, energy = rate[0], rate[1:4] * code_units.VELOCITY, rate[4]
    velocity = (momentum - v * density) / n
    work = (v * momentum - v.square() / 2 * density).sum(dim=0) / code_units.VELOCITY**2
    found = torch.stack(
        [
            density / n,
            (ADIABATIC_INDEX - 1) * (energy - work) * code_units.PRESSURE / p,
            *velocity,
            rate[5] * code_units.FIELD,
            torch.as_tensor(potential_rate) * code_units.FIELD / code_units.TIME,
        ]
    )
    mine: Rates = by_differences(grid, state)
    wanted = torch.stack([mine.log_density, mine.log_pressure, *mine.velocity, mine.magnetic[1], mine.potential])
    deep = np.abs(grid.positions).max(axis=1) < 2.5
    return found[:, deep], wanted[:, deep]


def test_they_are_what_the_simulation_advances_where_it_is_smooth():
    gaps = []
    for cells in (32, 64):
        found, wanted = simulated(cells)
        gaps.append(((found - wanted).abs().amax(dim=1) / wanted.abs().amax(dim=1)).numpy())
    assert (gaps[1] < 2e-3).all(), gaps
    above = gaps[0] > 1e-3  # single precision of the simulation
    assert above.any()
    assert (gaps[0] / gaps[1] > 3)[above].all(), gaps
