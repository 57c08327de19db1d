"""Whether ranks are flat, or differ from it by chance: p-values from the rank histograms of single forecasts."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from scipy.stats import f

from spacecast.formulas.ranks import contrasts, flatness

TESTS = {
    "rank_flatness_p": ("p-value of flat ranks", slice(None)),
    "rank_slope_p": ("p-value of ranks without a slope", slice(0, 1)),
    "rank_curvature_p": ("p-value of ranks without a curvature", slice(1, 2)),
}
"""Label of each test, and the components of a histogram that it takes."""


def with_rank_tests(scores: xr.Dataset) -> xr.Dataset:
    """Scores of an ensemble with the p-values of `TESTS`, shape (lead_time, variable); others as they are."""
    if "rank_histogram_by_start" not in scores:
        return scores
    histograms = scores["rank_histogram_by_start"].transpose("start", "lead_time", "variable", "rank").values
    found = rank_tests(histograms, scores["start_run"].values.tolist(), scores.sizes["lead_time"])
    facts = {"units": "1", "method": "F test on blocks of initial times, Rao and Scott 1981, Thomas and Rao 1987"}
    axes = ("lead_time", "variable")
    return scores.assign({name: (axes, p, {"long_name": TESTS[name][0], **facts}) for name, p in found.items()})


def rank_tests(histograms: np.ndarray, runs: Sequence[int | str], leads: int) -> dict[str, np.ndarray]:
    """Chance of ranks that differ from flat ones as much as these do, or more, if the truth is like the members.

    Nodes of a forecast are not independent of each other, nor are forecasts whose frames overlap. What counts as drawn
    are therefore blocks of at least `leads` neighbouring initial times of a run, a run with fewer being one block; see
    `formulas.ranks.flatness`. NaN where there are fewer than two blocks.

    Args:
        histograms: how often the truth took each rank, shape (start, ..., rank).
        runs: run of each initial time, those of a run in order and side by side.
        leads: number of leads of a forecast.

    Returns:
        By name, each of shape (...): `rank_flatness_p`, of all ranks; `rank_slope_p`, of the members lying too high or
        too low; `rank_curvature_p`, of too much or too little spread.

    """
    with np.errstate(invalid="ignore"):
        shares = histograms / histograms.sum(axis=-1, keepdims=True)
    components = contrasts(torch.as_tensor(np.stack([shares[block].mean(axis=0) for block in blocks(runs, leads)])))
    return {
        name: f.sf(*(each.numpy() for each in flatness(components[..., part]))) for name, (_, part) in TESTS.items()
    }


def blocks(runs: Sequence[int | str], least: int) -> list[np.ndarray]:
    """Places of neighbouring initial times, as many blocks of `least` or more as each run has room for."""
    places = [np.flatnonzero(np.asarray(runs) == run) for run in dict.fromkeys(runs)]
    return [block for run in places for block in np.array_split(run, max(1, len(run) // least))]
