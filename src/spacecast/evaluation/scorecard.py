"""The scorecard: models beside each other, their differences from one of them and whether these are chance."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.text import several
from spacecast.core.types import shown_leads
from spacecast.evaluation.metrics import METRICS, Metric
from spacecast.evaluation.paired_scores import PairedScores, check_alike, overlap, paired
from spacecast.evaluation.significance import LEAST_BLOCKS, LEVEL, adjusted, paired_test
from spacecast.process.files import atomic_write

MOST_LEADS = 5  # of a few; of more than ten those of a table are compared
BETTER, WORSE, NEITHER, UNTESTED = "better", "worse", "no", ""
REPEATS = ("almost_fair_crps", "brier_skill_score")  # rank forecasts as others do, and would count them twice
MARKS = {BETTER: "+", WORSE: "-", NEITHER: " ", UNTESTED: " "}


class Cell(NamedTuple):
    """One comparison: a line of `scorecard.csv`.

    model, baseline: names of the two.
    metric, variable, lead_s: what is compared; `mean` is the mean over the variables, of metrics without units.
    value, baseline_value: scores over the initial times that all models have.
    difference, low, high: of the distances from the value of a perfect forecast, in per cent of that of the baseline,
        with its interval of 95 %; negative is better.
    p, p_adjusted: of the paired test, and corrected for the number of tests of that model.
    significant: better, worse or no; empty where there are too few initial times for a test.
    """

    model: str
    baseline: str
    metric: str
    variable: str
    lead_s: float
    value: float
    baseline_value: float
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float = np.nan
    significant: str = UNTESTED


@dataclass(frozen=True)
class Scorecard:
    """What comes of a comparison.

    Args:
        models: names, the baseline first.
        lead_seconds: lead times that are compared [s].
        cells: the comparisons.
        means: by label of a mean over variables, and by model: one number for each lead.
        starts: initial times that all models have.
        runs: how many runs these are of.
        left_out: by model how many initial times the others have not.

    """

    models: tuple[str, ...]
    lead_seconds: tuple[float, ...]
    cells: tuple[Cell, ...]
    means: Mapping[str, Mapping[str, Sequence[float]]]
    starts: int
    runs: int
    left_out: Mapping[str, int]

    def cell(self, model: str, metric: str, variable: str, lead_s: float) -> Cell | None:
        """One of the comparisons, None where there is none."""
        wanted = (model, metric, variable, lead_s)
        return next((each for each in self.cells if (each.model, *each[2:5]) == wanted), None)

    def write_csv(self, path: Path) -> Path:
        """Write a line for each cell; the file appears whole or not at all."""
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(Cell._fields)
            for cell in self.cells:
                writer.writerow([f"{each:.9g}" if isinstance(each, float) else each for each in cell])
        return path

    def table(self) -> str:
        """For the terminal: means over the variables by lead, then how many cells differ significantly."""
        baseline, width = self.models[0], max(24, *(len(name) + 2 for name in self.models))
        times = f"{several(self.starts, 'initial time')} of {several(self.runs, 'run')}"
        lines = [f"Scorecard: {several(len(self.models), 'model')}, {times}, against {baseline}"]
        for name, number in self.left_out.items():
            if number:
                lines.append(f"left out: {several(number, 'initial time')} of {name} that not all models have")
        head = "".join(f"{f'{lead:g} s':>10} " for lead in self.lead_seconds)
        for label, rows in self.means.items():
            lines += ["", f"{label:<{width}}{head}" if len(label) < width else f"{label}\n{'':<{width}}{head}"]
            for name, values in rows.items():
                marks = self._marks(name) if label == HEADLINE else [" "] * len(values)
                numbers = "".join(f"{value:10.3f}{mark}" for value, mark in zip(values, marks, strict=True))
                lines.append(f"{name:<{width}}{numbers}".rstrip())
        return "\n".join([*lines, "", *self._counts(width)])

    def _marks(self, model: str) -> list[str]:
        """Whether the mean over the variables is significantly better or worse, lead by lead."""
        cells = [self.cell(model, "skill", "mean", lead) for lead in self.lead_seconds]
        return [MARKS[cell.significant if cell else UNTESTED] for cell in cells]

    def _counts(self, width: int) -> list[str]:
        """How many cells of each model are better, worse, neither or not tested."""
        level = f"{LEVEL:.0%} level, corrected for the number of tests of each model"
        lines = [f"+ and - in a table: significantly better and worse than {self.models[0]} ({level})"]
        kinds = {"better": BETTER, "worse": WORSE, "neither": NEITHER, "not tested": UNTESTED}
        lines.append(f"{'cells of scorecard.csv':<{width}}" + "".join(f"{kind:>11}" for kind in kinds))
        for model in self.models[1:]:
            found = Counter(cell.significant for cell in self.cells if cell.model == model)
            lines.append(f"{model:<{width}}" + "".join(f"{found[kind]:>11}" for kind in kinds.values()))
        if any(cell.significant == UNTESTED and np.isfinite(cell.difference) for cell in self.cells):
            lines += [
                f"not tested: {several(self.starts, 'initial time')} make fewer than {LEAST_BLOCKS} blocks that are",
                "independent of each other at some leads; more are scored by evaluation.windows, split or runs",
            ]
        return lines


HEADLINE = "RMSE / persistence"
_REFERENCES = {"climatology": "climatology_rmse", "linear extrapolation": "extrapolation_rmse"}
_MEANS = {  # by label: the metric above, and the one of persistence below
    HEADLINE: ("rmse", "persistence_rmse"),
    "CRPS / persistence": ("crps", "persistence_mae"),
}


def compare(scores: Mapping[str, xr.Dataset], baseline: str | None = None) -> Scorecard:
    """Hold models against one of them.

    Scores are compared at some leads (`MOST_LEADS`) by every metric that tells a better forecast from a worse one, of
    the whole domain, over the initial times that all models have. To be better is to be nearer to the value of a
    perfect forecast, so that a spread-skill ratio of 0.9 is better than one of 1.3.

    Args:
        scores: `scores.nc` by model.
        baseline: name of the model that the others are held against; None: the first.

    Raises:
        UserError: there is no such model, or the scores are not of the same data and forecasts.

    """
    names = list(scores)
    if baseline is not None and baseline not in names:
        raise UserError(f"baseline={baseline}: no model has that name; {nearest(baseline, names)}")
    first = baseline or names[0]
    ordered = {name: scores[name] for name in (first, *(name for name in names if name != first))}
    check_alike(ordered)
    models, left_out = paired(ordered)
    reference = models[first]
    number = len(reference.lead_seconds)
    leads = sorted({round(lead) for lead in np.linspace(0, number - 1, min(number, MOST_LEADS))})
    if number > 2 * MOST_LEADS:
        leads = [lead - 1 for lead in shown_leads(number)]
    cells: list[Cell] = []
    for name, model in models.items():
        places = [(metric, variable) for metric in METRICS for variable in _variables(metric, model, reference)]
        if name != first:
            found = [_cell(name, model, first, reference, *place, lead) for place in places for lead in leads]
            cells += _judged(found)
    seconds = tuple(reference.lead_seconds[lead] for lead in leads)
    means, runs = _means(models, leads), len(set(reference.runs))
    return Scorecard(tuple(models), seconds, tuple(cells), means, len(reference.runs), runs, left_out)


def _variables(metric: Metric, model: PairedScores, reference: PairedScores) -> list[str]:
    """What a metric is compared of: nothing where it ranks no forecasts or one of the models has no such score.

    The skill is compared as a mean only, for the RMSE says the same of single variables.
    """
    both = model.has(metric.name) and reference.has(metric.name)
    if metric.best is None or metric.members == "none" or metric.name in REPEATS or not both:
        return []
    names = _scored(metric.name, model, reference)
    mean = ["mean"] if metric.averaged and names else []
    return mean if metric.name == "skill" else [*names, *mean]


def _scored(metric: str, model: PairedScores, reference: PairedScores) -> list[str]:
    """Variables that have a score in either model; that of a forecast that is no number is none."""
    scored = {*model.variables(metric), *reference.variables(metric)}
    return [name for name in reference.names if name in scored and name in model.names]


def _cell(
    name: str, model: PairedScores, first: str, reference: PairedScores, metric: Metric, variable: str, lead: int
) -> Cell:
    """One comparison, not yet corrected for their number."""
    of, best, scored = metric.name, metric.best or 0.0, _scored(metric.name, model, reference)
    columns = [variable]
    if variable == "mean":  # what does not change counts nowhere
        columns = [name for name in scored if name in _scored("skill", model, reference)]

    def value(scores: PairedScores, weights: np.ndarray) -> np.ndarray:
        return np.asarray(scores.score(of, lead, columns, weights).mean(axis=1))

    def distance(scores: PairedScores, weights: np.ndarray) -> np.ndarray:
        return np.abs(value(scores, weights) - best)

    def difference_of(weights: np.ndarray) -> np.ndarray:
        return distance(model, weights) - distance(reference, weights)

    seconds, number = reference.lead_seconds[lead], len(reference.runs)
    once, each = _equal(number), np.eye(number)
    with np.errstate(invalid="ignore", divide="ignore"):
        others = [np.abs(scores.score(of, lead, scored, each) - best) for scores in (model, reference)]
        series = np.column_stack([difference_of(each), others[0] - others[1]])
        result = paired_test(difference_of, series, reference.runs, overlap(reference, seconds))
        size = distance(reference, once)[0] / 100
        difference, low, high = (0.0 if part == 0 else float(np.divide(part, size)) for part in result[:3])
    own, other = (float(value(scores, once)[0]) for scores in (model, reference))
    return Cell(name, first, of, variable, seconds, own, other, difference, low, high, result.p)


def _judged(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one model with p-values corrected for their number, and what is significant.

    Each model has a correction of its own: a clear difference of one makes no difference of another any clearer.
    """
    judged = []
    for cell, p in zip(cells, adjusted([cell.p for cell in cells]).tolist(), strict=True):
        kind = UNTESTED if np.isnan(p) else NEITHER if p >= LEVEL else BETTER if cell.difference < 0 else WORSE
        judged.append(cell._replace(p_adjusted=p, significant=kind))
    return judged


