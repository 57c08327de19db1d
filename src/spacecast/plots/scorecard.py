"""The scorecard as a picture: where models are better or worse than one of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spacecast.evaluation.metrics import find
from spacecast.evaluation.scorecard import BETTER, UNTESTED, WORSE, Cell, Scorecard
from spacecast.plots.canvas import TRUTH, label, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = ("rmse", "crps", "spread_skill_ratio")
MEANS = {"rmse": "skill"}  # the metric whose mean over variables stands below
ABSENT = "absent"  # of a difference that is no number
MARKS = {BETTER: "^", WORSE: "v", UNTESTED: "x", ABSENT: "s"}
WORDS = {
    BETTER: "significantly better",
    WORSE: "significantly worse",
    UNTESTED: "too few initial times to tell",
    ABSENT: "no number",
}
COLOURS, NOTHING = "RdBu_r", "#d9d9d9"  # blue is better; red and blue are told apart by all kinds of colour vision
LEAST, MOST = 1.0, 100.0  # of the limits of the colours [%]


def draw_scorecard(card: Scorecard, path: Path) -> list[Path]:
    """Draw the differences from the baseline: a column of panes for each model, a row for each metric.

    Blue is better and red is worse, triangles stand where that is significant. Each pane has a line for each variable
    and a column for each lead.

    Args:
        card: of two models or more.
        path: of the picture.

    Returns:
        The path; nothing where there is nothing to compare.

    """
    models = card.models[1:]
    metrics = [name for name in METRICS if any(cell.metric == name for cell in card.cells)]
    if not models or not metrics:
        return []
    rows = {name: _variables(card, name) for name in metrics}
    heights = [0.17 * len(names) for names in rows.values()]
    width = max(0.34 * len(card.lead_seconds), 0.075 * max(map(len, models)), 0.9)
    limit = _limit(card, metrics)
    colours: dict[str, Any] = {"cmap": COLOURS, "vmin": -limit, "vmax": limit}
    with new_figure(1.1 + (width + 0.15) * len(models), 1.6 + sum(heights) + 0.45 * len(rows)) as figure:
        panes = figure.subplots(
            len(rows), len(models), squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": heights}
        )
        for line, (metric, names) in zip(panes, rows.items(), strict=True):
            for pane, model in zip(line, models, strict=True):
                cells = [[_cell(card, model, metric, name, lead) for lead in card.lead_seconds] for name in names]
                _draw_pane(pane, cells, colours)
            line[0].set_yticks(range(len(names)), [label(name) for name in names])
            line[0].set_ylabel(find(metric).label)
        for pane, model in zip(panes[0], models, strict=True):
            pane.set_title(model)
        for pane in panes[-1]:
            pane.set_xticks(range(len(card.lead_seconds)), [f"{lead:g}" for lead in card.lead_seconds], rotation=45)
            pane.set_xlabel("lead time [s]")
        figure.align_ylabels(panes[:, 0])
        text = f"difference from {card.models[0]} [%]\nbelow 0: nearer to a perfect score"
        bar_height = min(1.0, 1.8 / sum(heights))
        figure.colorbar(panes[0, 0].images[0], ax=panes, label=text, extend="both", shrink=bar_height)
        kinds = {_kind(cell) for cell in card.cells if cell.metric in (*metrics, *MEANS.values())}
        handles = [_handle(kind) for kind in WORDS if kind in kinds]
        if handles:
            figure.legend(handles=handles, loc="outside lower left", ncols=1, frameon=False)
        return [save(figure, path)]


def _variables(card: Scorecard, metric: str) -> list[str]:
    """Lines of a pane: variables in order, then their mean."""
    names = dict.fromkeys(cell.variable for cell in card.cells if cell.metric == metric)
    mean = [cell.metric for cell in card.cells if cell.variable == "mean" and cell.metric == MEANS.get(metric, metric)]
    return [*(name for name in names if name != "mean"), *(["mean"] if mean else [])]


def _cell(card: Scorecard, model: str, metric: str, variable: str, lead: float) -> Cell | None:
    """What is shown at a place of a pane."""
    return card.cell(model, MEANS.get(metric, metric) if variable == "mean" else metric, variable, lead)


def _limit(card: Scorecard, metrics: Sequence[str]) -> float:
    """Largest difference that the colours tell apart [%]: all but the few largest ones are below."""
    shown = [abs(cell.difference) for cell in card.cells if cell.metric in metrics]
    finite = np.array([size for size in shown if np.isfinite(size)])
    return float(np.clip(np.percentile(finite, 95), LEAST, MOST)) if finite.size else MOST


def _kind(cell: Cell) -> str:
    """What its mark says."""
    return ABSENT if np.isnan(cell.difference) else cell.significant


def _draw_pane(pane: "Axes", cells: Sequence[Sequence[Cell | None]], colours: dict[str, Any]) -> None:
    """One model and metric: a colour for each difference, a mark where there is something to say."""
    values = np.array([[np.nan if cell is None else cell.difference for cell in line] for line in cells])
    pane.set_facecolor(NOTHING)
    pane.imshow(values, aspect="auto", interpolation="nearest", **colours)
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            mark = None if cell is None or _kind(cell) == ABSENT else MARKS.get(_kind(cell))
            if mark:
                colour = "white" if abs(values[row, column]) > 0.6 * colours["vmax"] else TRUTH
                pane.plot(column, row, mark, color=colour, markersize=3, markeredgewidth=0.6)
    pane.tick_params(length=2)


def _handle(kind: str) -> Any:
    """The entry of a mark in the legend."""
    from matplotlib.lines import Line2D

    colour = NOTHING if kind == ABSENT else TRUTH
    return Line2D([], [], marker=MARKS[kind], color=colour, linestyle="", markersize=4, label=WORDS[kind])
