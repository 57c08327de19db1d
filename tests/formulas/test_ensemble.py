"""Distributions known by parameters or samples."""

import itertools
import math

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.formulas.ensemble import crps_ensemble, mean_squared_error_of_mean, member_variance, rank_histogram


def brute_force(members, truth, share):
    count = len(members)
    pairs = sum(abs(a - b) for a, b in itertools.product(members, members))
    return sum(abs(member - truth) for member in members) / count - share * pairs / (2 * count * (count - 1))


@pytest.mark.parametrize("count", [2, 3, 5, 12])
@pytest.mark.parametrize(("estimator", "alpha"), [("fair", 0.95), ("almost_fair", 0.95), ("almost_fair", 0.0)])
def test_ensemble_score_is_the_double_sum_over_pairs(count, estimator, alpha):
    torch.manual_seed(count)
    members, truth = torch.randn(count, 4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    found = crps_ensemble(members, truth, estimator=estimator, alpha=alpha)
    share = 1.0 if estimator == "fair" else 1 - (1 - alpha) / count
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


def test_bad_ensembles_are_refused():
    with pytest.raises(UserError, match="needs 2 members or more, found 1"):
        crps_ensemble(torch.zeros(1, 3), torch.zeros(3))
    with pytest.raises(UserError, match="unknown CRPS estimator 'unfair'; did you mean 'fair'"):
        crps_ensemble(torch.zeros(2, 3), torch.zeros(3), estimator="unfair")


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
