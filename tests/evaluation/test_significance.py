"""Paired tests over initial times, held against closed forms and against series whose truth is known."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from spacecast.evaluation.significance import (
    LEAST_BLOCKS,
    adjusted,
    block_length,
    block_weights,
    paired_test,
)


def autoregressive(rng, number: int, lag: float) -> np.ndarray:
    """A stationary series of mean 0 whose neighbours have the correlation `lag`."""
    series = np.empty(number)
    series[0] = rng.normal() / np.sqrt(1 - lag**2)
    for place in range(1, number):
        series[place] = lag * series[place - 1] + rng.normal()
    return series


def compare(series: np.ndarray, runs, overlap: int = 1):
    """The test of the mean of a series of differences."""
    return paired_test(lambda weights: weights @ series, series, runs, overlap)


@pytest.mark.parametrize(("runs", "lag", "most"), [(1, 0.0, 0.08), (1, 0.7, 0.13), (4, 0.0, 0.08), (4, 0.7, 0.13)])
def test_series_without_a_difference_are_called_different_about_as_often_as_they_may_be(runs, lag, most):
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(runs), 120 // runs)
    found, naive, trials = 0, 0, 200
    for _ in range(trials):
        series = np.concatenate([autoregressive(rng, 120 // runs, lag) for _ in range(runs)])
        found += compare(series, list(labels)).p < 0.05
        naive += stats.ttest_1samp(series, 0).pvalue < 0.05
    assert 0.02 < found / trials < most
    assert (naive / trials > 0.25) == (lag > 0)  # to take neighbours as independent finds what is not there


def test_overlapping_forecasts_are_not_taken_for_independent_ones():
    """Each score is a mean over five frames, of which neighbours share four."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        series = np.convolve(rng.normal(size=104), np.ones(5), "valid")
        found += compare(series, [0] * 100, overlap=5).p < 0.05
    assert 0.02 < found / 200 < 0.1


def test_a_clear_difference_is_found_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        result = compare(2 + autoregressive(rng, 120, 0.5), ["1"] * 60 + ["2"] * 60)
        assert result.p < 0.001
        assert result.low < result.difference < result.high
        inside += result.low < 2 < result.high
    assert inside >= 88


def test_the_other_way_round_it_has_the_other_sign_and_the_same_p():
    rng = np.random.default_rng(5)
    one, other = rng.gamma(3.0, size=(2, 80))
    runs = [0] * 50 + [1] * 30

    def difference(first, second):
        return lambda weights: np.sqrt(weights @ first**2) - np.sqrt(weights @ second**2)

    there = paired_test(difference(one, other), one - other, runs, 3)
    back = paired_test(difference(other, one), other - one, runs, 3)
    assert there == (-back.difference, -back.high, -back.low, back.p)


def test_independent_times_give_the_error_of_students_test():
    series = np.random.default_rng(2).normal(0.2, 1, size=400)
    result, expected = compare(series, [0] * 400), stats.ttest_1samp(series, 0)
    assert result.p == pytest.approx(expected.pvalue, rel=0.35)
    low, high = expected.confidence_interval()
    assert [result.low, result.high] == pytest.approx([low, high], abs=0.02)


def test_too_few_blocks_give_a_difference_and_nothing_else():
    series = np.random.default_rng(0).normal(3, 1, size=20)
    overlap = 20 // LEAST_BLOCKS
    assert compare(series, [0] * 20, overlap).p < 0.05
    result = compare(series, [0] * 20, overlap + 1)
    assert result.difference == pytest.approx(series.mean())
    assert np.isnan(result[1:]).all()
    assert np.isnan(compare(np.array([1.0]), ["1"])[1:]).all()


