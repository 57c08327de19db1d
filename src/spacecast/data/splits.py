"""Time axes and the splits of a run."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError


def check_times(times: np.ndarray, label: str) -> float:
    """Return the time step [s] of a uniform, ascending time axis.

    Args:
        times: time stamps, datetime64, shape (frame,).
        label: what the axis belongs to, for the error.

    Raises:
        UserError: when the axis holds no dates, or is not uniform and ascending.

    """
    if not np.issubdtype(times.dtype, np.datetime64):
        raise UserError(
            f"{label}: time axis holds {times.dtype}, not dates; store it as datetime64 (CF units 'seconds since ...')"
        )
    if times.size < 2:
        raise UserError(f"{label}: {times.size} frame(s) of time, at least 2 are needed")
    steps = np.diff(times) / np.timedelta64(1, "s")
    typical = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - typical) > 1e-6 * max(abs(typical), 1e-9))
    if typical <= 0 or odd.size:
        place = int(odd[0]) if odd.size else 0
        raise UserError(
            f"{label}: time is not uniform: {steps[place]:g} s between frames {place} and {place + 1}, "
            f"elsewhere {typical:g} s; "
            "fill the gap or cut the run there"
        )
    return typical


def split_ranges(times: np.ndarray, bounds: Mapping[str, Sequence[str]], label: str) -> dict[str, tuple[int, int]]:
    """Frames [start, stop) of each split.

    Stored bounds are inclusive on both sides, as in mllam-data-prep. Where a split ends on the step at which the next
    one starts, the shared frame belongs to the earlier split, so that no frame is in two.

    Raises:
        UserError: when a split is empty or shares more than one frame with another.

    """
    numbers = xr.DataArray(np.arange(times.size), coords={"time": times}, dims="time")
    ranges: dict[str, tuple[int, int]] = {}
    for name, (start, end) in bounds.items():
        try:
            chosen = numbers.sel(time=slice(start, end)).values
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{label}: bounds {start!r} to {end!r} of split {name!r} are no times; correct its YAML"
            ) from error
        if chosen.size == 0:
            raise UserError(
                f"{label}: split {name!r} from {start} to {end} holds no frame; the run spans {times[0]} to {times[-1]}"
            )
        ranges[name] = (int(chosen[0]), int(chosen[-1]) + 1)
    ordered = sorted(ranges, key=lambda name: ranges[name])
    for earlier, later in itertools.pairwise(ordered):
        shared = ranges[earlier][1] - ranges[later][0]
        if shared > 1:
            raise UserError(
                f"{label}: splits {earlier!r} and {later!r} share {shared} frames; no frame may be in two splits"
            )
        if shared == 1:
            ranges[later] = (ranges[later][0] + 1, ranges[later][1])
            if ranges[later][0] >= ranges[later][1]:
                raise UserError(
                    f"{label}: split {later!r} holds no frame of its own, its only one belongs to {earlier!r}"
                )
    return ranges
