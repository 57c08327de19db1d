"""The test of flat ranks takes blocks of initial times for what is drawn."""

import numpy as np
import pytest

from spacecast.evaluation.flatness import blocks, rank_tests


def histograms(starts: int, ranks: int, correlation: float, rng: np.random.Generator, tilt: float = 0.0) -> np.ndarray:
    """Shares around flat ones, correlated from start to start, shape (start, ranks)."""
    noise = rng.normal(size=(starts, ranks))
    for start in range(1, starts):
        noise[start] = correlation * noise[start - 1] + (1 - correlation**2) ** 0.5 * noise[start]
    noise -= noise.mean(axis=-1, keepdims=True)
    return 1 / ranks + 0.01 * noise + tilt * np.linspace(-1, 1, ranks)


@pytest.mark.parametrize(
    ("runs", "least", "expected"),
    [
        ("aaaaaa", 3, [[0, 1, 2], [3, 4, 5]]),
        ("aaaaa", 2, [[0, 1, 2], [3, 4]]),
        ("aabbb", 3, [[0, 1], [2, 3, 4]]),
        ("aaaa", 1, [[0], [1], [2], [3]]),
        ("aa", 10, [[0, 1]]),
    ],
)
def test_blocks_are_neighbours_of_one_run(runs, least, expected) -> None:
    assert [block.tolist() for block in blocks(list(runs), least)] == expected


def test_correlated_starts_deceive_no_one_in_blocks() -> None:
    """The level holds for blocks; taking each start for a draw of its own refuses reliable ensembles far too often."""
    rng = np.random.default_rng(1)
    drawn = np.stack([histograms(120, 7, 0.8, rng) for _ in range(600)], axis=1)
    runs = ["a"] * 60 + ["b"] * 60
    for name, chance in rank_tests(drawn, runs, leads=15).items():
        assert abs((chance < 0.05).mean() - 0.05) < 5 * (0.05 * 0.95 / 600) ** 0.5, name
        assert (rank_tests(drawn, runs, leads=1)[name] < 0.05).mean() > 0.2


def test_a_tilt_is_found_and_is_no_curvature() -> None:
    drawn = histograms(60, 7, 0.0, np.random.default_rng(2), tilt=0.02)
    found = rank_tests(drawn, ["a"] * 60, leads=3)
    assert found["rank_flatness_p"] < 1e-6
    assert found["rank_slope_p"] < 1e-6
    assert found["rank_curvature_p"] > 0.01


def test_counts_and_shares_are_tested_alike() -> None:
    shares = histograms(12, 4, 0.3, np.random.default_rng(3))
    runs = ["a"] * 12
    for name, chance in rank_tests(shares, runs, 2).items():
        np.testing.assert_allclose(rank_tests(800 * shares, runs, 2)[name], chance, rtol=1e-9)


def test_one_block_says_nothing_and_one_member_has_no_curvature() -> None:
    shares = histograms(5, 4, 0.0, np.random.default_rng(4))[:, None]
    assert all(np.isnan(chance).all() for chance in rank_tests(shares, ["a"] * 5, leads=4).values())
    found = rank_tests(histograms(5, 2, 0.0, np.random.default_rng(4)), ["a"] * 5, leads=1)
    assert found["rank_flatness_p"] == pytest.approx(found["rank_slope_p"])
    assert np.isnan(found["rank_curvature_p"])
