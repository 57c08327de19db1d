"""Parallel coordinates: heights of numbers and words, and a picture."""

import math

import numpy as np
import pytest

from spacecast.plots.parallel import Axis, draw_parallel, heights, ticks


def test_numbers_stand_in_proportion():
    np.testing.assert_allclose(heights(Axis("a", ["1", "3", "2"])), [0, 1, 0.5])


def test_wide_ranges_are_logarithmic():
    np.testing.assert_allclose(heights(Axis("lr", ["1e-4", "1e-3", "1e-2"])), [0, 0.5, 1])
    np.testing.assert_allclose(heights(Axis("with zero", ["0", "1", "100"])), [0, 0.01, 1])


def test_words_stand_at_equal_distances_in_order():
    assert list(heights(Axis("graph", ["simple", "multiscale", "simple", "hierarchical"]))) == [0, 0.5, 0, 1]


def test_a_constant_is_in_the_middle_and_what_is_missing_has_no_height():
    assert list(heights(Axis("a", ["2", "2"]))) == [0.5, 0.5]
    assert math.isnan(heights(Axis("score", [1.0, math.nan, 2.0]))[1])
    assert np.isnan(heights(Axis("score", [math.nan, math.nan]))).all()


def test_labels_are_the_values_and_not_too_many():
    assert ticks(Axis("graph", ["b", "a", "b"])) == [(0, "b"), (1, "a")]
    many = ticks(Axis("x", [float(value) for value in range(50)]))
    assert len(many) == 4
    assert (many[0], many[-1]) == ((0.0, "0"), (1.0, "49"))


@pytest.mark.parametrize("parameters", [[], [Axis("width", ["4", "4", "8"]), Axis("graph", ["a", "a", "b"])]])
def test_the_picture_is_drawn(tmp_path, parameters):
    scores = [Axis("skill", [0.1, 0.2, 0.3]), Axis("rmse", [1.0, math.nan, 2.0])]
    path = draw_parallel(parameters, scores, tmp_path / "sub" / "report.png")
    assert path.read_bytes().startswith(b"\x89PNG")
