"""The result of the contest: means over seeds with intervals, and quotients."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t

LEVEL = 0.95


class Interval(NamedTuple):
    """A number and the interval that holds it in 95 of 100 cases; NaN: not known."""

    value: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """As in a table."""
        if not np.isfinite([self.low, self.high]).all():
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean over seeds, and its interval by Student's t; without one where there is a single seed."""
    found = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):
        mean = float(found.mean())
        if len(found) < 2:
            return Interval(mean, np.nan, np.nan)
        half = float(t.ppf((1 + LEVEL) / 2, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return Interval(mean, mean - half, mean + half)


def quotient_interval(one: Sequence[float], other: Sequence[float]) -> Interval:
    """Quotient of the geometric means of two sets of seeds, with the interval of Welch's t on logarithms.

    The degrees of freedom are those of Satterthwaite (1946). Scores are above 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = [np.log(np.asarray(values, dtype=float)) for values in (one, other)]
        difference = float(logs[0].mean() - logs[1].mean())
        if min(map(len, logs)) < 2:
            return Interval(float(np.exp(difference)), np.nan, np.nan)
        parts = np.array([each.var(ddof=1) / len(each) for each in logs])
        freedom = parts.sum() ** 2 / (parts**2 / np.array([len(each) - 1 for each in logs])).sum()
        half = t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(parts.sum()) if parts.sum() > 0 else 0.0
        low, high = np.exp(difference - half), np.exp(difference + half)
    return Interval(float(np.exp(difference)), float(low), float(high))


def render(
    results: Mapping[str, Sequence[Mapping[str, Any]]], labels: Mapping[str, str], leads: Sequence[int], best: str
) -> str:
    """The table in Markdown.

    Args:
        results: of each entry that has finished trainings, one for each seed: `ratio`, the score by lead, `seconds`,
            `steps`, `parameters`, and `references`, the scores of other references than persistence by label.
        labels: of all entries.
        leads: numbers of the leads.
        best: the entry that is held against the others.

    """
    head = ["", "seeds", "parameters", "steps", "training [s]", *(f"lead {lead}" for lead in leads)]
    rows = []
    for name, runs in results.items():
        seconds = [run["seconds"] for run in runs]
        facts = [f"{runs[0]['parameters']:,}", f"{runs[0]['steps']:,}", f"{min(seconds):.0f} to {max(seconds):.0f}"]
        scores = [mean_interval([run["ratio"][str(lead)] for run in runs]).text(3) for lead in leads]
        rows.append([labels[name], str(len(runs)), *facts, *scores])
    for label, curve in next(iter(results.values()))[0]["references"].items():  # the same for all
        rows.append([label, "", "", "", "", *(f"{curve[str(lead)]:.3f}" for lead in leads)])
    for name, runs in results.items():
        if name == best or best not in results:
            continue
        quotients = [
            quotient_interval(*([run["ratio"][str(lead)] for run in each] for each in (results[best], runs)))
            for lead in leads
        ]
        rows.append([f"{labels[best]} / {labels[name]}", "", "", "", "", *(each.text(2) for each in quotients)])
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))
