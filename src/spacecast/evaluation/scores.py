"""The result of an evaluation: a tidy table of numbers in physical units."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.text import several
from spacecast.core.types import ScoreRow, shown_leads
from spacecast.formulas.averages import variable_mean
from spacecast.process.files import atomic_write

WIDTH = 34  # of the labels of a table


@dataclass(frozen=True)
class Scores:
    """Scores per metric, variable, lead time and region.

    Args:
        rows: the numbers; region `all` is the whole domain outside the boundary.
        windows: number of forecasts that were scored, 0 if unknown.
        members: ensemble members.
        scored: which runs and frames, in words.
        ranks: how often the truth took each rank among the members, shape (lead, variable, member + 1), or None.
        dataset: the same scores and all others, with intervals, by run and by initial time; see `score_dataset`.

    """

    rows: tuple[ScoreRow, ...]
    windows: int = 0
    members: int = 1
    scored: str = ""
    ranks: np.ndarray | None = field(default=None, compare=False)
    dataset: xr.Dataset | None = field(default=None, compare=False)

    def __iter__(self) -> Iterator[ScoreRow]:
        return iter(self.rows)

    @property
    def metrics(self) -> list[str]:
        """Metric names in order."""
        return list(dict.fromkeys(row.metric for row in self.rows))

    @property
    def variables(self) -> list[str]:
        """State variables in order."""
        return list(dict.fromkeys(row.variable for row in self.rows if row.metric == "rmse"))

    @property
    def units(self) -> dict[str, str]:
        """Units of each state variable."""
        return {row.variable: row.units for row in self.rows if row.metric == "rmse"}

    @property
    def lead_seconds(self) -> list[float]:
        """Lead times in ascending order [s]."""
        return sorted({row.lead_s for row in self.rows})

    @cached_property
    def _curves(self) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
        """Lead times and values by metric, variable and region."""
        curves: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for row in self.rows:
            curves.setdefault((row.metric, row.variable, row.region), []).append((row.lead_s, row.value))
        return {key: sorted(curve) for key, curve in curves.items()}

    def series(self, metric: str, variable: str, region: str = "all") -> tuple[np.ndarray, np.ndarray]:
        """One curve: lead times [s] and values, each of shape (lead,).

        Raises:
            UserError: when there is no such curve; it names the nearest metric, variable or region.

        """
        found = self._curves.get((metric, variable, region), [])
        if not found:
            self._explain(metric, variable, region)
        return np.array([lead for lead, _ in found]), np.array([value for _, value in found])

    def write_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write `metric,variable,units,lead_s,region,value`; the file appears whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(ScoreRow._fields)
            writer.writerows((*row[:3], f"{row.lead_s:.10g}", row.region, f"{row.value:.9g}") for row in self.rows)
        return path

    def write_netcdf(self, path: str | os.PathLike[str]) -> Path:
        """Write `dataset`; the file appears whole or not at all."""
        path = Path(path)
        if self.dataset is None:
            raise ValueError("these scores are a table alone")
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            self.dataset.to_netcdf(partial)
        return path

    @classmethod
    def read_csv(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `write_csv` wrote (numbers of windows and ranks are not in the file)."""
        with Path(path).open(newline="", encoding="utf-8") as stream:
            lines = csv.DictReader(stream)
            if tuple(lines.fieldnames or ()) != ScoreRow._fields:
                raise UserError(f"{path} is no table of scores: expected the columns {','.join(ScoreRow._fields)}")
            texts = [[line[name] for name in ScoreRow._fields] for line in lines]
        rows = tuple(ScoreRow(*text[:3], float(text[3]), text[4], float(text[5])) for text in texts)  # type: ignore[call-arg,arg-type]
        return cls(rows)

    def ratio(self) -> np.ndarray:
        """Mean over variables of RMSE / persistence RMSE at each lead, shape (lead,)."""
        return np.asarray(1 - self.series("skill", "mean")[1])

    def table(self, leads: Sequence[int] | None = None) -> str:
        """A table for the terminal: RMSE over that of persistence by variable, beside that of the other references.

        Args:
            leads: lead numbers, 1 is the first; None: those of `shown_leads`.

        """
        seconds = self.lead_seconds
        picked = [lead for lead in leads or shown_leads(len(seconds)) if 1 <= lead <= len(seconds)]
        kind = "RMSE of the ensemble mean" if self.members > 1 else "RMSE"
        facts = [f"{kind} / persistence", *([several(self.windows, "forecast")] if self.windows else [])]
        lines = [", ".join(facts) + (f" of {self.scored}" if self.scored else "")]
        if self.dataset is not None and self.metrics.count("climatology_rmse"):
            lines.append(f"climatology: mean of {self.dataset.attrs['climatology']}, over its frames for training")
        lines += ["", _line("lead", [f"{lead}" for lead in picked])]
        lines.append(_line("", [f"{seconds[lead - 1]:g} s" for lead in picked]))
        ratios = {name: 1 - self.series("skill", name)[1] for name in self.variables}
        for curves in ({**ratios, "mean": self.ratio(), **self.references()}, self._others()):
            lines += [_line(label, [f"{curve[lead - 1]:.3g}" for lead in picked]) for label, curve in curves.items()]
            lines.append("")
        return "\n".join(lines).rstrip()

    def references(self) -> dict[str, np.ndarray]:
        """Means over the variables of the RMSE of other references than persistence over that of persistence."""
        labels = {"climatology_rmse": "climatology, mean", "extrapolation_rmse": "linear extrapolation, mean"}
        there = [metric for metric in labels if metric in self.metrics]
        return {labels[metric]: self.mean_ratio(metric, "persistence_rmse") for metric in there}

    def mean_ratio(self, upper: str, lower: str, region: str = "all") -> np.ndarray:
        """Mean over the variables with a skill of the ratio of two metrics in a region, shape (lead,)."""
        skill, rmse, above, below = (
            np.stack([self.series(metric, name, region)[1] for name in self.variables], axis=-1)
            for metric in ("skill", "rmse", upper, lower)
        )
        counted = np.isfinite(skill) | ~np.isfinite(rmse)  # a forecast that is no number makes the mean NaN
        with np.errstate(invalid="ignore", divide="ignore"):
            return variable_mean(torch.as_tensor(above / below), torch.as_tensor(counted)).numpy()

    def _others(self) -> dict[str, np.ndarray]:
        """What else there is with one number per lead."""
        curves: dict[str, np.ndarray] = {}
        if self.members > 1:
            curves["CRPS / MAE, mean"] = self.mean_ratio("crps", "mae")
            curves["spread / skill, mean"] = self.series("spread_skill_ratio", "mean")[1]
        if "roughness" in self.metrics:
            curves["roughness / that of truth, mean"] = self._mean("roughness")
        for metric, label in (("div_b", "|div B| of the forecast"), ("div_b_truth", "|div B| of the truth")):
            units = [row.units for row in self.rows if row.metric == metric]
            if units:
                curves[f"{label} [{units[0]}]"] = self.series(metric, "B")[1]
        if "beyond_range" in self.metrics and (beyond := self._mean("beyond_range")).any():
            curves["share beyond twice the range"] = beyond
        return curves | self._negative()

    def _mean(self, metric: str) -> np.ndarray:
        """Mean over the variables that have such a score, shape (lead,)."""
        values = np.stack([self.series(metric, name)[1] for name in self.variables])
        return np.asarray(values[np.isfinite(values).any(axis=1)].mean(axis=0))

    def _negative(self) -> dict[str, np.ndarray]:
        """Shares of cells below zero by label, of variables that are below zero anywhere."""
        curves: dict[str, np.ndarray] = {}
        for name in dict.fromkeys(row.variable for row in self.rows if row.metric == "negative_share"):
            shares = [self.series(metric, name)[1] for metric in ("negative_share", "negative_share_truth")]
            if any((share != 0).any() for share in shares):
                curves |= dict(zip((f"share of cells with {name} < 0", "  of the truth"), shares, strict=True))
        return curves

    def _explain(self, metric: str, variable: str, region: str) -> None:
        """Say which part of a request has no scores."""
        known = {
            "metric": (metric, self.metrics),
            "variable": (variable, list(dict.fromkeys(row.variable for row in self.rows if row.metric == metric))),
            "region": (region, list(dict.fromkeys(row.region for row in self.rows))),
        }
        for what, (name, names) in known.items():
            if name not in names:
                raise UserError(f"no scores of {what} {name!r}; {nearest(name, names)}")
        raise UserError(f"no scores of {metric}, {variable}, {region}")


def _line(label: str, cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"{label:<{WIDTH}}" + "".join(f"{cell:>9}" for cell in cells)
