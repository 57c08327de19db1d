"""Code units of the simulation: one code unit of each quantity in SI and in the units of the output.

Length, velocity and density are chosen; the rest follows with mu_0 = k_B = 1 in code units (Rankine-Hugoniot and
induction equations keep their textbook form).
"""

EARTH_RADIUS = 6.371e6
"""Length [m]."""

PROTON_MASS = 1.67262192369e-27
VACUUM_PERMEABILITY = 1.25663706212e-6
BOLTZMANN = 1.380649e-23

LENGTH = 1.0
"""Length [R_E]."""

VELOCITY = 100.0
"""Velocity [km/s]."""

DENSITY = 1.0
"""Number density of protons [1/cm3]."""

PRESSURE = PROTON_MASS * 1e6 * (VELOCITY * 1e3) ** 2 * 1e9
"""Pressure rho V^2 [nPa], 0.0167262."""

FIELD = (VACUUM_PERMEABILITY * PRESSURE * 1e-9) ** 0.5 * 1e9
"""Magnetic field sqrt(mu_0 P) [nT], 4.584625."""

TEMPERATURE = PROTON_MASS * (VELOCITY * 1e3) ** 2 / BOLTZMANN * 1e-6
"""Temperature m_p V^2 / k_B [MK], 1.211475."""

TIME = EARTH_RADIUS / (VELOCITY * 1e3)
"""Time R_E / V [s], 63.71."""

KM_S_NT_TO_MV_M = 1e-3
"""1 km/s times 1 nT [mV/m]."""
