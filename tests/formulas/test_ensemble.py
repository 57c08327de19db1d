"""Scores of ensembles against brute force, quadrature and closed forms."""

import itertools
import math

import numpy as np
import properscoring
import pytest
import scoringrules
import torch
from torch.distributions import Normal

from spacecast.core.errors import UserError
from spacecast.formulas.ensemble import (
    crps_ensemble,
    energy_score,
    error_products,
    mean_squared_error_of_mean,
    member_variance,
    rank_histogram,
)
from spacecast.formulas.pointwise import crps_gauss


def brute_force(members, truth, share):
    count = len(members)
    pairs = sum(abs(a - b) for a, b in itertools.product(members, members))
    return sum(abs(member - truth) for member in members) / count - share * pairs / (2 * count * (count - 1))


@pytest.mark.parametrize("count", [2, 3, 5, 12, 21])
@pytest.mark.parametrize(
    ("estimator", "alpha"), [("fair", 0.95), ("almost_fair", 0.95), ("almost_fair", 0.0), ("ecdf", 0.95)]
)
def test_ensemble_score_is_the_double_sum_over_pairs(count, estimator, alpha):
    torch.manual_seed(count)
    members, truth = torch.randn(count, 4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    found = crps_ensemble(members, truth, estimator=estimator, alpha=alpha)
    share = {"fair": 1.0, "almost_fair": 1 - (1 - alpha) / count, "ecdf": 1 - 1 / count}[estimator]
    for where in itertools.product(range(4), range(3)):
        expected = brute_force([float(member[where]) for member in members], float(truth[where]), share)
        assert float(found[where]) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("count", [2, 5])
def test_fair_score_has_the_expectation_of_the_distribution(count):
    """CRPS of N(0, 1) at 0 is (sqrt(2) - 1) / sqrt(pi), for ensembles of any size on average."""
    members = torch.randn(count, 400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    score = crps_ensemble(members, torch.zeros(400_000, dtype=torch.float64)).mean()
    assert float(score) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi), abs=3e-3)


