"""The result of an evaluation: a tidy table of numbers in physical units."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
import xarray as xr

from spacecast.core.errors import UserError, nearest
from spacecast.core.text import several
from spacecast.core.types import ScoreRow
from spacecast.formulas.averages import variable_mean
from spacecast.process.files import atomic_write


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

    def series(self, metric: str, variable: str, region: str = "all") -> tuple[np.ndarray, np.ndarray]:
        """One curve: lead times [s] and values, each of shape (lead,).

        Raises:
            UserError: when there is no such curve; it names the nearest metric, variable or region.

        """
        wanted = (metric, variable, region)
        found = sorted((row.lead_s, row.value) for row in self.rows if (row.metric, row.variable, row.region) == wanted)
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
        """A table for the terminal: RMSE beside persistence and skill, div B beside the truth's.

        Args:
            leads: lead numbers, 1 is the first; None: the first, the middle one and the last.

        """
        seconds = self.lead_seconds
        if leads is None:
            leads = sorted({1, (len(seconds) + 1) // 2, len(seconds)})
        picked = [lead for lead in leads if 1 <= lead <= len(seconds)]
        kind = "RMSE of the ensemble mean" if self.members > 1 else "RMSE"
        head = f"{kind} beside persistence"
        lines = [head + (f", {several(self.windows, 'forecast')}" if self.windows else "")]
        lines.append(" " * 16 + "".join(f" |{f'lead {lead} ({seconds[lead - 1]:g} s)':^28}" for lead in picked))
        lines.append(f"{'variable':<9}{'units':<7}" + " |     RMSE   persist    skill" * len(picked))
        for name in self.variables:
            curves = [self.series(metric, name)[1] for metric in ("rmse", "persistence_rmse", "skill")]
            cells = (" |{:9.4g} {:9.4g} {:8.3f}".format(*(curve[lead - 1] for curve in curves)) for lead in picked)
            lines.append(f"{name:<9}{self.units[name]:<7}{''.join(cells)}")
        skill = self.series("skill", "mean")[1]
        lines.append(f"{'mean':<16}" + "".join(f" |{'':20}{skill[lead - 1]:8.3f}" for lead in picked))
        lines += ["", *self._by_lead()]
        return "\n".join(lines)

    def _by_lead(self) -> list[str]:
        """Lines with one number per lead, for at most ten leads."""
        number = len(self.lead_seconds)
        picked = sorted({round(lead) for lead in np.linspace(1, number, min(number, 10))})
        curves = {"RMSE / persistence, mean": self.ratio()}
        if self.members > 1:
            curves["CRPS / MAE, mean"] = self._mean_ratio("crps", "mae")
            curves["spread / skill, mean"] = self.series("spread_skill_ratio", "mean")[1]
        for metric, label in (("div_b", "|div B| of the forecast"), ("div_b_truth", "|div B| of the truth")):
            units = [row.units for row in self.rows if row.metric == metric]
            if units:
                curves[f"{label} [{units[0]}]"] = self.series(metric, "B")[1]
        curves |= self._negative()
        lines = [f"{'lead':<34}" + "".join(f"{lead:>9}" for lead in picked)]
        for label, curve in curves.items():
            lines.append(f"{label:<34}" + "".join(f"{curve[lead - 1]:9.3g}" for lead in picked))
        return lines

    def _negative(self) -> dict[str, np.ndarray]:
        """Shares of cells below zero by label, of variables that are below zero anywhere."""
        curves: dict[str, np.ndarray] = {}
        for name in dict.fromkeys(row.variable for row in self.rows if row.metric == "negative_share"):
            shares = [self.series(metric, name)[1] for metric in ("negative_share", "negative_share_truth")]
            if any((share != 0).any() for share in shares):
                curves |= dict(zip((f"share of cells with {name} < 0", "  of the truth"), shares, strict=True))
        return curves

    def _mean_ratio(self, upper: str, lower: str) -> np.ndarray:
        """Mean over the variables with a skill of the ratio of two metrics, shape (lead,)."""
        skill, rmse, above, below = (
            np.stack([self.series(metric, name)[1] for name in self.variables], axis=-1)
            for metric in ("skill", "rmse", upper, lower)
        )
        counted = np.isfinite(skill) | ~np.isfinite(rmse)  # a forecast that is no number makes the mean NaN
        with np.errstate(invalid="ignore", divide="ignore"):
            return variable_mean(torch.as_tensor(above / below), torch.as_tensor(counted)).numpy()

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
