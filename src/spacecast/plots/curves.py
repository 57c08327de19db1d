"""Scores against lead time, and ranks: pictures of one scored run, or of several beside each other."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.evaluation.metrics import Metric, find
from spacecast.plots.canvas import (
    BASELINE,
    FORECAST,
    SERIES,
    SPREAD,
    TRUTH,
    label,
    unit_text,
)
from spacecast.plots.panes import draw_panes
from spacecast.plots.picture import Picture, ScoredRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAD_TIME = "lead time [s]"
HIGHEST_RATIO = 1.5  # of RMSE over that of persistence that is shown; a straight line soon leaves the picture
LEAD_COLOURS = (SERIES[0], SERIES[1], TRUTH)  # of the first lead and later ones
REFERENCES = {
    "persistence": ("persistence_rmse", "--"),
    "climatology": ("climatology_rmse", ":"),
    "linear extrapolation": ("extrapolation_rmse", "-."),
}


def draw_rmse(run: ScoredRun, path: Path) -> list[Path]:
    """Draw RMSE against lead time with its interval beside references, and the spread of an ensemble, by variable."""
    runs = scored_runs(run, "rmse")
    if not runs:
        return []
    first = runs[0].scores

    def draw(pane: "Axes", name: str) -> None:
        for text, (metric, style) in REFERENCES.items():
            if metric in first.metrics:
                draw_line(pane, runs[0], metric, name, BASELINE, text, style)
        shown_values = [_series(runs[0], "persistence_rmse", name)[1]] if "persistence_rmse" in first.metrics else []
        for each, colour, text in coloured_runs(runs):
            shown = [("rmse", colour, text, "-")]
            if len(runs) == 1 and first.members > 1:
                shown = [("member_rmse", colour, "member", ":"), *shown, ("spread", SPREAD, "spread", "-")]
            for metric, shade, words, style in shown:
                if metric in first.metrics:
                    draw_line(pane, each, metric, name, shade, words, style)
                    shown_values.append(_series(each, metric, name)[1])
        pane.set_title(label(name, first.units[name]))
        values = np.concatenate(shown_values)  # of runs that may have other leads
        top = np.max(values[np.isfinite(values)], initial=0)
        pane.set_ylim(0, 1.1 * top if top > 0 else None)

    return draw_panes(runs, _shown(run, first.variables), draw, path, LEAD_TIME, find("rmse").label)


def draw_ratio(run: ScoredRun, path: Path) -> list[Path]:
    """Draw RMSE over that of persistence, beside other references: 1 is no better than persistence, 0 is perfect."""
    return _draw_ratio(run, path, "RMSE / persistence", lambda skill: 1 - skill)


def draw_skill(run: ScoredRun, path: Path) -> list[Path]:
    """Draw skill as tables have it, 1 - RMSE / persistence: 0 is no better than persistence, 1 is perfect."""
    return _draw_ratio(run, path, "1 - RMSE / persistence", np.asarray)


def _draw_ratio(run: ScoredRun, path: Path, text: str, convert: Callable[[np.ndarray], np.ndarray]) -> list[Path]:
    """Skill in one of its two forms, a pane for each variable and their mean."""
    runs = scored_runs(run, "skill")
    if not runs:
        return []
    first = runs[0].scores
    limits = np.sort(convert(np.array([-0.05, 1 - HIGHEST_RATIO, 1.0])))

    def draw(pane: "Axes", name: str) -> None:
        pane.axhline(float(convert(np.zeros(1))[0]), color=BASELINE, linestyle="--", linewidth=1, label="persistence")
        for reference, (metric, style) in list(REFERENCES.items())[1:]:
            if metric in first.metrics:
                leads, skill = _skill_of(runs[0], metric, name)
                pane.plot(leads, convert(skill), style, color=BASELINE, linewidth=1, label=reference)
        for each, colour, name_of_run in coloured_runs(runs):
            draw_line(pane, each, "skill", name, colour, name_of_run, convert=convert)
        pane.set_title("mean over variables" if name == "mean" else label(name))
        pane.set_ylim(float(limits[0]), float(limits[-1]))

    return draw_panes(runs, [*_shown(run, first.variables), "mean"], draw, path, LEAD_TIME, text)


def _skill_of(run: ScoredRun, metric: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lead times, and the skill of a reference for a variable, or its mean over those that have a skill."""
    leads = _series(run, "skill", name)[0]
    if name == "mean":
        return leads, 1 - run.scores.mean_ratio(metric, "persistence_rmse", run.choice.region)
    with np.errstate(invalid="ignore", divide="ignore"):
        return leads, 1 - _series(run, metric, name)[1] / _series(run, "persistence_rmse", name)[1]