def test_the_best_spread_is_the_true_one():
    """Members of N(0, s^2) for truths of N(0, 1): least for s = 1."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(3, 200_000, generator=generator, dtype=torch.float64)
    truth = torch.randn(200_000, generator=generator, dtype=torch.float64)
    scores = {spread: float(crps_ensemble(spread * noise, truth).mean()) for spread in (0.5, 0.8, 1.0, 1.25, 2.0)}
    assert min(scores, key=scores.get) == 1.0


def test_equal_members_score_their_absolute_error():
    truth = torch.randn(6)
    torch.testing.assert_close(crps_ensemble(torch.ones(4, 6), truth), (1 - truth).abs())


def test_only_the_fair_score_forgives_a_member_that_is_off():
    """With one of two members exact the fair score does not depend on the other one."""
    truth = torch.zeros(3, dtype=torch.float64)
    members = torch.stack([truth, torch.tensor([1.0, 2.0, 3.0]).double()])
    torch.testing.assert_close(crps_ensemble(members, truth), truth)
    assert (crps_ensemble(members, truth, estimator="almost_fair") > 0).all()


def test_gradients_are_finite_where_members_agree():
    members = torch.zeros(3, 5, requires_grad=True)
    crps_ensemble(members, torch.ones(5)).sum().backward()
    assert torch.isfinite(members.grad).all()


@pytest.mark.parametrize("estimator", ["fair", "almost_fair", "ecdf"])
def test_one_member_scores_its_absolute_error(estimator):
    member, truth = torch.randn(2, 4, 3)
    assert torch.equal(crps_ensemble(member[None], truth, estimator=estimator), (member - truth).abs())
    assert (member_variance(member[None]) == 0).all()


@pytest.mark.parametrize("count", [1, 2])
def test_unknown_estimators_are_refused(count):
    with pytest.raises(UserError, match="unknown CRPS estimator 'unfair'; did you mean 'fair'"):
        crps_ensemble(torch.zeros(count, 3), torch.zeros(3), estimator="unfair")


def test_the_score_of_the_empirical_distribution_integrates_the_squared_step_function():
    members, truth = torch.tensor([0.1, 0.9, 1.3, 4.0]).double(), torch.tensor(1.0).double()
    x = torch.linspace(-2, 6, 800001, dtype=torch.float64)
    cdf = (x[:, None] >= members).double().mean(-1)
    integral = torch.trapezoid((cdf - (x >= truth).double()).square(), x)
    assert float(crps_ensemble(members, truth, estimator="ecdf")) == pytest.approx(float(integral), rel=1e-4)


def test_a_large_ensemble_approaches_the_gaussian():
    members = Normal(0.0, 1.0).icdf((torch.arange(20000) + 0.5) / 20000)
    truth = torch.tensor(0.4)
    exact = crps_gauss(torch.tensor(0.0), truth, torch.tensor(1.0))
    assert float(crps_ensemble(members, truth)) == pytest.approx(float(exact), rel=1e-3)


def test_only_the_fair_score_is_unbiased_in_the_number_of_members():
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(40000, generator=generator)
    exact = float(crps_gauss(torch.zeros(40000), truth, torch.ones(1)).mean())
    for count in (2, 5):
        members = torch.randn(count, 40000, generator=generator)
        assert float(crps_ensemble(members, truth).mean()) == pytest.approx(exact, rel=0.02)
        assert float(crps_ensemble(members, truth, estimator="ecdf").mean()) > 1.1 * exact


@pytest.mark.parametrize("count", [2, 5, 20])
def test_ranks_of_an_ensemble_that_the_truth_might_belong_to_are_flat(count):
    generator = torch.Generator().manual_seed(count)
    drawn = torch.randn(count + 1, 3, 10000, 2, generator=generator)
    counts = rank_histogram(drawn[:-1], drawn[-1])
    assert counts.shape == (2, count + 1)
    assert (counts.sum(-1) == 30000).all()
    expected = 30000 / (count + 1)
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()


def test_ranks_by_hand_and_ties_by_chance():
    members = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    for value, rank in ((0.0, 0), (1.5, 1), (2.5, 2), (9.0, 3)):
        counts = rank_histogram(members, torch.tensor([[value]]))
        assert counts.tolist() == [[int(rank == slot) for slot in range(4)]]
    tied = rank_histogram(torch.zeros(3, 8000, 1), torch.zeros(8000, 1), torch.Generator().manual_seed(0))
    assert ((tied - 2000).abs() < 250).all()


def test_error_of_the_mean_is_unbiased_for_any_number_of_members():
    """Its average over ensembles is the squared error of the distribution's mean, whatever the spread is."""
    generator = torch.Generator().manual_seed(0)
    for count in (2, 3, 8):
        members = 0.5 + 2.0 * torch.randn(count, 400_000, generator=generator)
        estimate = mean_squared_error_of_mean(members, torch.full((400_000,), 2.0)).mean()
        assert float(estimate) == pytest.approx(1.5**2, rel=0.02)


def test_error_of_the_mean_of_two_members_is_the_product_of_their_errors():
    members, truth = torch.randn(2, 50), torch.randn(50)
    product = (members[0] - truth) * (members[1] - truth)
    torch.testing.assert_close(mean_squared_error_of_mean(members, truth), product)


def test_variance_of_members_is_the_unbiased_one():
    members = torch.randn(5, 40, dtype=torch.float64)
    torch.testing.assert_close(member_variance(members), members.var(dim=0))
    assert not member_variance(members[:1]).any()


