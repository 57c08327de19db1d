"""Scores of forecasts as pure tensor functions, and what there is to know of each score.

Fields have shape (..., node, variable), ensembles one more axis of members, named by `axis`. Every function averages
over the nodes of `mask` (all nodes when None) and returns (..., variable). Square roots are left to the caller, who
takes them after averaging over windows: the root of a mean is not the mean of roots.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from spacecast.core.grid import Grid
from spacecast.formulas import latent
from spacecast.formulas.ensemble import Estimator

LARGE = 2**24  # numbers of an ensemble beyond which it is sorted variable by variable
ROUNDING = 1e-6  # of the size of a value: what single precision may make of it


class Facts(NamedTuple):
    """What there is to know of a score of `scores.csv` beside its numbers.

    label: for axes and tables.
    best: value of a perfect forecast; None: the score does not tell a better forecast from a worse one.
    units: those of the variable, 1 for none, or those of B per R_E.
    """

    label: str
    best: float | None
    units: Literal["variable", "1", "gradient"] = "variable"


FACTS = {
    "rmse": Facts("RMSE", 0.0),
    "mae": Facts("mean absolute error", 0.0),
    "bias": Facts("mean error", 0.0),
    "correlation": Facts("correlation", 1.0, "1"),
    "persistence_rmse": Facts("RMSE of persistence", 0.0),
    "persistence_mae": Facts("mean absolute error of persistence", 0.0),
    "skill": Facts("1 - RMSE / persistence", 1.0, "1"),
    "member_rmse": Facts("RMSE of the members", 0.0),
    "crps": Facts("CRPS", 0.0),
    "spread": Facts("spread", None),
    "spread_skill_ratio": Facts("spread / skill", 1.0, "1"),
    "div_b": Facts("mean |div B|", 0.0, "gradient"),
    "div_b_truth": Facts("mean |div B| of the truth", None, "gradient"),
    "negative_share": Facts("share of cells below 0", 0.0, "1"),
    "negative_share_truth": Facts("share of cells below 0 in the truth", None, "1"),
}


def distance_to_best(metric: str, value: float) -> float:
    """How far a score is from that of a perfect forecast; infinite for what is no number or has no best value."""
    best = FACTS[metric].best if metric in FACTS else None
    return math.inf if best is None or not math.isfinite(value) else abs(value - best)


def changes(persistence_mse: Tensor, truth_square: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Whether a variable changes by more than rounding, so that its errors can be held against those of persistence.

    All means over variables take those that do, and leave the others out.

    Args:
        persistence_mse: mean squared error of persistence, standardised, shape (..., variable).
        truth_square: mean square of the standardised truth, same shape.
        mean, std: by which it was standardised, shape (variable,).

    """
    return persistence_mse > ROUNDING**2 * (truth_square + (mean / std).square())


def variable_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the variables that count, last axis removed: NaN where one of them is NaN, or where there is none."""
    total = torch.where(counted, values, torch.zeros_like(values)).sum(dim=-1)
    return total / counted.sum(dim=-1)


def node_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over nodes: (..., node, variable) to (..., variable); mask is (node,) or (node, 1), True = counts."""
    return (values if mask is None else values[..., mask.reshape(-1).bool(), :]).mean(dim=-2)


