"""Flatness of rank histograms: components, index, and a test that correlated nodes do not deceive."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, f, ttest_1samp

from spacecast.formulas.ensemble import rank_histogram
from spacecast.formulas.ranks import contrast_matrix, contrasts, flatness, reliability_index


def chance(components: torch.Tensor) -> np.ndarray:
    return np.asarray(f.sf(*(each.numpy() for each in flatness(components))))


@pytest.mark.parametrize("ranks", [2, 3, 7, 51])
def test_contrasts_are_orthonormal_slope_and_curvature_first(ranks: int) -> None:
    matrix = contrast_matrix(ranks)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(ranks - 1, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(dim=1), torch.zeros(ranks - 1, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (matrix[0].diff() > 0).all()
    if ranks > 2:
        assert (matrix[1].diff().diff() > 0).all()
        torch.testing.assert_close(matrix[1], matrix[1].flip(0))


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_components_add_up_to_pearsons_chi_square(ranks: int) -> None:
    counts = torch.randint(1, 50, (4, ranks), generator=torch.Generator().manual_seed(ranks))
    total = counts.sum(dim=-1, keepdim=True)
    found = total[:, 0] * contrasts(counts / total.double()).square().sum(dim=-1)
    np.testing.assert_allclose(found, chisquare(counts.numpy(), axis=-1).statistic, rtol=1e-12)


def test_components_tell_a_slope_from_a_curvature() -> None:
    slope, valley = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.1, 0.4]], dtype=torch.float64)
    assert contrasts(slope)[0] > 0.4
    assert contrasts(slope)[1:].abs().max() < 1e-12
    assert contrasts(valley)[1] > 0.4
    assert contrasts(valley)[[0, 2]].abs().max() < 1e-12
    assert contrasts(valley.flip(0))[0].abs() < 1e-12
    assert contrasts(slope.flip(0))[0] < -0.4


def test_reliability_index_is_zero_when_flat_and_largest_when_all_ranks_are_one() -> None:
    histograms = torch.tensor([[0.25] * 4, [0, 0, 0, 1.0], [0.5, 0, 0, 0.5]])
    assert reliability_index(histograms).tolist() == [0, 1.5, 1.0]


def test_of_one_component_it_is_students_t() -> None:
    values = torch.randn(9, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.4
    np.testing.assert_allclose(chance(values), ttest_1samp(values[..., 0].numpy(), 0).pvalue, rtol=1e-9)


def test_a_single_group_and_equal_groups_say_nothing() -> None:
    assert flatness(torch.ones(1, 2, 3)).value.isnan().all()
    assert flatness(torch.ones(4, 2, 3)).value.isnan().all()


def forecasts(spread: float, shift: float, seed: int) -> torch.Tensor:
    """Histograms of 24 forecasts of 5 members, 400 nodes of which share most of their errors: (window, rank)."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(6, 24, 4, 1, generator=generator).repeat_interleave(100, dim=2)
    drawn = 0.9 * common + (1 - 0.81) ** 0.5 * torch.randn(6, 24, 400, 1, generator=generator)
    members = shift + spread * drawn[:-1]
    rows = [rank_histogram(members[:, window], drawn[-1, window])[0] for window in range(24)]
    return torch.stack(rows).double() / 400


def test_correlated_nodes_deceive_pearsons_test_and_not_this_one() -> None:
    """Of ensembles that are reliable, 5 % may be refused at the level 5 %: here 200 of them, and 5 standard errors."""
    drawn = [forecasts(1.0, 0.0, seed) for seed in range(200)]
    refused = np.mean([chance(contrasts(each)) < 0.05 for each in drawn])
    naive = np.mean([chisquare((each.mean(dim=0) * 24 * 400).numpy()).pvalue < 0.05 for each in drawn])
    assert naive > 0.9
    assert abs(refused - 0.05) < 5 * (0.05 * 0.95 / 200) ** 0.5
    for part in (slice(0, 1), slice(1, 2), slice(2, None)):
        refused = np.mean([chance(contrasts(each)[:, part]) < 0.05 for each in drawn])
        assert abs(refused - 0.05) < 5 * (0.05 * 0.95 / 200) ** 0.5


def test_too_little_spread_and_an_offset_are_found_and_named() -> None:
    narrow, shifted = contrasts(forecasts(0.3, 0.0, 1)), contrasts(forecasts(1.0, 1.5, 2))
    assert chance(narrow) < 1e-4
    assert chance(narrow[:, 1:2]) < 1e-4
    assert narrow[:, 1].mean() > 0
    assert chance(narrow[:, :1]) > 0.01
    assert chance(shifted[:, :1]) < 1e-4
    assert shifted[:, 0].mean() < 0  # the truth ranks low when members are too large
