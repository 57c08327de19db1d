"""Scores against lead time, and ranks: pictures of a scored run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.evaluation.metrics import Metric, find
from spacecast.plots.canvas import BASELINE, FORECAST, SPREAD, TRUTH, label, new_figure, save
from spacecast.plots.picture import Picture, ScoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_rmse(run: ScoredRun, path: Path) -> list[Path]:
    """Draw RMSE against lead time beside persistence, and the spread of an ensemble, a pane per variable."""
    scores = run.scores
    lines = {
        "persistence": ("persistence_rmse", BASELINE, "--"),
        "climatology": ("climatology_rmse", BASELINE, ":"),
        "linear extrapolation": ("extrapolation_rmse", BASELINE, "-."),
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
        bounded = [scores.series(metric, name)[1] for metric, _, _ in lines.values() if metric != "extrapolation_rmse"]
        top = np.max(np.where(np.isfinite(bounded), bounded, 0))  # a straight line soon leaves the picture
        pane.set_ylim(0, 1.1 * top if top > 0 else None)

    return _draw_panes(scores.variables, draw, path, "lead time [s]", find("rmse").label)


def draw_skill(run: ScoredRun, path: Path) -> list[Path]:
    """Draw RMSE over that of persistence, beside other references: 1 is no better than persistence, 0 is perfect."""
    others = run.scores.references()
    return _draw_lines(run, path, "skill", "RMSE / persistence", convert=lambda skill: 1 - skill, others=others)


def draw_spread_skill(run: ScoredRun, path: Path) -> list[Path]:
    """Draw spread over skill, corrected for the number of members, against lead time; 1 is reliable."""
    return _draw_lines(run, path, "spread_skill_ratio", find("spread_skill_ratio").label)


def draw_divergence(run: ScoredRun, path: Path) -> list[Path]:
    """Draw mean |div B| of forecast and truth against lead time."""
    if "div_b" not in run.scores.metrics:
        return []
    with new_figure(3.6, 2.7) as figure:
        axes = figure.subplots()
        for metric, text, colour in (("div_b_truth", "truth", TRUTH), ("div_b", "forecast", FORECAST)):
            leads, values = run.scores.series(metric, "B")
            axes.plot(leads, values, color=colour, marker="." if len(leads) < 20 else "", label=text)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("lead time [s]")
        axes.set_ylabel(rf"mean $|\nabla\cdot B|$ [{run.scores.units['Bx']}/$R_E$]")
        axes.legend(frameon=False)
        return [save(figure, path)]


def draw_metric(run: ScoredRun, path: Path, metric: Metric) -> list[Path]:
    """Draw any metric against lead time beside its best value, a pane for each variable and their mean."""
    scores = run.scores
    units = {row.variable: row.units for row in scores if row.metric == metric.name}
    if not units:
        return []
    of = {"mean": "ensemble mean", "each": "members", "none": "forecast"}[metric.members]

    def draw(pane: "Axes", name: str) -> None:
        leads, values = scores.series(metric.name, name)
        text = of if scores.members > 1 else "forecast"
        pane.plot(leads, values, color=FORECAST, marker="." if len(leads) < 20 else "", label=text)
        if metric.best is not None:
            pane.axhline(metric.best, color=TRUTH, linestyle="--", linewidth=0.8, label="perfect")
        pane.set_title(label(name, None if units[name] == "1" else units[name]))

    return _draw_panes(list(units), draw, path, "lead time [s]", metric.label)


def draw_ranks(run: ScoredRun, path: Path) -> list[Path]:
    """Draw rank histograms at the last lead, a pane per variable; flat (the dashed line) is reliable."""
    if run.scores.ranks is None:
        return []
    counts = dict(zip(run.scores.variables, run.scores.ranks[-1], strict=True))

    def draw(pane: "Axes", name: str) -> None:
        slots = len(counts[name])
        shares = counts[name] / max(counts[name].sum(), 1) * slots
        pane.bar(np.arange(slots), shares, width=0.9, color=FORECAST)
        pane.axhline(1, color=TRUTH, linestyle="--", linewidth=0.8, label="reliable")
        pane.set_title(label(name))

    return _draw_panes(run.scores.variables, draw, path, "rank of the truth", "relative frequency")


def _draw_panes(
    names: list[str], draw: "Callable[[Axes, str], None]", path: Path, x_label: str, y_label: str
) -> list[Path]:
    """A pane per variable, four in a row, with one legend."""
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
        return [save(figure, path)]


def _draw_lines(
    run: ScoredRun,
    path: Path,
    metric: str,
    y_label: str,
    *,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
    others: Mapping[str, np.ndarray] | None = None,
) -> list[Path]:
    """One dimensionless metric of all variables in one pane, the mean over variables on top."""
    import matplotlib as mpl

    if metric not in run.scores.metrics:
        return []
    with new_figure(5.0, 3.3) as figure:
        axes = figure.subplots()
        for number, name in enumerate(run.scores.variables):
            leads, values = run.scores.series(metric, name)
            axes.plot(leads, convert(values), color=mpl.colormaps["tab20"](number % 20), linewidth=1, label=label(name))
        leads, values = run.scores.series(metric, "mean")
        axes.plot(leads, convert(values), color=TRUTH, linewidth=2.4, label="mean")
        axes.axhline(1, color=BASELINE, linestyle="--", linewidth=1)
        axes.set_ylim(bottom=0)
        axes.autoscale(enable=False, axis="y")
        for (text, curve), style in zip((others or {}).items(), (":", "-."), strict=False):
            axes.plot(leads, curve, style, color=TRUTH, linewidth=1, label=text)
        axes.set_xlabel("lead time [s]")
        axes.set_ylabel(y_label)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False)
        return [save(figure, path)]


PICTURES = (
    Picture("rmse", "RMSE against lead time beside persistence, for each variable", draw_rmse),
    Picture("skill", "RMSE over that of persistence", draw_skill),
    Picture("divergence", "mean |div B| of forecast and truth", draw_divergence),
    Picture("spread_skill", "spread over skill of an ensemble", draw_spread_skill),
    Picture("ranks", "rank histograms of an ensemble", draw_ranks),
)
