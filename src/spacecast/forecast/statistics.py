"""Mean and spread over the members of a store of forecasts, a chunk at a time."""

from pathlib import Path

import numpy as np
import zarr

from spacecast.forecast.layout import Layout


def mean_and_spread(members: zarr.Array, start: int, leads: slice, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased standard deviation over the members of some leads of one forecast.

    Members are added one by one in double precision (Welford 1962), so the numbers depend on nothing but the members.

    Args:
        members: forecasts, (init_time, member, lead_time, axis ...).
        start: number of the initial time.
        leads: of the leads.
        step: members that are read at a time.

    Returns:
        Two arrays (lead, axis ...) in double precision.

    """
    mean = squares = np.zeros(())
    count = 0
    with np.errstate(invalid="ignore", over="ignore"):  # members may be infinite
        for first in range(0, members.shape[1], step):
            for member in np.asarray(members[start, first : first + step, leads]):
                count += 1
                off = member.astype(np.float64) - mean
                mean = mean + off / count
                squares = squares + off * (member - mean)
    return mean, np.sqrt(squares / (count - 1))


def blocks(layout: Layout) -> list[tuple[int, slice]]:
    """Units of work: initial time, and leads of a chunk."""
    size = layout.chunks["lead_time"]
    leads = [slice(first, min(first + size, layout.steps)) for first in range(0, layout.steps, size)]
    return [(start, each) for start in range(len(layout.starts)) for each in leads]


def write_statistics(members: Path, target: Path, layout: Layout, block: tuple[int, slice]) -> None:
    """Write mean and spread of all variables of one block of leads.

    Args:
        members: store with the members.
        target: store with the arrays of the statistics.
        layout: of both.
        block: one of `blocks`.

    """
    source, found = zarr.open_group(members, mode="r"), zarr.open_group(target, mode="r+")
    start, leads = block
    for name in layout.spec.state.names:
        statistics = mean_and_spread(source[name], start, leads, layout.chunks["member"])
        for kind, values in zip(("mean", "spread"), statistics, strict=True):
            found[f"{name}_{kind}"][start, leads] = values.astype(np.float32)
