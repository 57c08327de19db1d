"""Time axes: from stored numbers to dates on an exact grid, or an error that says what is wrong with them."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from spacecast.core.errors import UserError

logger = logging.getLogger(__name__)
TOLERANCE = 0.01
"""Largest distance of a frame from a uniform time axis, in steps."""
DEVIATION = "deviation_s"
"""Key of `encoding` under which a decoded time axis bears what it was moved by."""
CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
NANOSECONDS = {
    "nanosecond": 1,
    "microsecond": 10**3,
    "millisecond": 10**6,
    "second": 10**9,
    "minute": 60 * 10**9,
    "hour": 3600 * 10**9,
    "day": 86400 * 10**9,
}
SHORT = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "msec": "millisecond", "s": "second"}
SHORT |= {"sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day"}
ADVICE = "store it as datetime64 (CF units 'seconds since ...')"
LIMITS = (-(2**63) + 1, 2**63 - 1)
SPAN = "1677 to 2262"
FARTHEST = 1e30  # numbers beyond it are no dates in any unit, and would overflow


def decode_times(
    numbers: np.ndarray, missing: np.ndarray, attrs: Mapping[str, Any], label: str
) -> tuple[np.ndarray, float]:
    """Dates of a stored time axis.

    Times that are uniform within `TOLERANCE` are put on the exact grid that they lie on: floats in days or hours are
    rounded, and mllam-data-prep and the splits want one step.

    Args:
        numbers: what is stored, or dates; shape (frame,).
        missing: True where a time is missing.
        attrs: attributes; `units` and `calendar` say what the numbers mean.
        label: what the axis belongs to, for errors.

    Returns:
        datetime64[ns], and by how many seconds the stored times deviate from them beyond the precision of their type.
        An axis that is not uniform is returned as it is: `check_times` names the fault.

    Raises:
        UserError: the numbers are no dates, of another calendar, missing, or beyond what datetime64[ns] can hold.

    """
    if numbers.dtype.kind == "M":
        missing = np.isnat(numbers)
    elif numbers.dtype.kind not in "iuf":
        calendar = getattr(numbers.flat[0], "calendar", "") if numbers.size else ""  # of a date of another one
        if calendar and calendar not in CALENDARS:
            raise UserError(_other_calendar(label, calendar))
        raise UserError(f"{label}: time axis holds {numbers.dtype}, not dates; {ADVICE}")
    elif numbers.dtype == np.int64:
        missing = missing | (numbers == np.iinfo(np.int64).min)  # (how NaT is stored)
    if missing.any():
        raise UserError(f"{label}: the time of frame {int(np.argmax(missing))} is missing; correct the time axis")
    if numbers.dtype.kind == "M":
        dates, resolution = _to_nanoseconds(numbers, label), 0.0
    else:
        dates, resolution = _from_numbers(numbers, attrs, label)
    return _uniform(dates, resolution)


def _to_nanoseconds(dates: np.ndarray, label: str) -> np.ndarray:
    """Dates of any unit as datetime64[ns]."""
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    if years.size and not 1678 <= years.min() <= years.max() <= 2261:
        raise UserError(_beyond(label, f"{years.min()} to {years.max()}"))
    return dates.astype("datetime64[ns]")


def _beyond(label: str, years: str) -> str:
    return f"{label}: time lies in the years {years}, dates are held for {SPAN} only; shift the time axis"


def _other_calendar(label: str, calendar: str) -> str:
    known = ", ".join(CALENDARS)
    return f"{label}: time is in calendar {calendar!r}, expected one of {known}; convert the time axis"


def _from_numbers(numbers: np.ndarray, attrs: Mapping[str, Any], label: str) -> tuple[np.ndarray, float]:
    """Dates of numbers in CF units, and the precision in nanoseconds that the type of the numbers has."""
    unit, since, reference = str(attrs.get("units", "")).partition(" since ")
    unit = unit.strip()
    unit = SHORT.get(unit, unit.lower().removesuffix("s"))
    if not since or unit not in NANOSECONDS:
        told = f" in units {attrs['units']!r}" if attrs.get("units") else ""
        raise UserError(f"{label}: time axis holds {numbers.dtype}{told}, not dates; {ADVICE}")
    calendar = str(attrs.get("calendar", "standard")).lower()
    if calendar not in CALENDARS:
        raise UserError(_other_calendar(label, calendar))
    start, size = _reference(reference.strip(), calendar, label), NANOSECONDS[unit]
    if not np.isfinite(numbers).all():
        frame = int(np.argmin(np.isfinite(numbers)))
        raise UserError(f"{label}: the time of frame {frame} is {numbers[frame]}; correct the time axis")
    if not numbers.size:
        return np.empty(0, "datetime64[ns]"), 0.0
    low, high = (float(np.clip(end, -FARTHEST, FARTHEST)) for end in (numbers.min(), numbers.max()))
    ends = [start + round(end * size) for end in (low, high)]
    if not LIMITS[0] <= ends[0] <= ends[1] <= LIMITS[1]:
        years = [round(1970 + end / (365.2425 * NANOSECONDS["day"])) for end in ends]
        raise UserError(_beyond(label, f"{years[0]} to {years[1]}"))
    if numbers.dtype.kind == "f":
        whole = np.floor(numbers.astype(np.float64))
        parts = np.rint((numbers - whole) * size).astype(np.int64)
        resolution = float(np.spacing(np.abs(numbers).max())) * size
    else:
        whole, parts, resolution = numbers, np.zeros(numbers.shape, np.int64), 0.0
    base = int(whole.min())  # (a reference date in the year 1 would overflow)
    offsets = start + base * size + (whole - whole.min()).astype(np.int64) * size + parts
    return offsets.astype("datetime64[ns]"), resolution


def _reference(text: str, calendar: str, label: str) -> int:
    """Nanoseconds from 1970 to the reference date of CF units; may lie far in the past."""
    date, _, clock = text.replace("T", " ").strip().partition(" ")
    try:
        year, month, day = (int(part) for part in date.rsplit("-", 2))
        days = np.datetime64(f"{year:04d}-{month:02d}-{day:02d}", "D").astype(np.int64)
        stamp = pd.Timestamp(f"1970-01-01 {clock}".strip())
        stamp = stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo else stamp
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{label}: time is counted since {text!r}, which is no date; correct its units") from error
    if year < 1583 and calendar != "proleptic_gregorian":
        raise UserError(
            f"{label}: time is counted since {text!r} in calendar {calendar!r}, which has another date before 1583; "
            "use calendar 'proleptic_gregorian' or a later reference date"
        )
    return int(days) * NANOSECONDS["day"] + int(stamp.as_unit("ns").value)


def _uniform(dates: np.ndarray, resolution: float) -> tuple[np.ndarray, float]:
    """Dates on the grid that they lie on within the tolerance, else as they are; and their deviation in seconds."""
    if dates.size < 2:
        return dates, 0.0
    ticks = dates.astype(np.int64)
    first = int(ticks[0])
    step = (int(ticks[-1]) - first) / (dates.size - 1)
    numbers = np.arange(dates.size)
    line = first + np.rint(numbers * step).astype(np.int64)
    deviation = float(np.abs(ticks - line).max())
    if step <= 0 or deviation > TOLERANCE * step:
        return dates, 0.0
    beyond = deviation / 1e9 if deviation > 2 * resolution + 1 else 0.0
    slack = 1.5 * max(deviation, resolution) if deviation else 0.0
    for unit in (10**9, 10**8, 10**7, 10**6, 10**3):
        grid = round(first / unit) * unit + numbers * (round(step / unit) * unit)
        if step >= unit / 2 and np.abs(ticks - grid).max() <= slack:
            return grid.astype("datetime64[ns]"), beyond
    return line.astype("datetime64[ns]"), beyond


def check_times(times: np.ndarray, label: str) -> float:
    """Return the time step [s] of a uniform, ascending time axis.

    Args:
        times: time stamps, datetime64, shape (frame,).
        label: what the axis belongs to, for the error.

    Raises:
        UserError: when the axis holds no dates, or is not uniform and ascending.

    """
    if not np.issubdtype(times.dtype, np.datetime64):
        raise UserError(f"{label}: time axis holds {times.dtype}, not dates; {ADVICE}")
    if times.size < 2:
        raise UserError(f"{label}: {times.size} frame(s) of time, at least 2 are needed")
    ticks = times.astype("datetime64[ns]").astype(np.int64)
    steps = np.diff(ticks) / 1e9
    typical = float(np.median(steps))
    if typical <= 0:
        raise UserError(f"{label}: time is not uniform: {typical:g} s from frame to frame; sort the frames by time")
    step = (int(ticks[-1]) - int(ticks[0])) / (ticks.size - 1)
    apart = np.abs(ticks - ticks[0] - np.arange(ticks.size) * step)
    if apart.max() > TOLERANCE * step:
        place = int(np.argmax(np.abs(steps - typical)))
        raise UserError(
            f"{label}: time is not uniform: {steps[place]:.10g} s between frames {place} and {place + 1}, elsewhere "
            f"{typical:.10g} s; frames lie up to {apart.max() / 1e9:.3g} s off a uniform axis, "
            f"{TOLERANCE:.0%} of a step is allowed; fill the gap or cut the run there"
        )
    return step / 1e9


def warn_deviation(time: xr.DataArray, label: str) -> None:
    """Say that frames were moved to a uniform time axis, where it is by more than a hundredth of the tolerance."""
    deviation, step = float(time.encoding.get(DEVIATION, 0.0)), check_times(time.values, label)
    if deviation > TOLERANCE / 100 * step:
        logger.warning(
            "%s: time deviates by up to %.3g s from steps of %g s and is taken as uniform (up to %g %% of a step is)",
            *(label, deviation, step, 100 * TOLERANCE),
        )
