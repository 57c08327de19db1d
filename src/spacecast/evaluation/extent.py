"""What diagnostics average to tell a roll-out that breaks: how rough the fields become, and how far out of range.

Functions of a `Sample`, members one by one, beside the truth; on the nodes outside the boundary.
"""

import torch
from torch import Tensor

from spacecast.evaluation.sample import Sample, Setting
from spacecast.formulas.averages import root

BEYOND = 2.0  # times the range of the truth


def curvatures(sample: Sample) -> Tensor:
    """Mean squares of the Laplacian of the members and of the truth, shape (window, variable, 2)."""
    return torch.stack(
        [_laplacian(sample, fields).square().mean(dim=(1, 2)) for fields in (sample.everywhere, sample.all_truth)],
        dim=-1,
    )


def _laplacian(sample: Sample, fields: Tensor) -> Tensor:
    """Second differences over the cell size squared, summed over the axes: (window, member, node, variable) to the
    nodes of which all neighbours are there and none is driven.
    """
    centre, *beside = sample.setting.curved.to(fields.device)
    twice = 2 * fields.index_select(-2, centre)
    pairs = zip(beside[::2], beside[1::2], sample.setting.spec.grid.spacing, strict=True)
    return sum(
        ((fields.index_select(-2, one) + fields.index_select(-2, two) - twice) / size**2 for one, two, size in pairs),
        start=torch.zeros_like(twice),
    ).double()


def rms_ratio(_: Setting, squares: Tensor) -> Tensor:
    """Root of the first average over the second, (..., 2) to (...); NaN where the second is 0."""
    return torch.where(squares[..., 1] > 0, root(squares[..., 0] / squares[..., 1]), torch.nan)


def _distances(sample: Sample) -> Tensor:
    """Distance of each value of the members from the middle of the truth's range, in halves of it.

    Shape (window, member, node, variable); the range is that of the nodes of a window at its lead. NaN where the truth
    is the same at all nodes.
    """
    low, high = torch.aminmax(sample.truth, dim=1, keepdim=True)
    half = torch.where(high > low, (high - low) / 2, torch.nan).unsqueeze(1)
    return (sample.members - (low + high).unsqueeze(1) / 2).abs() / half


def extents(sample: Sample) -> Tensor:
    """How far out values are, shape (window, variable, 2): the distance of the farthest of all members, and the share
    of those that are beyond `BEYOND` times the range of the truth, or no number.
    """
    distances = _distances(sample)
    farthest = distances.amax(dim=(1, 2)).double()
    low, high = torch.aminmax(sample.truth, dim=1)
    share = torch.where(high > low, (~(distances <= BEYOND)).double().mean(dim=(1, 2)), torch.nan)
    return torch.stack([farthest, share], dim=-1)
