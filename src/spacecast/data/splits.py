"""The splits of a run."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.storage.times import TOLERANCE

STATISTICS = ("mean", "std", "diff_mean", "diff_std")
"""Of the training split, as mllam-data-prep stores them."""
SPLITS = ("train", "val", "test")
"""Of every run, in time order."""


def split_ranges(times: np.ndarray, bounds: Mapping[str, Sequence[str]], label: str) -> dict[str, tuple[int, int]]:
    """Frames [start, stop) of each split.

    Stored bounds are inclusive on both sides, as in mllam-data-prep: a day or a second means all of it. Those with
    decimals are instants and hold within the tolerance of time axes. Where a split ends on the step at which the next
    one starts, the shared frame belongs to the earlier split, so that no frame is in two.

    Raises:
        UserError: when a split is empty or shares more than one frame with another.

    """
    step = np.median(np.diff(times) / np.timedelta64(1, "ns"))
    slack = np.timedelta64(round(TOLERANCE * step), "ns")
    plain, early, late = (
        xr.DataArray(np.arange(times.size), coords={"time": moved}, dims="time")
        for moved in (times, times - slack, times + slack)
    )
    ranges: dict[str, tuple[int, int]] = {}
    for name, (start, end) in bounds.items():
        try:
            after = (late if "." in start else plain).sel(time=slice(start, None)).values
            until = (early if "." in end else plain).sel(time=slice(None, end)).values
            chosen = np.intersect1d(after, until)
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
