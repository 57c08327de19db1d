"""Code units of the simulation: one code unit of each quantity in SI and in the units of the output.

Length (R_E), velocity and density are chosen; the rest follows with mu_0 = k_B = 1 in code units (Rankine-Hugoniot and
induction equations keep their textbook form).
"""

from spacecast.core.units import BOLTZMANN, EARTH_RADIUS, PROTON_MASS, VACUUM_PERMEABILITY

VELOCITY = 100.0
"""Velocity [km/s]."""

PRESSURE = PROTON_MASS * 1e6 * (VELOCITY * 1e3) ** 2 * 1e9
"""Pressure rho V^2 [nPa], 0.0167262."""

FIELD = (VACUUM_PERMEABILITY * PRESSURE * 1e-9) ** 0.5 * 1e9
"""Magnetic field sqrt(mu_0 P) [nT], 4.584625."""

TEMPERATURE = PROTON_MASS * (VELOCITY * 1e3) ** 2 / BOLTZMANN * 1e-6
"""Temperature m_p V^2 / k_B [MK], 1.211475."""

TIME = EARTH_RADIUS / (VELOCITY * 1e3)
"""Time R_E / V [s], 63.71."""
