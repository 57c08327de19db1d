"""Initial times as a user gives them, found in the frames of a run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.forecast.starts import Start, find_run, find_starts

TIMES = np.datetime64("2000-01-01", "ns") + np.arange(12) * np.timedelta64(10, "s")


class Frames:
    """Times alone; the fourth frame is at 00:00:30."""

    train_runs, holdout_runs = ("1",), ()

    def __init__(self, spec, *, frames=12, past=0, future=0, forcing=False, driven=False) -> None:
        one = FeatureSpec(("n",), ("1/cm3",), np.zeros(1), np.ones(1)) if forcing else FeatureSpec.empty()
        boundary = spec.boundary if driven else np.zeros_like(spec.boundary)
        self.spec = replace(spec, forcing=one, boundary=boundary)
        self.forcing_past, self.forcing_future, self.count = past, future, frames

    def times(self, run, split):
        assert (run, split) == ("1", "all")
        return TIMES[: self.count]


def frames_of(starts: list[Start]) -> list[int]:
    assert all(start.time == TIMES[start.frame] and start.run == "1" for start in starts)
    return [start.frame for start in starts]


@pytest.mark.parametrize(
    "given",
    [
        3,
        np.int64(3),
        "3",
        -9,
        "-9",
        "2000-01-01T00:00:30",
        "2000-01-01 00:00:30.000",
        "2000-01-01T00:00:30Z",
        "2000-01-01T02:00:30+02:00",
        datetime(2000, 1, 1, 0, 0, 30),
        datetime(2000, 1, 1, 0, 0, 30, tzinfo=UTC),
        datetime(2000, 1, 1, 5, 0, 30, tzinfo=timezone(timedelta(hours=5))),
        np.datetime64("2000-01-01T00:00:30"),
        np.datetime64("2000-01-01T00:00:30.004", "ms"),  # rounded, as times in days or single precision are
        xr.DataArray(TIMES, dims="time")[3],
        np.array(3),
    ],
)
def test_one_frame_in_many_spellings(tiny_spec, given):
    assert frames_of(find_starts(Frames(tiny_spec), None, given, 5)) == [3]


@pytest.mark.parametrize("given", [[3, "2000-01-01T00:01:10", -1], np.array([3, 7, 11]), xr.DataArray(TIMES[3::4])])
def test_several_in_the_order_given(tiny_spec, given):
    assert frames_of(find_starts(Frames(tiny_spec), "1", given, 300)) == [3, 7, 11]
    assert frames_of(find_starts(Frames(tiny_spec), "1", list(given)[::-1], 300)) == [11, 7, 3]


@pytest.mark.parametrize(
    ("kind", "boundary", "steps", "frame"),
    [
        ({}, "data", 300, 11),  # the newest two frames
        ({"frames": 2}, "data", 300, 1),
        ({"driven": True}, "data", 4, 7),  # frames 8 to 11 drive it
        ({"driven": True}, "data", 300, 1),
        ({"driven": True}, "persist", 4, 11),
        ({"forcing": True}, "data", 4, 7),
        ({"forcing": True, "past": 5, "future": 2}, "data", 4, 5),
        ({"forcing": True, "past": 5, "future": 2}, "data", 5, 4),  # forcing of frames 0 to 11
    ],
)
def test_the_newest_unless_one_is_given(tiny_spec, kind, boundary, steps, frame):
    assert frames_of(find_starts(Frames(tiny_spec, **kind), None, None, steps, boundary)) == [frame]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("2000-01-01T00:00:34", "start=2000-01-01T00:00:34: run 1 has no frame at this time, "
         "the nearest is 2000-01-01T00:00:30 (frame 3)"),
        ("2000-01-01T00:00:01", "the nearest is 2000-01-01T00:00:10 (frame 1)"),
        ("2000-01-01", "can start from 2000-01-01T00:00:10 (frame 1) to 2000-01-01T00:01:50 (frame 11)"),
        ("1066-10-14", "the nearest is 2000-01-01T00:00:10 (frame 1)"),
        ("9000-01-01", "the nearest is 2000-01-01T00:01:50 (frame 11)"),
        (0, "start=0: in run 1 a forecast can start from"),
        (12, "to 2000-01-01T00:01:50 (frame 11)"),
        (-12, "can start from"),
        ([3, "2000-01-01T00:00:30"], "given twice"),
        ([], "empty list"),
        ("noon", "neither a time nor the number of a frame"),
        ("", "neither a time"),
        (3.0, "neither a time"),
        (True, "neither a time"),
        (np.datetime64("NaT"), "neither a time"),
        (np.timedelta64(3, "s"), "neither a time"),
        ([[3]], "neither a time"),
    ],
)  # fmt: skip
def test_what_is_no_start_is_refused(tiny_spec, given, words):
    with pytest.raises(UserError) as caught:
        find_starts(Frames(tiny_spec), None, given, 5)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "steps", "words"),
    [
        ({"frames": 1}, 5, "run 1 has 1 frame, a forecast starts from two"),
        ({"forcing": True}, 11, "too few for the forcing of 11 steps; take at most 10 steps"),
        ({"forcing": True, "frames": 2}, 1, "give a longer run"),
        ({}, 0, "steps=0: a forecast has at least 1 step"),
    ],
)
def test_a_run_that_is_too_short(tiny_spec, kind, steps, words):
    with pytest.raises(UserError, match=words):
        find_starts(Frames(tiny_spec, **kind), None, None, steps)


def test_forcing_ends_the_range(tiny_spec):
    data = Frames(tiny_spec, forcing=True, future=1)
    assert frames_of(find_starts(data, None, 6, 4)) == [6]
    with pytest.raises(UserError, match=r"to 2000-01-01T00:01 \(frame 6\)"):
        find_starts(data, None, 7, 4)


def test_which_run(tiny_spec):
    data = Frames(tiny_spec)
    assert find_run(data) == find_run(data, 1) == "1"
    with pytest.raises(UserError, match="run=7 is none of the data's"):
        find_run(data, "7")
    data.holdout_runs = ("night",)
    assert find_run(data, "night") == "night"
    with pytest.raises(UserError, match="hold 2 runs: give run=NAME, one of 1, night"):
        find_run(data)
