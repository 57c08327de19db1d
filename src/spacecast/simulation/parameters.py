"""Parameters of one simulated run, and the presets."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from spacecast.core.errors import UserError, nearest

DIRECT_SPINUP_CELLS = 60
"""Grids with at most this many cells along x spin up on themselves instead of on a coarser grid."""


def _coerce(name: str, value: Any, default: Any) -> Any:
    """The value as the type of the default (int, float or tuple of floats), finite."""
    wanted = f"a list of {len(default)} numbers" if isinstance(default, tuple) else "a number"
    try:
        if isinstance(default, tuple):
            result: Any = tuple(float(item) for item in value)
            good = len(result) == len(default) and all(math.isfinite(item) for item in result)
        else:
            result = float(value)
            good = math.isfinite(result) and not isinstance(value, bool | str)
            if good and isinstance(default, int):
                wanted, good, result = "a whole number", result == int(result), int(result)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise UserError(f"simulation parameter {name} = {value!r}: give {wanted}")
    return result


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of plain types."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Parameters:
    """Everything that determines a run: the same parameters give the same run (on one machine).

    Args:
        nx, nz: cells along x (sunward) and z (northward); cells must be square.
        extent: x_min, x_max, z_min, z_max of the plane [R_E].
        frames: stored frames.
        cadence: time between stored frames [s].
        spinup_coarse: simulated time on a grid of half the resolution (if there is one) before the recording [s].
        spinup_fine: simulated time on the final grid before the recording [s].
        density: proton density of the solar wind [1/cm3].
        speed: solar wind speed towards -x [km/s].
        temperature: solar wind temperature [MK].
        imf: mean interplanetary field (Bx, By, Bz) [nT]. By = 0 without waves makes four variables vanish.
        wave_amplitude: rms of the Alfvenic fluctuations of the wind [nT]; 0 with density_amplitude 0 is a steady wind.
        density_amplitude: rms of the density fluctuations of the wind over the mean.
        modes: Fourier modes of the fluctuations.
        wavelengths: shortest and longest wave along x [R_E].
        tilt: largest angle between wave vector and x [rad].
        seed: of wave directions and phases.
        dipole: moment of Earth's line dipole [nT R_E^2]; Vlasiator's two-dimensional runs use 3109.
        inner_radius: radius of the planet, cells inside are cut out of the output [R_E].
        inner_density: density inside the planet over the wind's.
        inner_temperature: temperature inside the planet [MK].
        speed_limit: Boris limit of the Alfven speed [km/s].
        density_floor: least density over the wind's.
        pressure_floor: least pressure over the wind's.
        resistivity: weight of the dissipation of thin current sheets; 1 is laminar, 0 ideal.
        cfl: Courant number of the two-dimensional scheme.

    Raises:
        UserError: when a value makes no simulation.

    """

    nx: int = 180
    nz: int = 120
    extent: tuple[float, float, float, float] = (-60.0, 30.0, -30.0, 30.0)
    frames: int = 200
    cadence: float = 5.0
    spinup_coarse: float = 1200.0
    spinup_fine: float = 150.0
    density: float = 1.0
    speed: float = 750.0
    temperature: float = 0.5
    imf: tuple[float, float, float] = (0.5, 1.0, -3.0)
    wave_amplitude: float = 2.0
    density_amplitude: float = 0.1
    modes: int = 12
    wavelengths: tuple[float, float] = (10.0, 60.0)
    tilt: float = 0.5
    seed: int = 10
    dipole: float = 2500.0
    inner_radius: float = 3.85
    inner_density: float = 0.5
    inner_temperature: float = 1.0
    speed_limit: float = 2000.0
    density_floor: float = 0.04
    pressure_floor: float = 0.05
    resistivity: float = 0.15
    cfl: float = 0.8

    def __post_init__(self) -> None:
        for entry in fields(self):
            object.__setattr__(self, entry.name, _coerce(entry.name, getattr(self, entry.name), entry.default))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"simulation parameter {name} = {value:g} is out of range: choose {low:g} to {high:g}")
        self._check_geometry()
        if not 0 < self.wavelengths[0] <= self.wavelengths[1]:
            raise UserError(f"simulation parameter wavelengths = {self.wavelengths}: give shortest, longest > 0 [R_E]")
        if abs(self.cadence * 1000 - round(self.cadence * 1000)) > 1e-6:
            raise UserError(f"simulation parameter cadence = {self.cadence:g} s: give whole milliseconds")

    def _check_geometry(self) -> None:
        """Square cells, Earth well inside the plane and resolved."""
        left, right, south, north = self.extent
        radius = self.inner_radius
        if not (left < -2 * radius and right > 2 * radius and south < -2 * radius and north > 2 * radius):
            raise UserError(
                f"simulation parameter extent = {self.extent}: give x_min, x_max, z_min, z_max "
                f"with Earth (radius {radius:g}) well inside"
            )
        along_x, along_z = (right - left) / self.nx, (north - south) / self.nz
        if not math.isclose(along_x, along_z, rel_tol=1e-9):
            fit = (north - south) / along_x
            raise UserError(
                f"simulated cells must be square: {self.nx} x {self.nz} cells are {along_x:g} x {along_z:g} R_E, "
                f"try nz = {round(fit)}"
            )
        if radius < 1.5 * along_x:
            raise UserError(
                f"simulated cells of {along_x:g} R_E do not resolve the planet of radius {radius:g} R_E: use more cells"
            )

    @property
    def cell_size(self) -> float:
        """Side of a cell [R_E]."""
        return (self.extent[1] - self.extent[0]) / self.nx

    @property
    def sequenced(self) -> bool:
        """True when the spin-up starts on a grid of half the resolution: it must exist and resolve the planet."""
        even = self.nx % 2 == self.nz % 2 == 0
        resolved = self.inner_radius >= 3 * self.cell_size
        return self.nx > DIRECT_SPINUP_CELLS and self.spinup_coarse > 0 and even and resolved

    @property
    def hash(self) -> str:
        """SHA-256 of all parameters and of the version of the scheme (first 16 hexadecimal digits)."""
        return _digest({"scheme": SCHEME_VERSION, **asdict(self)})

    @property
    def grid_hash(self) -> str:
        """The same for what determines the grid and its mask."""
        return _digest({name: getattr(self, name) for name in ("nx", "nz", "extent", "inner_radius")})

    def override(self, **changes: Any) -> Self:
        """A copy with some parameters changed; an unknown name is an error that names the nearest one."""
        known = [entry.name for entry in fields(self)]
        for name in changes:
            if name not in known:
                raise UserError(f"the simulation has no parameter {name!r}; {nearest(name, known)}")
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, fit for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


SCHEME_VERSION = 1
"""Raise when a change of the code changes the numbers, so that stored runs are made anew."""

_RANGES: dict[str, tuple[float, float]] = {
    "nx": (8, 4000), "nz": (8, 4000), "frames": (1, 100_000), "cadence": (0.001, 600), "modes": (1, 1000),
    "spinup_coarse": (0, 1e5), "spinup_fine": (0, 1e5), "density": (0.01, 100), "speed": (50, 2500),
    "temperature": (0.01, 20), "wave_amplitude": (0, 20), "density_amplitude": (0, 0.5), "tilt": (0, 1.4),
    "seed": (0, 2**32 - 1), "dipole": (0, 20000), "inner_radius": (1, 15), "inner_density": (0.01, 100),
    "inner_temperature": (0.01, 100), "speed_limit": (100, 3e5), "density_floor": (1e-4, 1),
    "pressure_floor": (1e-6, 1), "resistivity": (0, 1), "cfl": (0.05, 0.95),
}  # fmt: skip

PRESETS: dict[str, Parameters] = {
    "tiny": Parameters(nx=60, nz=40, cadence=15.0, frames=100, spinup_fine=0.0),
    "small": Parameters(nx=90, nz=60, cadence=10.0, frames=160, spinup_coarse=1000.0),
    "medium": Parameters(nx=120, nz=80, cadence=8.0, frames=160),
    "demo": Parameters(),
    "fine": Parameters(nx=360, nz=240, cadence=2.5, frames=120),
}
"""Grids from 60 x 40 to 360 x 240 cells on which the wind crosses about 1.2 cells per frame."""


def get_parameters(preset: str | Parameters, **overrides: Any) -> Parameters:
    """Parameters of a preset with some of them changed.

    Raises:
        UserError: for an unknown preset or parameter, or a value that makes no simulation.

    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise UserError(f"there is no simulation preset {preset!r}; {nearest(preset, PRESETS)}")
        preset = PRESETS[preset]
    return preset.override(**overrides)

