"""Whether one model or setting scores better than another, or by chance."""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.stats import false_discovery_control, t, ttest_ind

LEAST_SEEDS = 3
LEAST_BLOCKS = 5
LEVEL = 0.05
DRAWS = 1000


def verdict(best: Sequence[float], second: Sequence[float]) -> str:
    """A sentence on the lead of the best setting over the second best, by Welch's t-test over seeds.

    Args:
        best, second: the score of each seed.

    """
    if min(len(best), len(second)) < LEAST_SEEDS:
        return f"Too few seeds to tell a difference from chance: give {LEAST_SEEDS} or more for each setting."
    gap = abs(float(np.mean(best) - np.mean(second)))
    if np.ptp(best) == 0 and np.ptp(second) == 0:
        return f"Its lead over the second best is {gap:.3g}; the seeds make no difference, so there is nothing to test."
    p = float(ttest_ind(best, second, equal_var=False).pvalue)
    kind = "significant" if p < LEVEL else "not significant"
    return f"Its lead of {gap:.3g} over the second best is {kind} (p = {p:.2g}, Welch's t-test over seeds)."


class PairedTest(NamedTuple):
    """A difference, the interval that holds it at the level of 95 %, and the p-value that it is 0; NaN: not known."""

    difference: float
    low: float
    high: float
    p: float


def paired_test(
    statistic: Callable[[np.ndarray], np.ndarray], series: np.ndarray, runs: Sequence[Hashable], overlap: int = 1
) -> PairedTest:
    """Test a difference of scores over initial times that follow each other and are therefore alike.

    Blocks of neighbouring initial times are drawn with replacement from all runs, none across two of them (circular
    block bootstrap, Künsch 1989, Politis & Romano 1992), with both models at the same times. The deviation of the
    statistic over the draws is its standard error, and Student's t with as many degrees of freedom as there are
    independent blocks, less one, gives interval and p-value: the quantiles of the draws of few blocks are too narrow.

    Args:
        statistic: from weights of the initial times, shape (draw, start), each row with the sum 1, to the difference of
            both models, shape (draw,).
        series: difference of the scores at each initial time, by which the length of the blocks is chosen, see
            `block_length`.
        runs: run of each initial time, those of a run side by side and in order.
        overlap: shortest length of a block, the number of neighbouring forecasts that have frames in common.

    Returns:
        Without interval and p-value where there are fewer than `LEAST_BLOCKS` blocks; all NaN where the difference is
        no number.

    """
    number = len(runs)
    difference = float(statistic(np.full((1, number), 1 / number))[0])
    if not np.isfinite(difference):
        return PairedTest(np.nan, np.nan, np.nan, np.nan)
    block = block_length(series, runs, overlap)
    blocks = number / block
    if blocks < LEAST_BLOCKS:
        return PairedTest(difference, np.nan, np.nan, np.nan)
    draws = statistic(block_weights(tuple(runs), block))
    error = float(draws.std(ddof=1)) * np.sqrt(np.ceil(blocks) / (blocks - 1))
    if not np.isfinite(error):
        return PairedTest(difference, np.nan, np.nan, np.nan)
    if error == 0:
        return PairedTest(difference, difference, difference, float(difference == 0))
    half = float(t.isf(LEVEL / 2, blocks - 1)) * error
    p = 2 * float(t.sf(abs(difference) / error, blocks - 1))
    return PairedTest(difference, difference - half, difference + half, p)


def block_length(series: np.ndarray, runs: Sequence[Hashable], least: int = 1) -> int:
    """How many neighbouring initial times are drawn together, by the rule of Wilks (1997) for the bootstrap of means.

    The length L solves L = (n - L + 1)^((2/3) (1 - n'/n)), where n'/n = (1 - r) / (1 + r) is the share of independent
    times among n times of an autoregressive series with the autocorrelation r at lag 1. The estimate of r has its bias
    of -(1 + 3 r) / n (Kendall 1954) taken off. No block is longer than the longest run.

    Args:
        series: shape (start,), or (start, series) with others like the first, such as of other variables: r is then
            that of the first or the mean of all, whichever is larger, for one short series alone often seems to have
            none. A series that is not finite everywhere, or constant, tells nothing.
        runs: run of each initial time, those of a run side by side and in order.
        least: shortest length.

    """
    number, labels = len(runs), np.array([list(dict.fromkeys(runs)).index(run) for run in runs])
    longest = int(np.bincount(labels).max())
    lags = _lag_one(np.asarray(series, dtype=np.float64).reshape(number, -1), labels)
    known = lags[~np.isnan(lags)]
    lag = float(np.fmax(lags[0], known.mean())) if known.size else -1.0
    lag = float(np.clip(lag + (1 + 3 * lag) / number, 0, 0.99))
    exponent, length = 2 / 3 * (1 - (1 - lag) / (1 + lag)), 1
    while length < longest and length < (number - length + 1) ** exponent:
        length += 1
    return max(1, min(max(length, least), longest))


def _lag_one(series: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Autocorrelation of neighbours within a run, about the mean of all, NaN where there is none; shape (series,)."""
    neighbours = labels[1:] == labels[:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = series - series.mean(axis=0)
        products = (deviation[1:] * deviation[:-1])[neighbours]
        if not len(products):
            return np.full(series.shape[1], np.nan)
        lags = products.mean(axis=0) / np.mean(deviation**2, axis=0)
    return np.where(np.isfinite(lags), lags, np.nan)


@lru_cache(maxsize=64)
def block_weights(runs: tuple[Hashable, ...], block: int, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Weights of initial times in draws of whole blocks, each row with the sum 1: shape (draw, start).

    Each block begins at any time of any run; at the end of its run it goes on with the first times of that run, so that
    all times are drawn equally often on average.

    Args:
        runs: run of each initial time, those of a run side by side and in order.
        block: times in a block.
        draws: rows.
        seed: of the draws.

    """
    number, labels = len(runs), np.array([list(dict.fromkeys(runs)).index(run) for run in runs])
    sizes = np.bincount(labels)
    first = (np.cumsum(sizes) - sizes)[labels]  # of the run of each time
    starts = np.random.default_rng(seed).integers(number, size=(draws, -(-number // block)))
    within = (starts - first[starts])[..., None] + np.arange(block)
    drawn = (first[starts][..., None] + within % sizes[labels][starts][..., None]).reshape(draws, -1)
    places = drawn + number * np.arange(draws)[:, None]
    counts = np.bincount(places.ravel(), minlength=draws * number).reshape(draws, number)
    return np.asarray(counts / drawn.shape[1])


def adjusted(p: Sequence[float]) -> np.ndarray:
    """p-values corrected for their number: a false discovery rate below which each counts (Benjamini & Hochberg 1995).

    Args:
        p: NaN where nothing was tested, which stays so and does not count.

    """
    values = np.asarray(p, dtype=np.float64)
    known = ~np.isnan(values)
    result = np.full(values.shape, np.nan)
    if known.any():
        result[known] = false_discovery_control(values[known])
    return result
