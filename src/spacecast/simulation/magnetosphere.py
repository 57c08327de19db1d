"""The simulated magnetosphere: initial state, spin-up on a coarser grid, frames in physical units."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.units import SPEED_TIMES_FIELD
from spacecast.simulation import code_units
from spacecast.simulation.boundaries import MAGNETOPAUSE_START, Magnetosphere
from spacecast.simulation.parameters import Parameters
from spacecast.simulation.rates import GHOSTS
from spacecast.simulation.solver import Solver, conserve

VARIABLES: dict[str, tuple[str, str]] = {
    "Bx": ("nT", "magnetic field, x component"),
    "By": ("nT", "magnetic field, y component"),
    "Bz": ("nT", "magnetic field, z component"),
    "Ex": ("mV/m", "electric field, x component"),
    "Ey": ("mV/m", "electric field, y component"),
    "Ez": ("mV/m", "electric field, z component"),
    "vx": ("km/s", "plasma velocity, x component"),
    "vy": ("km/s", "plasma velocity, y component"),
    "vz": ("km/s", "plasma velocity, z component"),
    "rho": ("1/cm3", "proton number density"),
    "P": ("nPa", "thermal pressure"),
    "T": ("MK", "temperature"),
}
"""Unit and long name of the stored variables, in storage order."""

QUANTUM = 1 / 1024
"""Resolution of the stored magnetic field [nT]."""

BLEND_RADIUS, BLEND_WIDTH, BLEND_STRETCH = 11.0, 1.5, 1.5
"""Where the initial plasma changes from magnetosphere to wind [R_E], and how much longer the night side is."""


def cell_centres(parameters: Parameters, ghosts: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cell centres along x and z [R_E], with some ghost cells on both sides."""
    left, _, south, _ = parameters.extent
    size = parameters.cell_size
    return (
        left + size * (np.arange(-ghosts, parameters.nx + ghosts) + 0.5),
        south + size * (np.arange(-ghosts, parameters.nz + ghosts) + 0.5),
    )


def space_mask(parameters: Parameters) -> np.ndarray:
    """True where a cell carries plasma, False inside the planet, shape (nx, nz)."""
    x, z = cell_centres(parameters)
    return np.hypot(x[:, None], z) >= parameters.inner_radius