def draw_spread_skill(run: ScoredRun, path: Path) -> list[Path]:
    """Draw spread over skill, corrected for the number of members, by variable and their mean; 1 is reliable."""
    runs = scored_runs(run, "spread_skill_ratio")
    if not runs:
        return []

    def draw(pane: "Axes", name: str) -> None:
        pane.axhline(1, color=TRUTH, linestyle="--", linewidth=0.8, label="reliable")
        for each, colour, text in coloured_runs(runs):
            draw_line(pane, each, "spread_skill_ratio", name, colour, text if len(runs) > 1 else "ensemble")
        pane.set_title("mean over variables" if name == "mean" else label(name))
        pane.set_ylim(0, max(1.3, pane.get_ylim()[1]))

    names = [*_shown(run, runs[0].scores.variables), "mean"]
    return draw_panes(runs, names, draw, path, LEAD_TIME, find("spread_skill_ratio").label)


def draw_metric(run: ScoredRun, path: Path, metric: Metric) -> list[Path]:
    """Draw any metric against lead time beside its best value, a pane for each variable and their mean."""
    units = {row.variable: row.units for row in run.scores if row.metric == metric.name}
    runs = scored_runs(run, metric.name)
    if not units:
        return []
    of = {"mean": "ensemble mean", "each": "members", "none": "forecast"}[metric.members]

    def draw(pane: "Axes", name: str) -> None:
        for each, colour, text in coloured_runs(runs):
            draw_line(pane, each, metric.name, name, colour, text if len(runs) > 1 or text == "forecast" else of)
        if metric.best is not None:
            pane.axhline(metric.best, color=TRUTH, linestyle="--", linewidth=0.8, label="perfect")
        pane.set_title(label(name, None if units[name] == "1" else units[name]))

    return draw_panes(runs, list(units), draw, path, LEAD_TIME, metric.label)


