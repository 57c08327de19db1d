"""The solar wind: a uniform flow that carries Alfvenic fluctuations."""

import numpy as np

from spacecast.simulation import code_units
from spacecast.simulation.parameters import Parameters


class SolarWind:
    """Flow along -x with frozen-in, divergence-free fluctuations of a few Fourier modes. All in code units.

    Each mode k has wavelength L_k along x, log-spaced, a tilted wave vector and an amplitude ~ L_k^(1/3) (Kolmogorov).
    The in-plane field is the curl of the potential A_y = Bz (x + u t) - Bx z + sum (a_k / |k|) sin(phi_k) with
    phi_k = kx (x + u t) + kz z + phase, hence free of divergence; By and the density have phases of their own. The
    velocity fluctuates with the field, dv = dB / sqrt(n); the pressure does not.

    Args:
        parameters: of the run.

    """

    def __init__(self, parameters: Parameters) -> None:
        self.density = parameters.density
        self.speed = parameters.speed / code_units.VELOCITY
        self.pressure = parameters.density * parameters.temperature / code_units.TEMPERATURE
        self.imf = np.array(parameters.imf) / code_units.FIELD
        random = np.random.default_rng(parameters.seed)
        length = np.geomspace(*parameters.wavelengths, parameters.modes)
        self.kx = 2 * np.pi / length
        self.kz = self.kx * np.tan(random.uniform(-parameters.tilt, parameters.tilt, parameters.modes))
        self.phases = random.uniform(0, 2 * np.pi, (3, parameters.modes))
        weight = length ** (1 / 3)
        weight /= np.sqrt((weight**2).sum() / 2)
        self.amplitude = parameters.wave_amplitude / code_units.FIELD * weight
        self.density_amplitude = parameters.density_amplitude * weight

    def basis(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Cosine and sine of kx x + kz z at some points: (point,), (point,) to (point, 2 mode)."""
        phase = np.multiply.outer(x, self.kx) + np.multiply.outer(z, self.kz)
        return np.concatenate([np.cos(phase), np.sin(phase)], axis=-1)

    def fields(self, basis: np.ndarray, x: np.ndarray, z: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Primitive variables and flux function at the points of a basis.

        Returns:
            (rho, vx, vy, vz, p, By), shape (6, point), and A_y, shape (point,), without offset.

        """
        first, second, third = self.phases + self.kx * self.speed * time
        length = np.hypot(self.kx, self.kz)

        def cosine(weight: np.ndarray, phase: np.ndarray) -> np.ndarray:
            return np.concatenate([weight * np.cos(phase), -weight * np.sin(phase)])

        columns = [
            cosine(self.amplitude / length, first - np.pi / 2),
            cosine(-self.amplitude * self.kz / length, first),
            cosine(self.amplitude, second),
            cosine(self.amplitude * self.kx / length, first),
            cosine(self.density_amplitude, third),
        ]
        potential, bx, by, bz, density = (basis @ np.stack(columns, axis=-1)).T
        potential = potential + self.imf[2] * (x + self.speed * time) - self.imf[0] * z
        alfven = 1 / np.sqrt(self.density)
        primitive = np.empty((6, x.size))
        primitive[0] = self.density * (1 + np.clip(density, -0.5, 0.5))
        primitive[1] = bx * alfven - self.speed
        primitive[2] = by * alfven
        primitive[3] = bz * alfven
        primitive[4] = self.pressure
        primitive[5] = self.imf[1] + by
        return primitive, potential
