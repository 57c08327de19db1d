"""Units of measurement: the factor between two spellings or sizes of one unit, physical constants, published units."""

import re
from fractions import Fraction

from spacecast.core.errors import UserError

EARTH_RADIUS = 6.371e6  # m
PROTON_MASS = 1.67262192369e-27  # kg
VACUUM_PERMEABILITY = 1.25663706212e-6  # N/A2
BOLTZMANN = 1.380649e-23  # J/K
SPEED_TIMES_FIELD = 1e-3  # 1 km/s times 1 nT [mV/m]
NKT = BOLTZMANN * 1e21  # n[1/cm3] k T[MK] in nPa
PUBLISHED = {"B": "nT", "E": "mV/m", "v": "km/s", "rho": "1/cm3", "P": "nPa", "T": "MK"}
"""Units of the published variables, vectors by their letter."""
QUANTITIES = {
    "B": "magnetic field", "E": "electric field", "v": "velocity", "rho": "number density", "P": "pressure",
    "T": "temperature",
}  # fmt: skip

Dimensions = tuple[int, int, int, int, int, int]  # powers of kg, m, s, A, K, R_E
Unit = tuple[Fraction, Dimensions]

PREFIXES = {
    "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "d": -1, "c": -2, "m": -3, "u": -6, "\u00b5": -6, "\u03bc": -6, "n": -9,
    "p": -12, "f": -15,
}  # fmt: skip
SYMBOLS: dict[str, Unit] = {
    "1": (Fraction(1), (0, 0, 0, 0, 0, 0)),
    "g": (Fraction(1, 1000), (1, 0, 0, 0, 0, 0)),
    "m": (Fraction(1), (0, 1, 0, 0, 0, 0)),
    "cc": (Fraction(1, 10**6), (0, 3, 0, 0, 0, 0)),
    "s": (Fraction(1), (0, 0, 1, 0, 0, 0)),
    "min": (Fraction(60), (0, 0, 1, 0, 0, 0)),
    "A": (Fraction(1), (0, 0, 0, 1, 0, 0)),
    "K": (Fraction(1), (0, 0, 0, 0, 1, 0)),
    "R_E": (Fraction(1), (0, 0, 0, 0, 0, 1)),  # how many metres it has is a convention
    "Hz": (Fraction(1), (0, 0, -1, 0, 0, 0)),
    "N": (Fraction(1), (1, 1, -2, 0, 0, 0)),
    "Pa": (Fraction(1), (1, -1, -2, 0, 0, 0)),
    "J": (Fraction(1), (1, 2, -2, 0, 0, 0)),
    "W": (Fraction(1), (1, 2, -3, 0, 0, 0)),
    "C": (Fraction(1), (0, 0, 1, 1, 0, 0)),
    "V": (Fraction(1), (1, 2, -3, -1, 0, 0)),
    "T": (Fraction(1), (1, 0, -2, -1, 0, 0)),
    "G": (Fraction(1, 10**4), (1, 0, -2, -1, 0, 0)),
}
WITHOUT_PREFIX = ("1", "min", "cc", "R_E")
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
RADII = ("re", "rearth", "earthradii", "earthradius", "radiusearth", "r")  # letters of spellings of R_E
NONE = ("", "1", "none", "dimensionless", "unitless", "normalized", "normalised")
FACTOR = re.compile(r"(1|[^\W\d]+?)(?:\^?\{?([-+]?\d+)\}?)?")


def factor(found: str, wanted: str) -> float | None:
    """The number that turns values in one unit into another one, 1.0 for two spellings of one unit.

    Units are products and quotients such as `nT`, `1/cm3`, `cm^-3`, `km s-1` and `kg m**-3`.

    Args:
        found: unit of the values.
        wanted: unit to turn them into.

    Returns:
        None when there is no such number, or one of the units is not understood.

    """
    if found.strip() == wanted.strip():
        return 1.0
    one, two = _parse(found), _parse(wanted)
    return float(one[0] / two[0]) if one is not None and two is not None and one[1] == two[1] else None


def expected_units(name: str) -> str | None:
    """Units of a variable of the published data, None for others."""
    return PUBLISHED.get(name[:1] if name[1:] in ("x", "y", "z") else name)


def quantity(name: str) -> str:
    """What a variable of the published data is, such as `magnetic field, x component`; the name of another one."""
    vector = len(name) == 2 and name[0] in ("B", "E", "v") and name[1] in "xyz"
    return f"{QUANTITIES[name[0]]}, {name[1]} component" if vector else QUANTITIES.get(name, name)


def check_length(units: str, label: str) -> None:
    """Raise a UserError unless the units of a coordinate are Earth radii, or not given."""
    text = units.strip().lower()
    if text not in NONE and "".join(c for c in text if c.isascii() and c.isalpha()) not in RADII:
        raise UserError(f"{label} is in {units!r}, expected R_E; divide it (R_E is 6371 km) and set its units")


def _parse(text: str) -> Unit | None:
    """Size in SI units and dimensions of a product of powers; None when it is not understood."""
    size, dimensions = SYMBOLS["1"]
    words = re.split(r"([/*·\s]+)", text.translate(SUPERSCRIPTS).replace("**", "^").strip())
    for separator, word in zip(["", *words[1::2]], words[::2], strict=True):
        match = FACTOR.fullmatch(word)
        unit = _symbol(match[1]) if match else None
        if match is None or unit is None or separator.count("/") > 1:
            return None
        power = int(match[2] or 1) * (-1 if "/" in separator else 1)
        size *= unit[0] ** power
        dimensions = tuple(a + power * b for a, b in zip(dimensions, unit[1], strict=True))  # type: ignore[assignment]
    return size, dimensions


def _symbol(name: str) -> Unit | None:
    """A unit with or without its prefix."""
    if name in SYMBOLS:
        return SYMBOLS[name]
    power, unit = PREFIXES.get(name[0]), SYMBOLS.get(name[1:])
    if power is None or unit is None or name[1:] in WITHOUT_PREFIX:
        return None
    return unit[0] * Fraction(10) ** power, unit[1]