@pytest.mark.parametrize("count", [2, 3, 10])
def test_crps_is_that_of_two_libraries(count):
    generator = torch.Generator().manual_seed(count)
    members = torch.randn(count, 200, generator=generator, dtype=torch.float64)
    truth = torch.randn(200, generator=generator, dtype=torch.float64)
    for ours, theirs in (("fair", "fair"), ("fair", "pwm"), ("ecdf", "nrg"), ("ecdf", "int")):
        expected = scoringrules.crps_ensemble(truth.numpy(), members.T.numpy(), estimator=theirs)
        np.testing.assert_allclose(crps_ensemble(members, truth, estimator=ours), expected, rtol=1e-9, atol=1e-12)
    expected = properscoring.crps_ensemble(truth.numpy(), members.T.numpy())
    np.testing.assert_allclose(crps_ensemble(members, truth, estimator="ecdf"), expected, rtol=1e-9, atol=1e-12)
    fair, empirical = (scoringrules.crps_ensemble(truth.numpy(), members.T.numpy(), estimator=name)
                       for name in ("fair", "nrg"))  # fmt: skip
    distance = (empirical - fair) * count  # their difference is 1 / M of the mean distance over two
    almost = crps_ensemble(members, truth, estimator="almost_fair")
    np.testing.assert_allclose(almost, fair + 0.05 / count * distance, rtol=1e-9, atol=1e-12)


def energy(members, truth, estimator="fair"):
    return energy_score(error_products(members, truth) / truth.shape[-1], estimator=estimator)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_energy_score_is_that_of_a_library(count):
    """Ours has the root mean square for a norm, theirs the Euclidean one."""
    generator = torch.Generator().manual_seed(count)
    members = torch.randn(count, 5, 30, generator=generator, dtype=torch.float64)
    truth = torch.randn(5, 30, generator=generator, dtype=torch.float64)
    for ours, theirs in (("fair", "fair"), ("ecdf", "nrg")):
        expected = scoringrules.es_ensemble(truth.numpy(), members.movedim(0, 1).numpy(), estimator=theirs)
        np.testing.assert_allclose(energy(members, truth, ours), expected / 30**0.5, rtol=1e-10)


@pytest.mark.parametrize("estimator", ["fair", "almost_fair", "ecdf"])
def test_energy_score_of_one_entry_is_the_crps(estimator):
    members, truth = torch.randn(5, 40, 1), torch.randn(40, 1)
    expected = crps_ensemble(members, truth, estimator=estimator)[:, 0]
    torch.testing.assert_close(energy(members, truth, estimator).float(), expected, rtol=1e-5, atol=1e-6)


def test_energy_score_of_large_gaussian_fields():
    """Differences of N(0, 1) fields have the norms sqrt(2) and s sqrt(2): sqrt(1 + s^2) - s / sqrt(2)."""
    generator = torch.Generator().manual_seed(0)
    for spread in (0.5, 1.0, 2.0):
        drawn = torch.randn(4, 20, 20_000, generator=generator)
        found = energy(spread * drawn[:-1], drawn[-1]).mean()
        assert float(found) == pytest.approx((1 + spread**2) ** 0.5 - spread / 2**0.5, rel=5e-3)


def test_energy_score_does_not_depend_on_the_number_of_nodes_and_one_member_leaves_the_norm():
    members, truth = torch.randn(4, 7), torch.randn(7)
    torch.testing.assert_close(energy(members.repeat(1, 3), truth.repeat(3)), energy(members, truth))
    torch.testing.assert_close(energy(members[:1], truth).float(), (members[0] - truth).square().mean().sqrt())


def test_energy_score_adds_up_over_parts_of_a_field():
    members, truth = torch.randn(4, 2, 30), torch.randn(2, 30)
    parts = sum(error_products(members[..., part], truth[..., part]) for part in (slice(0, 11), slice(11, None)))
    torch.testing.assert_close(energy_score(parts / 30), energy(members, truth), rtol=1e-12, atol=0)


def test_energy_score_is_sound_where_members_are_close_to_each_other_and_far_from_the_truth():
    """Single precision would leave nothing of a spread of 1e-4 under an error of 1e3."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.zeros(500, dtype=torch.float64)
    members = 1e3 + 1e-4 * torch.randn(6, 500, generator=generator, dtype=torch.float64)
    distances = [(a - b).square().mean().sqrt() for a, b in itertools.combinations(members, 2)]
    expected = sum(member.square().mean().sqrt() for member in members) / 6 - sum(distances) / 30
    assert float(energy(members, truth)) == pytest.approx(float(expected), rel=1e-8)
    same = members[:1].repeat(6, 1)
    assert float(energy(same, truth)) == pytest.approx(float(members[0].square().mean().sqrt()), rel=1e-7)
