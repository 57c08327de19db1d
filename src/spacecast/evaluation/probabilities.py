"""What is averaged of an ensemble beside its errors and its spread: events, and distances between whole fields."""

import torch
from torch import Tensor

from spacecast.evaluation.sample import LARGE, Sample, Setting
from spacecast.formulas import probability
from spacecast.formulas.ensemble import energy_score, error_products


def member_absolute_error(sample: Sample) -> Tensor:
    """Mean over the members, shape (window, node, state)."""
    return (sample.members - sample.truth.unsqueeze(1)).abs().mean(dim=1)


def brier_score(sample: Sample) -> Tensor:
    """Fair Brier score, mean over the thresholds, shape (window, node, state)."""
    counts, events = sample.exceedances
    total = torch.zeros_like(sample.truth, dtype=torch.float64)
    for count, event in zip(counts, events, strict=True):
        total += probability.fair_brier_score(count, event, sample.setting.members)
    return total / len(counts)


def events(sample: Sample) -> Tensor:
    """1 where the truth exceeds a threshold, else 0, shape (window, node, state * threshold)."""
    return sample.exceedances[1].movedim(0, -1).flatten(-2).double()


def uncertainty(setting: Setting, frequencies: Tensor) -> Tensor:
    """Brier score of the frequency of each event in the sample, mean over the thresholds.

    Args:
        setting: of the evaluation.
        frequencies: the average of `events`, shape (..., state * threshold).

    Returns:
        Shape (..., state).

    """
    each = frequencies.unflatten(-1, (-1, len(setting.thresholds)))
    return (each * (1 - each)).mean(dim=-1)


def exceedance_table(sample: Sample) -> Tensor:
    """`Sample.exceedance_table` as something to be averaged."""
    return sample.exceedance_table


def threshold_brier_scores(sample: Sample) -> Tensor:
    """Fair Brier score over the nodes, shape (window, state, threshold)."""
    return probability.brier_score(sample.exceedance_table)


def event_frequencies(sample: Sample) -> Tensor:
    """How often over the nodes the truth exceeds each threshold, shape (window, state, threshold)."""
    return sample.exceedance_table[..., 1].sum(dim=-1) / sample.truth.shape[1]


def energy_scores(sample: Sample) -> Tensor:
    """Energy score over the nodes of a region, of each variable and last of all: shape (window, region, state + 1).

    0 in a region that has no node, which `has_nodes` says.
    """
    windows = zip(sample.members, sample.truth, sample.masks, strict=True)
    products = torch.stack([_region_products(*window) for window in windows])
    size = sample.masks.sum(dim=-1).clamp(min=1)[..., None, None, None]
    products = products / size
    joint = products.mean(dim=2, keepdim=True)
    return energy_score(torch.cat([products, joint], dim=2), estimator=sample.setting.estimator)


def has_nodes(sample: Sample) -> Tensor:
    """1 for each region that has a node, shape (window, region)."""
    return sample.masks.any(dim=-1).double()


def _region_products(members: Tensor, truth: Tensor, masks: Tensor) -> Tensor:
    """Sums of `error_products` over the nodes of each region, shape (region, state, member, member).

    Nodes that belong to the same regions are summed once, however many regions that are.

    Args:
        members: shape (member, node, state).
        truth: shape (node, state).
        masks: 1 on the nodes of each region, else 0, shape (region, node).

    """
    kind = torch.zeros_like(masks[0], dtype=torch.int64)
    for mask in masks:
        kind = torch.unique(2 * kind + mask.long(), return_inverse=True)[1]
    total = members.new_zeros(len(masks), truth.shape[-1], len(members), len(members), dtype=torch.float64)
    at_once = max(1, LARGE // (len(members) * truth.shape[-1]))
    for number in range(int(kind.max()) + 1):
        alike = (kind == number).nonzero()[:, 0]
        regions = masks[:, alike[0], None, None, None]
        for nodes in alike.split(at_once):
            total += regions * error_products(members[:, nodes].mT, truth[nodes].T)
    return total
