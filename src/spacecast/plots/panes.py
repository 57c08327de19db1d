"""Panes of scores: one for each variable, with one legend, and a title that says what was scored."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spacecast.core.text import several
from spacecast.evaluation.bootstrap import LEVEL
from spacecast.plots.canvas import TEXT, add_legend, columns_for, entitle, fitting, new_figure, save, size_of_now
from spacecast.plots.picture import ScoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def describe(figure: "Figure", runs: Sequence[ScoredRun]) -> None:
    """A title: how many forecasts of what were scored, where that is known and all runs agree, and what bands are."""
    found = {
        ", ".join([f"{several(each.scores.windows, 'forecast')} of {each.scores.scored}", *_region(each)])
        for each in runs
        if each.scores.windows and each.scores.scored
    }
    parts = [*found] if len(found) == 1 else []
    if any(pane.collections for pane in figure.axes):
        parts.append(f"bands: {LEVEL:.0%} intervals")
    if parts:
        entitle(figure, ", ".join(parts))


def _region(run: ScoredRun) -> list[str]:
    """The part of the plane that is chosen, in words; nothing where it is all of it."""
    return [] if run.choice.region == "all" else [f"region {run.choice.region}"]


def draw_panes(
    runs: Sequence[ScoredRun],
    names: list[str],
    draw: "Callable[[Axes, str], None]",
    path: Path,
    x_label: str,
    y_label: str,
) -> list[Path]:
    """A pane for each name with one legend and a title; only what has none below it names the axis."""
    if not names:
        return []
    columns = columns_for(len(names))
    rows = -(-len(names) // columns)
    with new_figure(2.1 * columns, 1.65 * rows + 0.7) as figure:
        panes = figure.subplots(rows, columns, squeeze=False)
        for number, pane in enumerate(panes.flat):
            if number >= len(names):
                pane.set_visible(False)
                continue
            draw(pane, names[number])
            pane.spines[["top", "right"]].set_visible(False)
            if number + columns >= len(names):
                pane.set_xlabel(x_label, fontsize=fitting(x_label, 0.7 * float(figure.get_figwidth()) / columns))
        figure.supylabel(y_label, fontsize=TEXT["axes.labelsize"] * size_of_now().text)
        describe(figure, runs)
        add_legend(figure)
        return [save(figure, path)]