def _means(models: Mapping[str, PairedScores], leads: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """Means over the variables that change, by label: of ratios to persistence, and of spread / skill."""
    first = next(iter(models.values()))
    names = [name for name in first.names if any(name in model.variables("skill") for model in models.values())]
    weights = _equal(len(first.runs))
    means: dict[str, dict[str, list[float]]] = {}
    for label, (above, below) in _MEANS.items():
        if not all(model.has(above) and model.has(below) for model in models.values()):
            continue
        means[label] = {"persistence": [1.0] * len(leads)}
        for name, other in _REFERENCES.items():
            if label == HEADLINE and all(model.has(other) for model in models.values()):
                means[label][name] = [_mean_ratio(first, other, below, lead, names) for lead in leads]
        for name, model in models.items():
            means[label][name] = [_mean_ratio(model, above, below, lead, names) for lead in leads]
    ratio = "spread_skill_ratio"
    spread = {name: model for name, model in models.items() if model.has(ratio)}
    if spread:
        means["spread / skill"] = {
            name: [float(model.score(ratio, lead, names, weights).mean()) for lead in leads]
            for name, model in spread.items()
        }
    return means


def _mean_ratio(model: PairedScores, above: str, below: str, lead: int, names: Sequence[str]) -> float:
    """Mean over variables of the ratio of two scores."""
    weights = _equal(len(model.runs))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = model.score(above, lead, names, weights) / model.score(below, lead, names, weights)
    return float(ratios.mean()) if names else np.nan


def _equal(starts: int) -> np.ndarray:
    """Weights by which each initial time counts once, shape (1, start)."""
    return np.full((1, starts), 1 / starts)
