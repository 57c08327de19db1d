import pytest

from spacecast.core.units import factor, quantity


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ("T", "nT", 1e9),
        ("nT", "T", 1e-9),
        ("G", "nT", 1e5),
        ("uT", "nT", 1e3),
        ("\u00b5T", "nT", 1e3),
        ("1/m3", "1/cm3", 1e-6),
        ("m^-3", "1/cm3", 1e-6),
        ("1/cc", "cm-3", 1.0),
        ("cm**-3", "1/cm3", 1.0),
        ("cm\u207b\u00b3", "1/cm3", 1.0),
        ("m/s", "km/s", 1e-3),
        ("m s-1", "km/s", 1e-3),
        ("km*s^-1", "km/s", 1.0),
        ("V/m", "mV/m", 1e3),
        ("kg m s-3 A-1", "mV/m", 1e3),
        ("Pa", "nPa", 1e9),
        ("J/m3", "Pa", 1.0),
        ("K", "MK", 1e-6),
        ("GK", "MK", 1e3),
        ("min", "s", 60.0),
        ("R_E", "R_E", 1.0),
        ("anything", "anything", 1.0),
    ],
)
def test_units_that_differ_by_a_pure_factor(found, wanted, expected):
    assert factor(found, wanted) == expected


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("degC", "K"), ("nT", "nPa"), ("eV", "MK"), ("1/cm3", "amu/cm3"), ("m", "R_E"), ("nanotesla", "nT"), ("", "nT"),
        ("km//s", "km/s"), ("(m s)-1", "1/s"), ("1e6/m3", "1/m3"), ("arbitrary units", "nT"), ("mm3in", "m"),
    ],
)  # fmt: skip
def test_what_is_no_pure_factor_or_not_understood(found, wanted):
    assert factor(found, wanted) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("Bx", "magnetic field, x component"), ("vz", "velocity, z component"), ("rho", "number density"), ("Tx", "Tx")],
)
def test_what_a_variable_is_in_words(name, words):
    assert quantity(name) == words
