"""Scores against lead time, and ranks."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.evaluation.metrics import FACTS
from spacecast.plots.canvas import BASELINE, FORECAST, SPREAD, TRUTH, ScoreTable, label, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(scores: ScoreTable, path: str | Path, *, title: str | None = None) -> Path:
    """Draw RMSE against lead time beside persistence, and the spread of an ensemble, a pane per variable."""
    lines = {
        "persistence": ("persistence_rmse", BASELINE, "--"),
        "member": ("member_rmse", FORECAST, ":"),
        "forecast": ("rmse", FORECAST, "-"),
        "spread": ("spread", SPREAD, "-"),
    }
    lines = {name: line for name, line in lines.items() if line[0] in scores.metrics}

    def draw(pane: "Axes", name: str) -> None:
        for text, (metric, colour, style) in lines.items():
            leads, values = scores.series(metric, name)
            text = "ensemble mean" if text == "forecast" and "spread" in lines else text
            pane.plot(leads, values, style, color=colour, marker="." if len(leads) < 20 else "", label=text)
        pane.set_title(label(name, scores.units[name]))
        pane.set_ylim(bottom=0)

    return _draw_panes(scores, draw, path, "lead time [s]", FACTS["rmse"].label, title)


def draw_spread_skill(scores: ScoreTable, path: str | Path, *, title: str | None = None) -> Path:
    """Draw spread over skill, corrected for the number of members, against lead time; 1 is reliable."""
    return _draw_lines(scores, "spread_skill_ratio", FACTS["spread_skill_ratio"].label, path, title)


def draw_ranks(
    ranks: np.ndarray, scores: ScoreTable, path: str | Path, *, lead: int | None = None, title: str | None = None
) -> Path:
    """Draw rank histograms, a pane per variable; flat (the dashed line) is reliable.

    Args:
        ranks: counts, shape (lead, variable, member + 1).
        scores: for the names of the variables.
        path: picture to write.
        lead: number of the lead, 1 is the first; None: the last.
        title: above the picture.

    Returns:
        The path.

    """
    counts = ranks[-1 if lead is None else lead - 1]
    slots = counts.shape[-1]
    numbers = dict(zip(scores.variables, counts, strict=True))

    def draw(pane: "Axes", name: str) -> None:
        shares = numbers[name] / max(numbers[name].sum(), 1) * slots
        pane.bar(np.arange(slots), shares, width=0.9, color=FORECAST)
        pane.axhline(1, color=TRUTH, linestyle="--", linewidth=0.8, label="reliable")
        pane.set_title(label(name))

    return _draw_panes(scores, draw, path, "rank of the truth", "relative frequency", title)


def draw_skill(scores: ScoreTable, path: str | Path, *, title: str | None = None) -> Path:
    """Draw RMSE over that of persistence: 1 is no better than persistence, 0 is perfect."""
    return _draw_lines(scores, "skill", "RMSE / persistence", path, title, convert=lambda skill: 1 - skill)


def draw_divergence(scores: ScoreTable, path: str | Path, *, title: str | None = None) -> Path:
    """Draw mean |div B| of forecast and truth against lead time."""
    with new_figure(3.6, 2.7) as figure:
        axes = figure.subplots()
        for metric, text, colour in (("div_b_truth", "truth", TRUTH), ("div_b", "forecast", FORECAST)):
            leads, values = scores.series(metric, "B")
            axes.plot(leads, values, color=colour, marker="." if len(leads) < 20 else "", label=text)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("lead time [s]")
        axes.set_ylabel(rf"mean $|\nabla\cdot B|$ [{scores.units['Bx']}/$R_E$]")
        axes.legend(frameon=False)
        if title:
            figure.suptitle(title)
        return save(figure, path)


def _draw_panes(
    scores: ScoreTable,
    draw: "Callable[[Axes, str], None]",
    path: str | Path,
    x_label: str,
    y_label: str,
    title: str | None,
) -> Path:
    """A pane per variable, four in a row, with one legend."""
    names = scores.variables
    columns = min(4, len(names))
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
                pane.set_xlabel(x_label)
        for line in panes:
            line[0].set_ylabel(y_label)
        handles, texts = panes[0, 0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside lower center", ncols=len(texts), frameon=False)
        if title:
            figure.suptitle(title)
        return save(figure, path)


def _draw_lines(
    scores: ScoreTable,
    metric: str,
    y_label: str,
    path: str | Path,
    title: str | None,
    *,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Path:
    """One dimensionless metric of all variables in one pane, the mean over variables on top."""
    import matplotlib as mpl

    with new_figure(5.0, 3.3) as figure:
        axes = figure.subplots()
        for number, name in enumerate(scores.variables):
            leads, values = scores.series(metric, name)
            axes.plot(leads, convert(values), color=mpl.colormaps["tab20"](number % 20), linewidth=1, label=label(name))
        leads, values = scores.series(metric, "mean")
        axes.plot(leads, convert(values), color=TRUTH, linewidth=2.4, label="mean")
        axes.axhline(1, color=BASELINE, linestyle="--", linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("lead time [s]")
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
        if title:
            figure.suptitle(title)
        return save(figure, path)
