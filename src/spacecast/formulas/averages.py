"""What follows from averages over nodes and windows: which variables count, means over them, scores of several.

Averages have the variables on their last axis.
"""

import math

import numpy as np
import torch
from torch import Tensor

ROUNDING = 1e-6  # of the size of a value: what single precision may make of it


def changes(persistence_square: Tensor, truth_square: Tensor, offset: Tensor) -> Tensor:
    """Whether a variable changes by more than rounding, so that its errors can be held against those of persistence.

    All means over variables take those that do, and leave the others out.

    Args:
        persistence_square: mean squared error of persistence, standardised, shape (..., variable).
        truth_square: mean square of the standardised truth, same shape.
        offset: mean of each variable in standard deviations, by which it was standardised, shape (variable,).

    """
    return persistence_square > ROUNDING**2 * (truth_square + offset.square())


def is_constant(mean: Tensor, square: Tensor, offset: Tensor) -> Tensor:
    """Whether a field varies over nodes and windows by rounding alone; what is no number does not.

    Args:
        mean, square: of the standardised field, shape (..., variable).
        offset: mean of each variable in standard deviations, shape (variable,).

    """
    return square - mean.square() <= ROUNDING**2 * (square + offset.double().square())


def variable_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the variables that count, last axis removed: NaN where one of them is NaN, or where there is none."""
    total = torch.where(counted, values, torch.zeros_like(values)).sum(dim=-1)
    return total / counted.sum(dim=-1)


def root(values: Tensor) -> Tensor:
    """Square root, the nearest number there is; that of torch may differ from it in the last digit."""
    return torch.as_tensor(np.sqrt(values.numpy()))


def correlation(f: Tensor, y: Tensor, ff: Tensor, yy: Tensor, fy: Tensor, *, offset: Tensor) -> Tensor:
    """Pearson's coefficient of f and y over nodes and windows, from their means and those of their products.

    NaN where one of them is constant, by `is_constant`.
    """
    covariance = fy - f * y
    variances = (ff - f.square()) * (yy - y.square())
    constant = is_constant(f, ff, offset) | is_constant(y, yy, offset)
    return torch.where(constant, math.nan, covariance / root(variances.abs()))


def anomaly_correlation(ff: Tensor, yy: Tensor, fy: Tensor) -> Tensor:
    """Correlation of the departures from a climatology, from the means of their products.

    mean(f' y') / sqrt(mean(f'^2) mean(y'^2)) with f' and y' forecast and truth less the climatology of each node: the
    uncentred anomaly correlation (Wilks 2011, Statistical Methods in the Atmospheric Sciences, section 8.6.4). NaN
    where one of them does not depart from it.
    """
    size = root(ff) * root(yy)
    return torch.where(size > 0, fy / size, math.nan)


def spread_skill_ratio(variance: Tensor, mean_square: Tensor, members: int) -> Tensor:
    """Spread over the RMSE of the ensemble mean, corrected for the number of members.

    sqrt((M + 1) / M) sqrt(variance) / sqrt(mean_square): Fortin et al. (2014), J. Hydromet. 15, eq. 15, which averages
    variances, not standard deviations. It is 1 when the truth is exchangeable with the members, for every M >= 2; below
    1 the ensemble is under-dispersed.

    Args:
        variance: over members, unbiased, averaged over nodes and windows.
        mean_square: squared error of the ensemble mean, averaged over the same.
        members: M.

    """
    return math.sqrt((members + 1) / members) * root(variance) / root(mean_square)


def median(values: Tensor, *, skip_missing: bool = False) -> Tensor:
    """The lower median along the last axis, as `torch.median` has it.

    That one is refused on GPUs where all is to be deterministic, for it also tells at which of equal values it is.

    Args:
        values: shape (..., value).
        skip_missing: leave NaN out; otherwise one makes the result NaN.

    Returns:
        Shape (...); NaN where there is no value.

    """
    missing = values.isnan().sum(dim=-1, keepdim=True)
    count = values.shape[-1] - missing
    middle = values.sort(dim=-1).values.gather(-1, (count - 1).clamp(min=0) // 2)
    return (middle if skip_missing else middle.masked_fill(missing > 0, math.nan)).squeeze(-1)