def mse(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error, mean_n (f - y)^2."""
    return node_mean((forecast - truth).square(), mask)


def mae(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error, mean_n |f - y|."""
    return node_mean((forecast - truth).abs(), mask)


def wmse(forecast: Tensor, truth: Tensor, std: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error in units of a standard deviation, mean_n ((f - y) / s)^2; std is broadcast."""
    return node_mean(((forecast - truth) / std).square(), mask)


def wmae(forecast: Tensor, truth: Tensor, std: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error in units of a standard deviation, mean_n |f - y| / s; std is broadcast."""
    return node_mean(((forecast - truth) / std).abs(), mask)


def bias(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean error, mean_n (f - y); positive when the forecast is too high."""
    return node_mean(forecast - truth, mask)


def nll(forecast: Tensor, truth: Tensor, std: Tensor, mask: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of a Gaussian, mean_n ((f - y)^2 / (2 s^2) + ln s + ln(2 pi) / 2); std is broadcast."""
    std = torch.as_tensor(std).expand_as(forecast)
    return node_mean(((forecast - truth) / std).square() / 2 + std.log() + math.log(2 * math.pi) / 2, mask)


def crps_gauss(forecast: Tensor, truth: Tensor, std: Tensor, mask: Tensor | None = None) -> Tensor:
    """Continuous ranked probability score of a Gaussian, closed form.

    s (w (2 Phi(w) - 1) + 2 phi(w) - 1 / sqrt(pi)) with w = (y - f) / s: Gneiting et al. (2005), Mon. Wea. Rev. 133,
    eq. 5. Non-negative, in units of the variable; the absolute error in the limit s -> 0.
    """
    w = (truth - forecast) / std
    density = torch.exp(-w.square() / 2) / math.sqrt(2 * math.pi)
    return node_mean(std * (w * torch.erf(w / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)), mask)


def correlation(forecast: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Pattern correlation: Pearson's coefficient over nodes; NaN for a constant field."""
    if mask is not None:
        forecast, truth = (field[..., mask.reshape(-1).bool(), :] for field in (forecast, truth))
    f = forecast - forecast.mean(dim=-2, keepdim=True)
    y = truth - truth.mean(dim=-2, keepdim=True)
    return (f * y).sum(dim=-2) / (f.square().sum(dim=-2) * y.square().sum(dim=-2)).sqrt()


def crps_entries(
    members: Tensor, truth: Tensor, axis: int, estimator: Estimator = "fair", alpha: float = 0.95
) -> Tensor:
    """Ensemble CRPS of every entry, shape of `truth`; see `crps_ensemble`."""
    members = members.movedim(axis, 0)
    if len(members) == 1:
        latent.check_estimator(estimator)
        return (members[0] - truth).abs()
    if members.numel() > LARGE:
        parts = zip(members.split(1, dim=-1), truth.split(1, dim=-1), strict=True)
        return torch.cat([latent.crps_ensemble(*part, estimator=estimator, alpha=alpha) for part in parts], dim=-1)
    return latent.crps_ensemble(members, truth, estimator=estimator, alpha=alpha)


def crps_ensemble(
    members: Tensor,
    truth: Tensor,
    axis: int,
    estimator: Estimator = "fair",
    alpha: float = 0.95,
    mask: Tensor | None = None,
) -> Tensor:
    """Continuous ranked probability score of an ensemble of any size M >= 1.

    See `losses.latent.crps_ensemble` for its definition. One member leaves the absolute error.

    Args:
        members: shape (..., member, ..., node, variable).
        truth: the same without the axis of members.
        axis: which axis counts the members.
        estimator: `fair`, `almost_fair` or `ecdf`.
        alpha: share of the fair estimator in `almost_fair`.
        mask: nodes that count.

    """
    return node_mean(crps_entries(members, truth, axis, estimator, alpha), mask)


def ensemble_variance(members: Tensor, axis: int, mask: Tensor | None = None) -> Tensor:
    """Unbiased variance over members, averaged over nodes; its root is the spread. Zero for one member."""
    return node_mean(latent.member_variance(members.movedim(axis, 0)), mask)


def spread(members: Tensor, axis: int, mask: Tensor | None = None) -> Tensor:
    """Root of the mean variance over members (Fortin et al. 2014: average variances, not standard deviations)."""
    return ensemble_variance(members, axis, mask).sqrt()


def spread_skill_ratio(variance: Tensor, mean_mse: Tensor, members: int) -> Tensor:
    """Spread over the RMSE of the ensemble mean, corrected for the number of members.

    sqrt((M + 1) / M) sqrt(variance / mse): Fortin et al. (2014), J. Hydromet. 15, eq. 15. It is 1 when the truth
    is exchangeable with the members, for every M >= 2; below 1 the ensemble is under-dispersed.

    Args:
        variance: mean of `ensemble_variance` over windows.
        mean_mse: mean squared error of the ensemble mean, over the same nodes and windows.
        members: M.

    """
    return ((members + 1) / members * variance / mean_mse).sqrt()


def rank_histogram(
    members: Tensor,
    truth: Tensor,
    axis: int,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How often the truth takes each rank among the members, counts of shape (variable, M + 1).

    Flat when the truth is exchangeable with the members, U-shaped for too little spread (Hamill 2001). Ties are
    broken by chance. All axes but the last are counted together.
    """
    if mask is not None:
        members, truth = (field[..., mask.reshape(-1).bool(), :] for field in (members, truth))
    count, variables = members.shape[axis], truth.shape[-1]
    below = (members < truth.unsqueeze(axis)).sum(dim=axis)
    ties = (members == truth.unsqueeze(axis)).sum(dim=axis)
    if bool(ties.any()):
        draw = torch.rand(ties.shape, generator=generator, device=generator.device if generator else truth.device)
        below = below + (draw.to(truth.device) * (ties + 1)).long()
    slots = below + torch.arange(variables, device=truth.device) * (count + 1)
    return torch.bincount(slots.reshape(-1), minlength=variables * (count + 1)).reshape(variables, count + 1)


def divergence(grid: Grid, bx: Tensor, bz: Tensor, mask: Tensor | None = None, squared: bool = False) -> Tensor:
    """Mean |div B| (or its square) over the nodes with a central difference: (..., node) to (...).

    Args:
        grid: the plane.
        bx: x component on the nodes, physical units, for example nT.
        bz: z component.
        mask: nodes whose divergence counts, shape (node,).
        squared: mean square instead of mean absolute value.

    """
    values = grid.divergence(bx, bz)
    values = values.square() if squared else values.abs()
    centre = torch.as_tensor(grid.stencil[0], device=bx.device)
    return node_mean(values.unsqueeze(-1), None if mask is None else mask.reshape(-1)[centre]).squeeze(-1)