def spin_up(parameters: Parameters, advance: Callable[[Solver, float, float], None] | None = None) -> Solver:
    """A solver at the beginning of the recording.

    Args:
        parameters: of the run.
        advance: runs a solver, called as advance(solver, seconds, seconds that cost as much as one frame).

    """
    run = advance or (lambda solver, seconds, _: solver.run_until(solver.time + seconds / code_units.TIME))
    if not parameters.sequenced:
        solver = _start(parameters)
        run(solver, parameters.spinup_coarse + parameters.spinup_fine, parameters.cadence)
        return solver
    coarse = _start(replace(parameters, nx=parameters.nx // 2, nz=parameters.nz // 2))
    run(coarse, parameters.spinup_coarse, parameters.cadence * 8)
    solver = _refine(coarse, parameters)
    run(solver, parameters.spinup_fine, parameters.cadence)
    return solver


def _dipole(parameters: Parameters, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Flux function of a line dipole, inside the planet that of a uniformly magnetised cylinder, shape (x, z)."""
    moment = parameters.dipole / code_units.FIELD
    return -moment * x[:, None] / np.maximum(x[:, None] ** 2 + z**2, parameters.inner_radius**2)


def _make(parameters: Parameters, conserved: np.ndarray, potential: np.ndarray, time: float) -> Solver:
    """Solver of the magnetosphere for a state with ghost cells."""
    x, z = cell_centres(parameters, GHOSTS)
    background = _dipole(parameters, x, z)
    boundary = Magnetosphere(parameters, x, z, background)
    return Solver(
        conserved,
        potential,
        background,
        parameters.cell_size,
        boundary,
        time=time,
        density_floor=parameters.density_floor * parameters.density,
        pressure_floor=parameters.pressure_floor * boundary.wind.pressure,
        speed_limit=parameters.speed_limit / code_units.VELOCITY,
        resistivity=parameters.resistivity,
        cfl=parameters.cfl,
    )


def _start(parameters: Parameters) -> Solver:
    """Dipole and its image behind a plane magnetopause, plasma at rest inside, wind outside."""
    x, z = cell_centres(parameters, GHOSTS)
    background = _dipole(parameters, x, z)
    boundary = Magnetosphere(parameters, x, z, background)
    points_x, points_z = (points.ravel() for points in np.meshgrid(x, z, indexing="ij"))
    wind, potential = boundary.wind.fields(boundary.wind.basis(points_x, points_z), points_x, points_z, 0.0)
    across = x[:, None] - 2 * MAGNETOPAUSE_START
    image = -parameters.dipole / code_units.FIELD * across / (across**2 + z**2)
    outside = potential.reshape(background.shape) + boundary.offset - background
    potential = np.where(x[:, None] < MAGNETOPAUSE_START, image, outside)
    stretched = np.where(points_x < 0, points_x / BLEND_STRETCH, points_x)
    weight = 1 / (1 + np.exp((BLEND_RADIUS - np.hypot(stretched, points_z)) / BLEND_WIDTH))
    inner = np.zeros((6, 1))
    inner[0], inner[4] = boundary.planet_density, boundary.planet_pressure
    primitive = weight * wind + (1 - weight) * inner
    return _make(parameters, conserve(primitive).reshape(6, *background.shape), potential, 0.0)


def _refine(coarse: Solver, parameters: Parameters) -> Solver:
    """The state of a solver of half the resolution on the grid of the parameters."""
    from scipy.interpolate import RectBivariateSpline

    half = replace(parameters, nx=parameters.nx // 2, nz=parameters.nz // 2)
    from_x, from_z = cell_centres(half, GHOSTS)
    to_x, to_z = cell_centres(parameters, GHOSTS)

    def interpolate(field: np.ndarray, degree: int) -> np.ndarray:
        return RectBivariateSpline(from_x, from_z, field, kx=degree, ky=degree, s=0)(to_x, to_z)

    conserved = np.stack([interpolate(field, 1) for field in coarse.conserved.reshape(6, *coarse.shape)])
    return _make(parameters, conserved, interpolate(coarse.potential.reshape(coarse.shape), 3), coarse.time)


def frame(solver: Solver, mask: np.ndarray) -> np.ndarray:
    """Stored variables of the current state in physical units, NaN inside the planet, shape (12, nx, nz), float32.

    The flux function is rounded so that B is a multiple of 2^-10 nT: its central-difference divergence is then exactly
    zero in float32 too. E = -v x B follows from the stored v and B, T from P = n k T.
    """
    inner = slice(GHOSTS, -GHOSTS)
    potential = (solver.potential.reshape(solver.shape) + solver.background) * (code_units.FIELD / (2 * solver.spacing))
    potential = np.round(potential / QUANTUM) * QUANTUM
    result = np.empty((len(VARIABLES), *mask.shape), dtype=np.float32)
    bx, by, bz, ex, ey, ez, vx, vy, vz, rho, pressure, temperature = result
    conserved = solver.conserved.reshape(6, *solver.shape)[:, inner, inner].astype(np.float64)
    bx[:] = potential[inner, 1:-3] - potential[inner, 3:-1]
    bz[:] = potential[3:-1, inner] - potential[1:-3, inner]
    by[:] = np.round(conserved[5] * (code_units.FIELD / QUANTUM)) * QUANTUM
    velocity = conserved[1:4] / conserved[0]
    vx[:], vy[:], vz[:] = velocity * code_units.VELOCITY
    rho[:] = conserved[0]
    internal = conserved[4] - 0.5 * (conserved[1:4] * velocity).sum(axis=0)
    thermal = np.maximum(internal * (2 / 3), solver.pressure_floor)
    pressure[:] = thermal * code_units.PRESSURE
    temperature[:] = thermal / conserved[0] * code_units.TEMPERATURE
    x, y, z = (component.astype(np.float64) * SPEED_TIMES_FIELD for component in (vx, vy, vz))
    ex[:] = z * by - y * bz
    ey[:] = x * bz - z * bx
    ez[:] = y * bx - x * by
    result[:, ~mask] = np.nan
    return result


def frames(parameters: Parameters, report: Callable[[int, int], None] | None = None) -> Iterator[np.ndarray]:
    """Simulate a run frame by frame, each as in `frame`.

    Args:
        parameters: of the run.
        report: called with the work done and the total, in costs of one frame.

    Raises:
        UserError: when the simulation becomes unstable.

    """
    fine = round(parameters.spinup_fine / parameters.cadence)
    before = fine + round(parameters.spinup_coarse / parameters.cadence / (8 if parameters.sequenced else 1))
    done, total = 0, before + parameters.frames

    def advance(solver: Solver, seconds: float, per_unit: float) -> None:
        nonlocal done
        start, pieces = solver.time, max(1, round(seconds / per_unit))
        for piece in range(1, pieces + 1):
            solver.run_until(start + seconds / code_units.TIME * piece / pieces)
            done += 1
            if report:
                report(min(done, before), total)

    try:
        solver = spin_up(parameters, advance)
        mask, start = space_mask(parameters), solver.time
        for number in range(parameters.frames):
            solver.run_until(start + number * parameters.cadence / code_units.TIME)
            if report:
                report(before + number + 1, total)
            yield frame(solver, mask)
    except FloatingPointError as error:
        raise UserError(f"the simulation is unstable: {error}; try a smaller cfl (found {parameters.cfl:g})") from None
