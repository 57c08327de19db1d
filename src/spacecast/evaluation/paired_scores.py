"""Scores of several models at the same initial times, out of their `scores.nc`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.text import several, shown
from spacecast.formulas.averages import spread_skill_ratio

ROOTS = (  # of means of squares
    "rmse", "persistence_rmse", "member_rmse", "spread", "climatology_rmse", "extrapolation_rmse"
)  # fmt: skip
# neither means over nodes nor made of any: here means of the scores of single forecasts
SINGLE = ("correlation", "anomaly_correlation", "gas_law_residual", "ohms_law_residual")
SCORES = ("rmse", "skill", "mae", "persistence_rmse", "persistence_mae")  # that every evaluation has
NEEDED = ("lead_time", "region", "variable", "run", "init_time", "start_run", *(f"{name}_by_start" for name in SCORES))


class PairedScores:
    """Scores of one model by initial time, the same times as those of the models it is compared with.

    Args:
        data: as in `scores.nc`, starts of a run side by side and in order.
        crps: name of the score that is its CRPS: the mean absolute error of a single forecast, which is its CRPS
            (Hersbach 2000, Weather and Forecasting 15).

    """

    def __init__(self, data: xr.Dataset, crps: str = "crps") -> None:
        self._data, self._crps = data, crps
        self._read: dict[str, np.ndarray] = {}
        self.members = int(data.attrs.get("members", 1))
        self.runs = [str(run) for run in data["start_run"].values]
        self.times = data["init_time"].values.astype("datetime64[ns]")
        self.lead_seconds = [float(lead) for lead in data["lead_time"].values]
        self.names = [str(name) for name in data["variable"].values]

    def has(self, metric: str) -> bool:
        """Whether there are such scores of variables."""
        found = self._data.get(f"{self._own(metric)}_by_start")
        return found is not None and set(found.dims) == {"start", "lead_time", "variable"}

    def variables(self, metric: str) -> list[str]:
        """Variables with such scores anywhere, without their mean."""
        known = ~np.isnan(self._all(metric)).all(axis=(0, 1))
        return [name for name, scored in zip(self.names, known, strict=True) if scored and name != "mean"]

    def by_start(self, metric: str, lead: int, variables: Sequence[str]) -> np.ndarray:
        """Scores of each initial time at a lead, counted from 0: shape (start, variable), float64."""
        return self._all(metric)[:, lead, [self.names.index(name) for name in variables]]

    def _all(self, metric: str) -> np.ndarray:
        """Scores of shape (start, lead, variable), read once."""
        name = f"{self._own(metric)}_by_start"
        if name not in self._read:
            values = self._data[name].transpose("start", "lead_time", "variable").values
            self._read[name] = np.asarray(values, dtype=np.float64)
        return self._read[name]

    def score(self, metric: str, lead: int, variables: Sequence[str], weights: np.ndarray) -> np.ndarray:
        """Scores over all initial times, as `scores.csv` has them where each counts once.

        Of squares the mean is taken before the root and before a ratio; those of `SINGLE` are means of the scores of
        single forecasts.

        Args:
            metric: of `evaluation/metrics.py`.
            lead: counted from 0.
            variables: which ones.
            weights: of the initial times, shape (draw, start), each row with the sum 1.

        Returns:
            Shape (draw, variable).

        """

        def square(name: str) -> np.ndarray:
            return np.asarray(weights @ self.by_start(name, lead, variables) ** 2)

        with np.errstate(divide="ignore", invalid="ignore"):
            if metric in ROOTS:
                return np.sqrt(square(metric))
            if metric == "skill":
                return 1 - np.sqrt(square("rmse") / square("persistence_rmse"))
            if metric == "spread_skill_ratio":
                variance, error = (torch.as_tensor(square(name)) for name in ("spread", "rmse"))
                return spread_skill_ratio(variance, error, self.members).numpy()
            return np.asarray(weights @ self.by_start(metric, lead, variables))

    def _own(self, metric: str) -> str:
        """The name that a metric has in this file."""
        return self._crps if metric == "crps" else metric


def read_scores(path: Path) -> xr.Dataset:
    """Read a `scores.nc`.

    Raises:
        UserError: it cannot be read, or holds no scores by initial time.

    """
    try:
        found = xr.load_dataset(path, decode_timedelta=False)  # lead times are seconds
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); evaluate that checkpoint again") from error
    if missing := [name for name in NEEDED if name not in found.variables]:
        raise UserError(f"{path} has no {missing[0]}, as scores.nc of this version has; evaluate that checkpoint again")
    return found


def check_alike(scores: Mapping[str, xr.Dataset]) -> None:
    """Scores are compared where they are of the same data and of forecasts of one kind.

    Args:
        scores: by model.

    Raises:
        UserError: they differ; the first fact that does and two models are named.

    """
    (first, one), *others = scores.items()
    for name, other in others:
        for what, key in _facts(one).items():
            found = _facts(other)[what]
            if found != key:
                raise UserError(
                    f"{first} and {name} cannot be compared: {what} {shown(str(key))} and {shown(str(found))}; "
                    "evaluate both in the same way and on the same data"
                )


def _facts(scores: xr.Dataset) -> dict[str, object]:
    """What must be the same."""
    facts: dict[str, object] = {
        "data hash": scores.attrs.get("data_hash"),
        "split": scores.attrs.get("split"),
        "runs": [str(run) for run in scores["run"].values],
        "lead times [s]": [float(lead) for lead in scores["lead_time"].values],
        "regions": [str(region) for region in scores["region"].values],
    }
    return facts


def paired(scores: Mapping[str, xr.Dataset]) -> tuple[dict[str, PairedScores], dict[str, int]]:
    """The initial times that all models have, and how many others each of them has besides.

    Args:
        scores: by model.

    Raises:
        UserError: they have none in common.

    """
    places = {name: {key: place for place, key in enumerate(_starts(each))} for name, each in scores.items()}
    first = next(iter(places.values()))
    runs = list(dict.fromkeys(run for run, _ in first))
    common = [key for key in first if all(key in others for others in places.values())]
    common.sort(key=lambda key: (runs.index(key[0]), key[1]))
    if not common:
        counts = ", ".join(f"{name} {several(len(each), 'forecast')}" for name, each in places.items())
        raise UserError(f"the models have no initial time in common ({counts}); evaluate them on the same times")
    ensembles = any("crps_by_start" in each for each in scores.values())
    models = {}
    for name, each in scores.items():
        crps = "mae" if ensembles and int(each.attrs.get("members", 1)) == 1 else "crps"
        models[name] = PairedScores(each.isel(start=[places[name][key] for key in common]), crps)
    return models, {name: len(each) - len(common) for name, each in places.items()}


def _starts(scores: xr.Dataset) -> list[tuple[str, np.datetime64]]:
    """Run and initial time of each forecast."""
    runs, times = scores["start_run"].values, scores["init_time"].values.astype("datetime64[ns]")
    return [(str(run), time) for run, time in zip(runs, times, strict=True)]


def overlap(scores: PairedScores, lead_seconds: float) -> int:
    """How many neighbouring forecasts have frames in common, the first of them included."""
    runs = np.array(scores.runs)
    gaps = np.diff(scores.times)[runs[1:] == runs[:-1]] / np.timedelta64(1, "s")
    return max(1, math.ceil(lead_seconds / gaps.min() - 1e-6)) if gaps.size else 1