def draw_ranks(run: ScoredRun, path: Path) -> list[Path]:
    """Draw rank histograms of the truth at three leads, by variable; flat (the dashed line) is reliable."""
    if run.scores.ranks is None:
        return []
    seconds, counts = run.scores.lead_seconds, run.scores.ranks
    leads = sorted({0, len(seconds) // 2, len(seconds) - 1})

    def draw(pane: "Axes", name: str) -> None:
        slots = counts.shape[-1]
        for lead, colour in zip(leads, LEAD_COLOURS, strict=False):
            taken = counts[lead, run.scores.variables.index(name)]
            shares = taken / max(taken.sum(), 1) * slots
            edges = np.arange(slots + 1) - 0.5
            pane.stairs(shares, edges, baseline=None, color=colour, label=f"lead {seconds[lead]:g} s")
        pane.axhline(1, color=BASELINE, linestyle="--", linewidth=0.8, label="reliable")
        pane.set_ylim(bottom=0)
        pane.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        pane.set_title(label(name))

    names = _shown(run, run.scores.variables)
    return draw_panes([run], names, draw, path, f"rank among {run.scores.members} members", "relative frequency")


def draw_spectra(run: ScoredRun, path: Path) -> list[Path]:
    """Draw power against wave number of forecast and truth at the first and the last lead, by variable."""
    from matplotlib.ticker import LogLocator

    data = run.scores.dataset
    if data is None or "spectrum" not in data:
        return []
    waves, seconds = data["wavenumber"].values, data["lead_time"].values
    names = [name for name in run.scores.variables if np.isfinite(data["spectrum"].sel(variable=name)).any()]

    def draw(pane: "Axes", name: str) -> None:
        for lead, colour in zip(sorted({0, len(seconds) - 1}), LEAD_COLOURS, strict=False):
            for kind, style in (("spectrum_truth", ":"), ("spectrum", "-")):
                power = data[kind].sel(variable=name).isel(lead_time=lead).values
                text = f"{'truth' if style == ':' else 'forecast'}, {seconds[lead]:g} s"
                pane.plot(waves, np.where(power > 0, power, np.nan), style, color=colour, label=text)
        pane.set_xscale("log")
        pane.set_yscale("log")
        pane.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        pane.xaxis.set_major_formatter("{x:g}")
        pane.tick_params(which="minor", labelbottom=False, labelleft=False)  # they would overlap
        pane.set_title(f"{label(name)} [({unit_text(run.scores.units[name])})$^2$ $R_E$]")

    return draw_panes([run], _shown(run, names), draw, path, "1 / wavelength [1/$R_E$]", "power")


def scored_runs(run: ScoredRun, metric: str) -> list[ScoredRun]:
    """The runs that have scores of a metric; none where the first has not."""
    return (
        [each for each in (run, *run.others) if metric in each.scores.metrics] if metric in run.scores.metrics else []
    )


def _shown(run: ScoredRun, names: Sequence[str]) -> list[str]:
    """The variables that are chosen, all where there is no choice."""
    wanted = run.choice.variables
    return list(names) if wanted is None or tuple(wanted) == ("all",) else [name for name in names if name in wanted]


def coloured_runs(runs: Sequence[ScoredRun]) -> list[tuple[ScoredRun, str, str]]:
    """Each run with its colour and what its line is called."""
    if len(runs) == 1:
        return [(runs[0], FORECAST, "ensemble mean" if runs[0].scores.members > 1 else "forecast")]
    return [(run, SERIES[number % len(SERIES)], run.name) for number, run in enumerate(runs)]


def _series(run: ScoredRun, metric: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lead times and scores in the chosen region."""
    return run.scores.series(metric, name, run.choice.region)


def draw_line(
    pane: "Axes",
    run: ScoredRun,
    metric: str,
    name: str,
    colour: str,
    text: str,
    style: str = "-",
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> None:
    """One curve, of a forecast with the interval over initial times where it is known."""
    leads, values = _series(run, metric, name)
    width = 1.0 if colour == BASELINE else None
    marker = "." if len(leads) < 20 else ""
    pane.plot(leads, convert(values), style, color=colour, linewidth=width, marker=marker, label=text)
    data, ends = run.scores.dataset, (f"{metric}_low", f"{metric}_high")
    if data is not None and colour != BASELINE and set(ends) <= set(data.data_vars) and name in data["variable"].values:
        place = {"variable": name, **({"region": run.choice.region} if "region" in data[ends[0]].dims else {})}
        low, high = (convert(data[end].sel(place).values) for end in ends)
        pane.fill_between(leads, low, high, color=colour, alpha=0.2, linewidth=0)


PICTURES = (
    Picture(
        "rmse",
        "RMSE against lead time with intervals beside persistence and other references",
        draw_rmse,
        together=True,
    ),
    Picture("skill", "1 - RMSE / persistence against lead time", draw_skill, together=True),
    Picture("rmse_ratio", "RMSE / persistence against lead time", draw_ratio, always=False, together=True),
    Picture("spread_skill", "spread over skill of an ensemble", draw_spread_skill, together=True),
    Picture("ranks", "rank histograms of an ensemble at three leads", draw_ranks),
    Picture("spectra", "power spectra of forecast and truth", draw_spectra, always=False),
)
