"""Time axes are put on the grid that they lie on, or the fault is named."""

import numpy as np
import pytest

from spacecast.core.errors import UserError
from spacecast.data.splits import split_ranges
from spacecast.storage.times import check_times, decode_times

K = np.arange(400)
START = np.datetime64("2000-01-01", "ns")


def read(numbers, units="seconds since 2000-01-01", **attrs):
    numbers = np.asarray(numbers)
    return decode_times(numbers, np.zeros(numbers.shape, bool), {"units": units, **attrs}, "run 1")


def grid(step_ns):
    return START + (K * step_ns).astype("timedelta64[ns]")


EXACT = {
    "float days": (10957 + K * 10 / 86400, "days since 1970-01-01", 10 * 10**9),
    "float hours": (K * 10 / 3600, "hours since 2000-01-01", 10 * 10**9),
    "float minutes": (10957 * 1440 + K * 10 / 60, "minutes since 1970-01-01", 10 * 10**9),
    "float32 hours": ((K * 10 / 3600).astype("f4"), "hours since 2000-01-01", 10 * 10**9),
    "float32 days": ((K * 60 / 86400).astype("f4"), "days since 2000-01-01", 60 * 10**9),
    "days since the year 1": (730119 + K * 10 / 86400, "days since 0001-01-01", 10 * 10**9),
    "quarter seconds": (K * 0.25, "seconds since 2000-01-01", 250 * 10**6),
    "tenths in milliseconds": (K * 100, "milliseconds since 2000-01-01 00:00:00.0", 10**8),
    "half seconds in float32 minutes": ((K * 0.5 / 60).astype("f4"), "minutes since 2000-01-01", 5 * 10**8),
    "big-endian integers": ((K * 10).astype(">i4"), "seconds since 2000-01-01T00:00:00Z", 10 * 10**9),
    "unsigned": ((K * 10).astype("u2"), "s since 2000-1-1", 10 * 10**9),
    "nanoseconds since 1970": (START.astype("i8") + K * 25 * 10**7, "nanoseconds since 1970-01-01", 25 * 10**7),
    "time zone": (K * 10 + 7200, "seconds since 2000-01-01 00:00:00 +02:00", 10 * 10**9),
    "jitter of a millisecond": (K * 10.0 + np.where(K % 2, 1e-3, 0), "seconds since 2000-01-01", 10 * 10**9),
}


@pytest.mark.parametrize("name", EXACT)
def test_uniform_times_lie_on_the_exact_grid(name):
    numbers, units, step = EXACT[name]
    calendar = {"calendar": "proleptic_gregorian"} if "0001" in units else {}
    times, _ = read(numbers, units, **calendar)
    np.testing.assert_array_equal(times, grid(step))
    assert check_times(times, "run 1") == step / 1e9


def test_a_third_of_a_second_stays_within_a_nanosecond():
    times, _ = read(np.rint(K * 1e9 / 3).astype("i8"), "nanoseconds since 2000-01-01")
    assert np.abs(times - START - np.rint(K * 1e9 / 3).astype("timedelta64[ns]")).max() <= np.timedelta64(1, "ns")
    assert check_times(times, "run 1") == pytest.approx(1 / 3, rel=1e-9)


@pytest.mark.parametrize("offset", [10**9 + 7, 128, 3 * 10**8])
def test_an_exact_axis_is_kept_to_the_nanosecond(offset):
    ticks = START.astype("i8") + offset + K * (10**10 + 3)
    times, deviation = read(ticks, "nanoseconds since 1970-01-01")
    np.testing.assert_array_equal(times.astype("i8"), ticks)
    assert deviation == 0


FAULTY = {
    "noleap": (K * 10, {"calendar": "noleap"}, "calendar 'noleap', expected one of standard"),
    "360 days": (K * 10, {"calendar": "360_day"}, "calendar '360_day'"),
    "julian reference": (K * 10, {"units": "seconds since 0001-01-01"}, "has another date before 1583"),
    "year 3000": (K * 10, {"units": "seconds since 3000-01-01"}, "years 3000 to 3000, dates are held for 1677 to 2262"),
    "no units": (K * 10, {"units": ""}, "holds int64, not dates"),
    "durations": (K * 10, {"units": "seconds"}, "int64 in units 'seconds', not dates"),
    "months": (K, {"units": "months since 2000-01-01"}, "in units 'months since 2000-01-01', not dates"),
    "no date": (K, {"units": "seconds since start"}, "counted since 'start', which is no date"),
    "NaN": (np.where(K == 7, np.nan, K * 10.0), {}, "time of frame 7 is nan"),
    "text": (K.astype(str), {}, "not dates"),
    "NaT": (np.where(K == 3, np.datetime64("NaT"), grid(10**10)), {}, "time of frame 3 is missing"),
    "NaT as integer": (np.where(K == 3, np.iinfo("i8").min, K), {}, "time of frame 3 is missing"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_fault_of_a_time_axis_is_named(name):
    numbers, attrs, message = FAULTY[name]
    with pytest.raises(UserError, match=message) as caught:
        read(numbers, **{"units": "seconds since 2000-01-01", **attrs})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "numbers", [K * 10.0 + (K % 2) * 0.3, np.delete(K * 10.0, 200), K[::-1] * 10.0, np.where(K == 4, 30.0, K * 10.0)]
)
def test_what_is_not_uniform_is_refused_with_deviation_and_tolerance(numbers):
    with pytest.raises(UserError, match="time is not uniform"):
        check_times(read(numbers)[0], "run 1")


def test_message_says_deviation_and_tolerance():
    with pytest.raises(UserError, match=r"20 s between frames 4 and 5, .* 8 s off a uniform axis, 1% of a step"):
        check_times(read(np.where(np.arange(6) > 4, 60.0, np.arange(6) * 10.0))[0], "run 1")


def test_splits_hold_within_the_tolerance():
    """Bounds that were written for the true times fit an axis that was rounded, and a bound that is a whole second."""
    times = START + np.rint(np.arange(12) * 1e9 / 3).astype("timedelta64[ns]")
    bounds = {"train": (str(times[0]), str(times[7])), "test": (str(times[8]), str(times[11]))}
    for shift in (-2000, 0, 2000):
        moved = times + np.timedelta64(shift, "ns")
        assert split_ranges(moved, bounds, "run 1") == {"train": (0, 8), "test": (8, 12)}


@pytest.mark.parametrize("unit", ["nanoseconds", "seconds", "days"])
@pytest.mark.parametrize("far", [1e19, 1e60, 1e300, -1e300])
def test_numbers_that_overflow_are_refused_as_dates_out_of_reach(unit, far):
    with pytest.raises(UserError, match=r"run 1: time lies in the years .*; shift the time axis"):
        read([0.0, far], f"{unit} since 2000-01-01")
