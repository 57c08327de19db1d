"""What the picture of a scorecard shows, read from its figure; one is rendered and looked at."""

from pathlib import Path

import numpy as np
import pytest
from figure_contents import assert_a_whole_picture, panes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from spacecast.evaluation.scorecard import BETTER, NEITHER, UNTESTED, WORSE, Cell, Scorecard
from spacecast.plots.canvas import label
from spacecast.plots.scorecard import draw_scorecard

NAMES = ("Bx", "rho", "T")
LEADS = (10.0, 50.0)


def difference(model: str, variable: str, lead: float) -> float:
    """A number that no other cell has."""
    return {"good": -10, "bad": 10}[model] + (*NAMES, "mean").index(variable) + lead / 100


def card(metrics=("rmse",), models=("good", "bad"), significant=NEITHER) -> Scorecard:
    cells = []
    for model in models:
        places = [(metric, name, lead) for metric in metrics for name in NAMES for lead in LEADS]
        places += [("skill", "mean", lead) for lead in LEADS]
        for metric, name, lead in places:
            share = difference(model, name, lead)
            cell = Cell(model, "base", metric, name, lead, 1, 1, share, share - 1, share + 1, 0.5, 0.5, significant)
            cells.append(cell)
    return Scorecard(("base", *models), LEADS, tuple(cells), {}, 40, 1, {})


def test_a_pane_for_each_model_and_metric_with_a_line_for_each_variable(tmp_path, drawn):
    path = tmp_path / "scorecard.png"
    assert draw_scorecard(card(metrics=("crps", "rmse", "mae")), path) == [path]
    shown = panes(drawn[0])
    assert [pane.get_title() for pane in shown] == ["good", "bad", "", ""]
    assert [pane.get_ylabel() for pane in shown] == ["RMSE", "", "CRPS", ""]
    assert [pane.get_xlabel() for pane in shown] == ["", "", "lead time [s]", "lead time [s]"]
    assert [text.get_text() for text in shown[0].get_yticklabels()] == [*map(label, NAMES), "mean"]
    assert [text.get_text() for text in shown[2].get_yticklabels()] == [*map(label, NAMES)]
    assert [text.get_text() for text in shown[2].get_xticklabels()] == ["10", "50"]
    for pane, model in zip(shown[:2], ("good", "bad"), strict=True):
        values = pane.images[0].get_array()
        expected = [[difference(model, name, lead) for lead in LEADS] for name in (*NAMES, "mean")]
        np.testing.assert_allclose(values, expected)
        low, high = pane.images[0].get_clim()
        assert low == -high < 0  # no difference has the neutral colour
    assert "difference from base [%]" in drawn[0].axes[-1].get_ylabel()


@pytest.mark.parametrize(("kind", "marker"), [(BETTER, "^"), (WORSE, "v"), (UNTESTED, "x"), (NEITHER, None)])
def test_marks_say_what_is_significant_and_the_legend_what_they_mean(kind, marker, tmp_path, drawn):
    draw_scorecard(card(significant=kind), tmp_path / "scorecard.png")
    for pane in panes(drawn[0]):
        assert [line.get_marker() for line in pane.lines] == ([marker] * 8 if marker else [])
    assert len(drawn[0].legends) == (marker is not None)


def test_what_is_no_number_is_grey_and_named(tmp_path, drawn):
    whole = card()
    cells = [
        cell._replace(difference=np.nan, significant=UNTESTED) if cell.variable == "rho" else cell
        for cell in whole.cells
    ]
    broken = Scorecard(whole.models, LEADS, tuple(cells), {}, 40, 1, {})
    draw_scorecard(broken, tmp_path / "scorecard.png")
    assert np.isnan(np.ma.filled(panes(drawn[0])[0].images[0].get_array(), np.nan)[1]).all()
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["no number"]
    assert not panes(drawn[0])[0].lines


def test_one_wild_difference_does_not_drown_the_rest(tmp_path, drawn):
    whole = card()
    wild = whole.cells[0]._replace(difference=np.inf)
    draw_scorecard(Scorecard(whole.models, LEADS, (wild, *whole.cells[1:]), {}, 40, 1, {}), tmp_path / "scorecard.png")
    assert panes(drawn[0])[0].images[0].get_clim()[1] < 20


def test_there_is_nothing_to_draw_of_one_model(tmp_path, drawn):
    assert draw_scorecard(card(models=()), tmp_path / "scorecard.png") == []
    assert not drawn


def many() -> Scorecard:
    """Long names of several models."""
    names = [f"hidden_dim={size}_lr=0.001_seed=1" for size in (16, 32, 64)]
    cells = [cell._replace(model=name) for name in names for cell in card(models=("good",), significant=BETTER).cells]
    return Scorecard(("base", *names), LEADS, tuple(cells), {}, 40, 1, {})


def test_no_text_lies_on_another_or_beyond_the_edge(tmp_path, monkeypatch):
    boxes = []

    def look(figure: Figure, path: Path) -> None:
        figure.draw_without_rendering()
        boxes.extend(text_boxes(figure))
        path.touch()

    monkeypatch.setattr(Figure, "savefig", look)
    draw_scorecard(many(), tmp_path / "scorecard.png")
    assert len(boxes) > 15
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def text_boxes(figure: Figure) -> list[Bbox]:
    """Where the texts of a drawn figure lie, all of them within it."""
    shown = panes(figure)
    texts = [text for pane in shown for text in (pane.title, *pane.get_xticklabels(), *pane.get_yticklabels())]
    texts += [shown[0].yaxis.label, *(pane.xaxis.label for pane in shown), *figure.legends[0].get_texts()]
    boxes = [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]
    inside = figure.bbox.padded(1)
    assert all(inside.contains(*corner) for box in boxes for corner in (box.min, box.max))
    return boxes


def test_the_picture_is_written_whole(tmp_path):
    [path] = draw_scorecard(many(), tmp_path / "scorecard.png")
    assert_a_whole_picture(path)
