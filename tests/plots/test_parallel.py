"""Parallel coordinates: heights of numbers and words, and a picture."""

import math

import numpy as np
import pytest
from figure_contents import assert_a_whole_picture, panes

from spacecast.plots.parallel import Coordinate, draw_parallel, heights, ticks


def test_numbers_stand_in_proportion():
    np.testing.assert_allclose(heights(Coordinate("a", ["1", "3", "2"])), [0, 1, 0.5])


def test_wide_ranges_are_logarithmic():
    np.testing.assert_allclose(heights(Coordinate("lr", ["1e-4", "1e-3", "1e-2"])), [0, 0.5, 1])
    np.testing.assert_allclose(heights(Coordinate("with zero", ["0", "1", "100"])), [0, 0.01, 1])


def test_words_stand_at_equal_distances_in_order():
    assert list(heights(Coordinate("graph", ["simple", "multiscale", "simple", "hierarchical"]))) == [0, 0.5, 0, 1]


def test_a_constant_is_in_the_middle_and_what_is_missing_has_no_height():
    assert list(heights(Coordinate("a", ["2", "2"]))) == [0.5, 0.5]
    assert math.isnan(heights(Coordinate("score", [1.0, math.nan, 2.0]))[1])
    assert np.isnan(heights(Coordinate("score", [math.nan, math.nan]))).all()


def test_labels_are_the_values_and_not_too_many():
    assert ticks(Coordinate("graph", ["b", "a", "b"])) == [(0, "b"), (1, "a")]
    many = ticks(Coordinate("x", [float(value) for value in range(50)]))
    assert len(many) == 4
    assert (many[0], many[-1]) == ((0.0, "0"), (1.0, "49"))


def test_labels_of_numbers_that_are_nearly_the_same_do_not_overlap():
    found = ticks(Coordinate("skill", [0.801, 0.803, 0.815, 0.812, 0.69, 0.695]))
    assert [text for _, text in found] == ["0.69", "0.801", "0.815"]
    assert (np.diff([height for height, _ in found]) > 0.07).all()


def test_a_line_for_each_set_of_parameters_and_a_point_for_each_run(tmp_path, drawn):
    """Two seeds of one set, another set, and a run without a score."""
    parameters = [Coordinate("model.width", ["4", "4", "8", "8"]), Coordinate("graph", ["a", "a", "b", "c"])]
    scores = [Coordinate("skill", [0.1, 0.2, 0.3, math.nan])]
    draw_parallel(parameters, scores, tmp_path / "report.png")
    [axes] = panes(drawn[0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["model.\nwidth", "graph", "skill"]
    sets = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(sets) == 3
    ends = [line.get_ydata()[-1] for line in sets]
    assert ends[:2] == pytest.approx([0.25, 1])  # the mean of 0.1 and 0.2 on a scale from 0.1 to 0.3
    assert math.isnan(ends[2])
    assert len({line.get_color() for line in sets}) == 3
    points = [line for line in axes.lines if line.get_marker() == "."]
    assert [list(line.get_ydata()) for line in points] == [pytest.approx([0, 0.5]), pytest.approx([1])]
    assert [line.get_color() for line in points] == [line.get_color() for line in sets[:2]]
    labels = [text.get_text() for text in axes.texts]
    assert labels == ["4", "8", "a", "b", "c", "0.1", "0.2", "0.3"]


@pytest.mark.parametrize("parameters", [[], [Coordinate("width", ["4", "4", "8"])]])
def test_the_picture_is_written_whole(tmp_path, parameters):
    scores = [Coordinate("skill", [0.1, 0.2, 0.3]), Coordinate("rmse", [1.0, math.nan, 2.0])]
    assert_a_whole_picture(draw_parallel(parameters, scores, tmp_path / "sub" / "report.png"))
