"""Brier scores and their parts against closed forms, brute force and two libraries."""

import itertools
import math

import numpy as np
import properscoring
import pytest
import scoringrules
import torch
from torch.distributions import Normal

from spacecast.formulas.ensemble import crps_ensemble
from spacecast.formulas.probability import (
    brier_parts,
    brier_score,
    brier_skill_score,
    exceedance_table,
    exceedances,
    fair_brier_score,
    observed_frequency,
    probabilities,
)

THRESHOLDS = torch.tensor([[-1.0], [0.0], [1.5]])


def draw(members: int, *shape: int, spread: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Members and truth that depart from a known centre, the truth by one standard deviation."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(members + 1, *shape, generator=generator, dtype=torch.float64)
    centre = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return centre + spread * drawn[:-1], centre + drawn[-1]


def table_of(members: torch.Tensor, truth: torch.Tensor, thresholds: torch.Tensor = THRESHOLDS) -> torch.Tensor:
    counts, events = exceedances(members, thresholds), exceedances(truth[None], thresholds)
    return exceedance_table(counts, events, len(members))


@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_table_counts_what_brute_force_counts(count: int) -> None:
    members, truth = draw(count, 3, 20, 2)
    thresholds = torch.tensor([[-1.0, 0.3], [0.0, 0.1]])
    table = table_of(members, truth, thresholds)
    expected = torch.zeros_like(table)
    for window, node, variable, level in itertools.product(range(3), range(20), range(2), range(2)):
        threshold = float(thresholds[level, variable])
        above = sum(float(member[window, node, variable]) > threshold for member in members)
        expected[window, variable, level, above, int(float(truth[window, node, variable]) > threshold)] += 1
    assert torch.equal(table, expected)


def test_what_equals_a_threshold_does_not_exceed_it_nor_does_what_is_no_number() -> None:
    values = torch.tensor([1.0, math.nan, 1.0 + 1e-6]).reshape(1, 3, 1)
    assert exceedances(values, torch.tensor([[1.0]])).flatten().tolist() == [0, 0, 1]


@pytest.mark.parametrize("count", [1, 2, 6, 11])
def test_single_entries_and_the_table_have_one_score(count: int) -> None:
    members, truth = draw(count, 3, 50, 2)
    counts, events = exceedances(members, THRESHOLDS), exceedances(truth[None], THRESHOLDS)
    entries = fair_brier_score(counts, events, count).mean(dim=2)  # threshold, window, variable
    torch.testing.assert_close(brier_score(table_of(members, truth)), entries.movedim(0, -1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [2, 6, 15])
def test_plain_score_is_that_of_two_libraries(count: int) -> None:
    members, truth = draw(count, 1, 400, 1)
    found = brier_score(table_of(members, truth), fair=False)[0, 0].numpy()
    flat, observed = members[:, 0, :, 0].T.numpy(), truth[0, :, 0].numpy()
    levels = THRESHOLDS[:, 0].double().numpy()
    theirs = properscoring.threshold_brier_score(observed, flat, threshold=levels, issorted=False).mean(axis=0)
    np.testing.assert_allclose(found, theirs, rtol=1e-12)
    shares = (flat[..., None] > levels).mean(axis=1)
    again = scoringrules.brier_score((observed[:, None] > levels).astype(float), shares).mean(axis=0)
    np.testing.assert_allclose(found, again, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 4])
def test_fair_score_integrates_to_the_fair_crps(count: int) -> None:
    """The plain one to that of the empirical distribution, as in the libraries."""
    members, truth = draw(count, 1, 1, 5, seed=count)
    thresholds = torch.linspace(-8, 8, 40001, dtype=torch.float64)[:, None]
    counts, events = exceedances(members, thresholds), exceedances(truth[None], thresholds)
    for fair, theirs in ((True, "fair"), (False, "nrg")):
        score = fair_brier_score(counts, events, count)
        if not fair:
            score = (counts / count - events).double().square()
        integral = torch.trapezoid(score, thresholds[:, 0], dim=0)
        estimator = "fair" if fair else "ecdf"
        torch.testing.assert_close(integral, crps_ensemble(members, truth, estimator=estimator), rtol=0, atol=2e-3)
        library = scoringrules.crps_ensemble(truth[0, 0].numpy(), members[:, 0, 0].T.numpy(), estimator=theirs)
        np.testing.assert_allclose(integral[0, 0], library, atol=2e-3)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_fair_score_of_gaussians_does_not_depend_on_the_number_of_members(count: int) -> None:
    """Members of N(0, s^2) give P(x > t) = 1 - Phi(t / s), whose Brier score is p (1 - p) + (p - p_s)^2."""
    generator = torch.Generator().manual_seed(count)
    drawn = torch.randn(count + 1, 1, 200_000, 1, generator=generator, dtype=torch.float64)
    spread = 0.5
    table = table_of(spread * drawn[:-1], drawn[-1])
    happens, forecast = (1 - Normal(0.0, size).cdf(THRESHOLDS[:, 0].double()) for size in (1.0, spread))
    exact = happens * (1 - happens) + (happens - forecast).square()
    torch.testing.assert_close(brier_score(table)[0, 0], exact, rtol=0, atol=4e-3)
    excess = forecast * (1 - forecast) / count
    torch.testing.assert_close(brier_score(table, fair=False)[0, 0], exact + excess, rtol=0, atol=4e-3)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_parts_make_up_the_score(count: int) -> None:
    table = table_of(*draw(count, 3, 60, 4, spread=0.7))
    parts = brier_parts(table)
    total = parts.reliability - parts.resolution + parts.uncertainty
    torch.testing.assert_close(total, brier_score(table, fair=False), rtol=0, atol=1e-14)
    assert all((part >= -1e-16).all() for part in parts)
    shares = table / table.sum(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(brier_parts(shares), parts)


def test_parts_by_hand() -> None:
    """Two members: 4 times no one (0 events), 4 times one (3 events), 2 times both (2 events)."""
    table = torch.tensor([[4, 0], [1, 3], [0, 2]])
    parts = brier_parts(table)
    assert float(parts.reliability) == pytest.approx(0.4 * (0.5 - 0.75) ** 2)
    assert float(parts.resolution) == pytest.approx(0.4 * 0.25 + 0.4 * 0.25**2 + 0.2 * 0.25)
    assert float(parts.uncertainty) == pytest.approx(0.25)
    assert observed_frequency(table).tolist() == [0.0, 0.75, 1.0]
    assert probabilities(2).tolist() == [0.0, 0.5, 1.0]


def test_probabilities_that_were_never_forecast_are_no_part() -> None:
    table = torch.tensor([[5, 5], [0, 0], [2, 8]])
    assert observed_frequency(table).isnan().tolist() == [False, True, False]
    parts = brier_parts(table)
    assert float(parts.reliability) == pytest.approx(0.5 * 0.5**2 + 0.5 * 0.2**2)
    assert float(parts.resolution) == pytest.approx(0.5 * 0.15**2 + 0.5 * 0.15**2)


def test_a_reliable_ensemble_lies_on_the_diagonal() -> None:
    """Members and truth are drawn with the same probability, which is uniform: o_i = (i + 1) / (M + 2)."""
    generator, count = torch.Generator().manual_seed(1), 4
    chance = torch.rand(400_000, 1, generator=generator)
    happens = (torch.rand(count + 1, 1, 400_000, 1, generator=generator) < chance).float()
    table = table_of(happens[:-1], happens[-1], torch.tensor([[0.5]]))
    expected = (torch.arange(count + 1).double() + 1) / (count + 2)
    torch.testing.assert_close(observed_frequency(table)[0, 0, 0], expected, rtol=0, atol=5e-3)


def test_skill_is_held_against_the_frequency_in_the_sample() -> None:
    perfect, constant = torch.tensor([[6, 0], [0, 0], [0, 4]]), torch.tensor([[0, 0], [6, 6], [0, 0]])
    for table, expected in ((perfect, 1.0), (constant, 0.0)):
        skill = brier_skill_score(brier_score(table, fair=False), brier_parts(table).uncertainty)
        assert float(skill) == pytest.approx(expected)
    always = torch.tensor([[0, 0], [0, 0], [0, 4]])
    assert brier_skill_score(brier_score(always), brier_parts(always).uncertainty).isnan()
