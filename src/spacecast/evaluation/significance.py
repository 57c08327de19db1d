"""Whether one setting scores better than another, or by chance."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_ind

LEAST_SEEDS = 3
LEVEL = 0.05


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
