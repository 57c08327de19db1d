"""Scores and losses of ensembles, entry by entry; the members are the first axis, shape (member, ...)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from spacecast.core.errors import UserError, nearest

Estimator = Literal["fair", "almost_fair", "ecdf"]


def check_estimator(estimator: str, known: Sequence[str] = get_args(Estimator)) -> None:
    """Refuse an estimator of the CRPS that is none of the known ones."""
    if estimator not in known:
        raise UserError(f"unknown CRPS estimator {estimator!r}; {nearest(estimator, known)}")


def spread_share(members: int, estimator: Estimator = "fair", alpha: float = 0.95) -> float:
    """The factor c by which an estimator of CRPS or energy score weighs the mean distance between members."""
    check_estimator(estimator)
    return {"fair": 1.0, "almost_fair": 1 - (1 - alpha) / members, "ecdf": 1 - 1 / members}[estimator]


def crps_ensemble(members: Tensor, truth: Tensor, *, estimator: Estimator = "fair", alpha: float = 0.95) -> Tensor:
    """Continuous ranked probability score of an ensemble.

    mean_j |x_j - y| - c / (2 M (M - 1)) sum_jk |x_j - x_k| for M members, the double sum from sorted members in
    O(M log M): sum_jk |x_j - x_k| = 2 sum_i (2 i - M - 1) x_(i). One member leaves the absolute error.

    Args:
        members: shape (member, ...).
        truth: shape (...).
        estimator: `fair`, c = 1, is unbiased for the distribution that the members are drawn from (Ferro 2014). It
            cannot tell apart ensembles of which one member is off as long as another one is right; `almost_fair`,
            c = 1 - (1 - alpha) / M, can (Lang et al. 2024, AIFS-CRPS, equation 4). `ecdf`, c = 1 - 1 / M, is the score
            of the empirical distribution (Zamo & Naveau 2018).
        alpha: share of the fair score in `almost_fair`.

    Raises:
        UserError: for an unknown estimator.

    """
    count = len(members)
    share = spread_share(count, estimator, alpha)
    errors = members - truth
    skill = errors.abs().mean(dim=0)
    if count == 1:
        return skill
    if count == 2:
        return skill - 0.5 * share * (errors[0] - errors[1]).abs()
    weights = torch.arange(1 - count, count, 2, dtype=errors.dtype, device=errors.device)
    ordered = errors.movedim(0, -1).sort(dim=-1).values
    return skill - share * (ordered @ weights) / (count * (count - 1))


def member_variance(members: Tensor) -> Tensor:
    """Unbiased variance over members; zero of one member.

    Tensor.var along a leading axis takes three times as long.
    """
    return (members - members.mean(dim=0)).square().sum(dim=0) / max(len(members) - 1, 1)


def mean_squared_error_of_mean(members: Tensor, truth: Tensor) -> Tensor:
    """Squared error of the mean of the distribution that the members are drawn from.

    (mean_j x_j - y)^2 - s^2 / M with the sample variance s^2: an unbiased estimate, for the mean of M members misses
    that of their distribution by s^2 / M (Fortin et al. 2014). So, unlike the plain squared error of the ensemble mean,
    it does not reward an ensemble for having no spread. Of one member it is the plain squared error.

    Args:
        members: shape (member, ...).
        truth: shape (...).
    """
    squared = (members.mean(dim=0) - truth).square()
    return squared if len(members) == 1 else squared - member_variance(members) / len(members)


def error_products(members: Tensor, truth: Tensor) -> Tensor:
    """Sums over entries of the errors of two members multiplied, (x_j - y) (x_k - y), in double precision.

    They add up over parts of a field, so that a large one needs not be held at once. Only the errors themselves are of
    the precision of what is given, so that a product is off by what single precision makes of it, 1e-7 of its size.

    Args:
        members: shape (member, ..., entry).
        truth: shape (..., entry).

    Returns:
        Shape (..., member, member).

    """
    errors = (members - truth).movedim(0, -2).contiguous().double()
    return errors @ errors.mT


def energy_score(products: Tensor, *, estimator: Estimator = "fair") -> Tensor:
    """Energy score of an ensemble of fields: the CRPS with a norm in place of the absolute value.

    mean_j |x_j - y| - c / (2 M (M - 1)) sum_jk |x_j - x_k| (Gneiting & Raftery 2007, J. Am. Stat. Assoc. 102, section
    4.3; c as in `crps_ensemble`), from |x_j - x_k|^2 = <e_j, e_j> + <e_k, e_k> - 2 <e_j, e_k> with errors e = x - y.
    In double precision what cancels in there is below 1e-8 of the error. One member leaves the norm of its error.

    Args:
        products: <e_j, e_k>, shape (..., member, member): `error_products` over the number of entries, which makes the
            norm a root mean square, the same for every number of nodes.
        estimator: see `crps_ensemble`.

    Returns:
        Shape (...).

    """
    count = products.shape[-1]
    squared = products.diagonal(dim1=-2, dim2=-1)
    skill = squared.sqrt().mean(dim=-1)
    if count == 1:
        return skill
    distances = (squared[..., None] + squared[..., None, :] - 2 * products).clamp(min=0).sqrt()
    pairs = distances.triu(diagonal=1).sum(dim=(-2, -1))
    return skill - spread_share(count, estimator) * pairs / (count * (count - 1))


def rank_histogram(members: Tensor, truth: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """How often the truth takes each rank among the members, counts of shape (variable, M + 1).

    Flat when the truth is exchangeable with the members, U-shaped for too little spread (Hamill 2001). Ties are
    broken by chance. All axes of the truth but the last, the variables, are counted together.
    """
    count, variables = len(members), truth.shape[-1]
    below = (members < truth).sum(dim=0)
    ties = (members == truth).sum(dim=0)
    if bool(ties.any()):
        draw = torch.rand(ties.shape, generator=generator, device=generator.device if generator else truth.device)
        below = below + (draw.to(truth.device) * (ties + 1)).long()
    slots = below + torch.arange(variables, device=truth.device) * (count + 1)
    return torch.bincount(slots.reshape(-1), minlength=variables * (count + 1)).reshape(variables, count + 1)
