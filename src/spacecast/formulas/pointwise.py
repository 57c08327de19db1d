"""Losses and scores of single entries, before any average.

A loss takes a forecast, the truth and a standard deviation (predicted, or a fixed scale per variable) of shapes that
broadcast, and returns the loss of each entry.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LossName = Literal["mse", "mae", "wmse", "wmae", "huber", "nll", "crps_gauss"]
Reduction = Literal["mean", "reference"]


def mse(forecast: Tensor, truth: Tensor, std: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Squared error (x - y)^2."""
    return (forecast - truth).square()


def mae(forecast: Tensor, truth: Tensor, std: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Absolute error |x - y|."""
    return (forecast - truth).abs()


def wmse(forecast: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Squared error in units of the standard deviation, ((x - y) / sigma)^2."""
    return ((forecast - truth) / std).square()


def wmae(forecast: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Absolute error in units of the standard deviation, |x - y| / sigma."""
    return ((forecast - truth) / std).abs()


def huber(forecast: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Squared error in units of the standard deviation up to 1, beyond it linear in the error (Huber 1964, equation 3).

    e^2 for |e| <= 1, else 2 |e| - 1, with e = (x - y) / sigma: twice Huber's, so that small errors cost what they cost
    in `wmse`.
    """
    error = ((forecast - truth) / std).abs()
    return torch.where(error <= 1, error.square(), 2 * error - 1)


def nll(forecast: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Negative log-likelihood of a Gaussian, ((x - y) / sigma)^2 / 2 + log sigma + log(2 pi) / 2."""
    return 0.5 * ((forecast - truth) / std).square() + std.log() + 0.5 * math.log(2 * math.pi)


def crps_gauss(forecast: Tensor, truth: Tensor, std: Tensor) -> Tensor:
    """Continuous ranked probability score of a Gaussian (Gneiting et al. 2005, equation 5).

    sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = (y - x) / sigma.
    """
    z = (truth - forecast) / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return std * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def kl_gauss(mean: Tensor, std: Tensor, prior_mean: Tensor, prior_std: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, std^2) from N(prior_mean, prior_std^2).

    log(s_p / s) + (s^2 + (m - m_p)^2) / (2 s_p^2) - 1 / 2 (Kingma & Welling 2014, appendix B).
    """
    ratio = (std / prior_std).square()
    distance = ((mean - prior_mean) / prior_std).square()
    return 0.5 * (ratio + distance - 1 - ratio.log())


LOSSES: dict[LossName, Loss] = {
    "mse": mse, "mae": mae, "wmse": wmse, "wmae": wmae, "huber": huber, "nll": nll, "crps_gauss": crps_gauss,
}  # fmt: skip
