"""Whether a rank histogram is flat, and how it is not.

A histogram holds the share of each of the K = M + 1 ranks that the truth may take among M members. `contrasts` turns it
into K - 1 numbers, all zero when it is flat: the first is its slope, the second its curvature (Jolliffe & Primo 2008,
Mon. Wea. Rev. 136, 2133-2139, where their squares times the sample size sum up to Pearson's chi-square). That
statistic has a chi-square distribution for independent truths only. The nodes of one forecast are anything but, so
`flatness` takes whole groups of forecasts as what is drawn, and never counts nodes.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Flatness(NamedTuple):
    """Statistic of a test of flatness: `value` has an F distribution of (`numerator`, `denominator`) degrees."""

    value: Tensor
    numerator: Tensor
    denominator: Tensor


def contrast_matrix(ranks: int) -> Tensor:
    """Orthonormal polynomials over the ranks but for the constant one, slope and curvature first, shape (K - 1, K).

    The slope is positive where the truth ranks high too often, the curvature where it lies outside of the members too
    often.
    """
    place = np.linspace(-1, 1, ranks)
    basis, size = np.linalg.qr(np.polynomial.legendre.legvander(place, ranks - 1))
    return torch.as_tensor((basis * np.sign(np.diag(size))).T[1:].copy())


def contrasts(histogram: Tensor) -> Tensor:
    """Components of a histogram that are zero when it is flat: shares, shape (..., K), to (..., K - 1).

    sqrt(K) sum_r u_lr h_r with the orthonormal polynomials u_l. The sum of their squares is K sum_r (h_r - 1 / K)^2,
    Pearson's chi-square over the number of ranks drawn, however the histogram differs from a flat one.
    """
    ranks = histogram.shape[-1]
    return ranks**0.5 * histogram.double() @ contrast_matrix(ranks).to(histogram.device).T


def reliability_index(histogram: Tensor) -> Tensor:
    """Sum over the ranks of |h_r - 1 / K|, 0 when flat (Delle Monache et al. 2006, J. Geophys. Res. 111, D24307).

    Shares of shape (..., K) to (...). At most 2 - 2 / K.
    """
    return (histogram - 1 / histogram.shape[-1]).abs().sum(dim=-1)


def flatness(components: Tensor) -> Flatness:
    """Test that the mean of some components is zero, from groups that are independent of each other.

    With groups g = 1 ... G, mean m of their vectors c_g and S their sample covariance, F = G |m|^2 / tr S has about an
    F distribution of v and v (G - 1) degrees of freedom, v = (tr S)^2 / tr S^2: the second-order correction of Rao &
    Scott (1981), J. Am. Stat. Assoc. 76, for chi-square tests on clusters, with its reference distribution of Thomas &
    Rao (1987), J. Am. Stat. Assoc. 82. Of one component it is Student's t, squared. S holds whatever correlation there
    is within a group.

    Args:
        components: those of `contrasts` to be tested together, shape (group, ..., component).

    Returns:
        Shapes (...), NaN for a single group and where all groups are the same.

    """
    groups = len(components)
    mean = components.mean(dim=0)
    rest = components - mean
    outer = torch.einsum("g...i,g...j->...ij", rest, rest) / max(groups - 1, 1)
    trace, square = outer.diagonal(dim1=-2, dim2=-1).sum(dim=-1), outer.square().sum(dim=(-2, -1))
    known = (trace > 1e-12) & torch.tensor(groups > 1, device=trace.device)
    value, degrees = groups * mean.square().sum(dim=-1) / trace, trace.square() / square
    value, degrees = (torch.where(known, each, torch.nan) for each in (value, degrees))
    return Flatness(value, degrees, degrees * (groups - 1))