def test_the_same_forecasts_do_not_differ_and_a_constant_difference_is_certain():
    assert compare(np.zeros(40), [0] * 40) == (0, 0, 0, 1)
    assert compare(np.full(64, 0.5), [0] * 64) == (0.5, 0.5, 0.5, 0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_not_tested(wrong):
    series = np.random.default_rng(0).normal(size=40)
    series[7] = wrong
    with np.errstate(invalid="ignore"):
        assert np.isnan(compare(series, [0] * 40)).all()


def test_blocks_are_as_long_as_neighbours_are_alike():
    rng = np.random.default_rng(4)
    lengths = [
        np.mean([block_length(autoregressive(rng, 100, lag), [0] * 100) for _ in range(50)]) for lag in (0, 0.5, 0.9)
    ]
    assert lengths[0] < 2
    assert lengths[0] + 1 < lengths[1] < lengths[2] - 3


def test_the_length_of_blocks_solves_the_equation_of_wilks():
    number, lag = 200, 0.6
    wave = np.cos(np.arccos((lag - 1 / number) / (1 + 3 / number)) * np.arange(number))  # less the bias of an estimate
    root = brentq(lambda length: length - (number - length + 1) ** (2 / 3 * (1 - 0.4 / 1.6)), 1, number)
    assert block_length(wave, [0] * number) == pytest.approx(root, abs=1)


def test_a_short_series_borrows_its_autocorrelation_from_others_like_it():
    """Of 24 times alone one cannot see that they are alike; a test would find what is not there."""
    rng = np.random.default_rng(0)
    alone, among = 0, 0
    for _ in range(200):
        series = np.stack([autoregressive(rng, 24, 0.8) for _ in range(8)], axis=1)
        alone += 24 / block_length(series[:, 0], [0] * 24) >= LEAST_BLOCKS
        among += 24 / block_length(series, [0] * 24) >= LEAST_BLOCKS
    assert alone > 20
    assert among < 5
    alike = np.stack([autoregressive(rng, 100, 0.8), *rng.normal(size=(20, 100))], axis=1)
    assert block_length(alike, [0] * 100) == block_length(alike[:, 0], [0] * 100)  # the larger of both
    broken = np.column_stack([alike[:, 0], np.full(100, np.nan), np.ones(100)])
    assert block_length(broken, [0] * 100) == block_length(alike[:, 0], [0] * 100)
    assert block_length(broken[:, 1:], [0] * 100) == 1


def test_blocks_are_no_shorter_than_the_overlap_and_no_longer_than_a_run():
    noise = np.random.default_rng(0).normal(size=30)
    runs = [0] * 10 + [1] * 20
    assert block_length(noise, runs, 6) == 6
    assert block_length(noise, runs, 25) == 20
    assert block_length(np.arange(30.0), runs) <= 20
    assert block_length(np.full(30, np.nan), runs, 4) == 4
    assert block_length(np.full(30, 2.0), runs, 4) == 4


def test_neighbours_are_those_of_one_run():
    """Within each run the series is the same at all times: that runs differ is no reason to take them apart."""
    runs = list(np.repeat(np.arange(10), 3))
    ups = np.tile([1.0, -1.0], 15)
    assert block_length(ups, runs) == 1
    assert block_length(np.repeat(np.random.default_rng(0).normal(size=10), 3), runs) == 3


def test_draws_are_of_whole_blocks_within_runs_and_all_times_alike():
    runs = ("a",) * 7 + ("b",) * 5
    weights = block_weights(runs, 4, draws=3000)
    assert weights.shape == (3000, 12)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.mean(axis=0), 1 / 12, rtol=0.06)
    counts = np.round(weights * 12).astype(int)
    assert (counts[:, :7].sum(axis=1) % 4 == 0).all()  # three blocks of four, each in one run
    assert {int(row[:7].sum()) for row in counts} == {0, 4, 8, 12}
    assert (counts >= 0).all()
    np.testing.assert_array_equal(weights, block_weights(runs, 4, draws=3000))


def test_a_run_shorter_than_a_block_is_drawn_as_a_whole():
    weights = block_weights(("a",) * 2 + ("b",) * 8, 4, draws=50)
    short = np.round(weights[:, :2] * 12).astype(int)
    assert (short[:, 0] == short[:, 1]).all()
    assert (short % 2 == 0).all()


def test_the_correction_is_that_of_benjamini_and_hochberg():
    """The table of their paper of 1995, section 3.1: four of fifteen hypotheses at a rate of 0.05."""
    p = [1e-4, 4e-4, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759, 1]
    assert list(adjusted(p) < 0.05) == [True] * 4 + [False] * 11
    mixed = adjusted([np.nan, *p[::-1], np.nan])
    np.testing.assert_allclose(mixed[1:-1][::-1], adjusted(p))
    assert np.isnan(mixed[[0, -1]]).all()
    assert np.isnan(adjusted([np.nan])).all()
    assert len(adjusted([])) == 0
