"""Presets, overrides and the errors of parameters that make no simulation."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from spacecast.core.errors import UserError
from spacecast.simulation import PRESETS, Parameters, get_parameters


@pytest.mark.parametrize("name", PRESETS)
def test_wind_crosses_about_one_cell_per_frame(name):
    preset = PRESETS[name]
    cells = preset.speed * preset.cadence / 6371 / preset.cell_size
    assert 1.0 <= cells <= 1.3
    assert preset.extent == (-60, 30, -30, 30)


def test_overrides_change_a_copy_and_the_hash():
    changed = get_parameters("tiny", frames=7, imf=[0, 1, -2])
    assert (changed.frames, changed.imf) == (7, (0.0, 1.0, -2.0))
    assert PRESETS["tiny"].frames == 100
    assert changed.hash != PRESETS["tiny"].hash
    assert changed.grid_hash == PRESETS["tiny"].grid_hash
    assert get_parameters(changed) == changed
    assert Parameters(**changed.to_dict()) == changed
    with pytest.raises(FrozenInstanceError):
        changed.frames = 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame": 3}, "did you mean 'frames'"),
        ({"frames": 0}, "frames = 0 is out of range"),
        ({"frames": 2.5}, "frames = 2.5: give a whole number"),
        ({"frames": True}, "frames = True"),
        ({"cadence": "5s"}, "cadence = '5s': give a number"),
        ({"cadence": 0.0005}, "cadence"),
        ({"cadence": 1.00005}, "whole milliseconds"),
        ({"density": -1}, "density = -1 is out of range"),
        ({"speed": float("nan")}, "speed = nan: give a number"),
        ({"imf": (1, 2)}, "give a list of 3 numbers"),
        ({"imf": 3}, "give a list of 3 numbers"),
        ({"wavelengths": (60, 10)}, "wavelengths"),
        ({"nz": 60}, "try nz = 40"),
        ({"extent": (0, 90, -30, 30)}, "extent"),
        ({"nx": 30, "nz": 20}, "do not resolve the planet"),
        ({"nx": 63}, "try nz = 42"),
        ({"cfl": 2}, "cfl = 2 is out of range"),
    ],
)
def test_bad_parameters_are_one_clear_line(changes, words):
    with pytest.raises(UserError, match="simulat") as caught:
        get_parameters("tiny", **changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sequenced"),
    [
        ({}, False),
        ({"nx": 90, "nz": 60}, True),
        ({"nx": 90, "nz": 60, "spinup_coarse": 0}, False),
        ({"nx": 99, "nz": 66}, False),
    ],
)
def test_spin_up_on_half_the_resolution_where_that_is_possible(changes, sequenced):
    assert get_parameters("tiny", **changes).sequenced == sequenced


def test_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'small'"):
        get_parameters("smal")


def test_import_is_light():
    heavy = ("torch", "xarray", "zarr", "scipy")
    code = f"import sys, spacecast.simulation; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
