"""From forecasts, lead by lead, to scores."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from spacecast import metrics
from spacecast.core.spec import DataSpec
from spacecast.evaluation.regions import RegionSums, region_masks
from spacecast.evaluation.scores import Row, Scores
from spacecast.losses.latent import Estimator, member_variance

DIMENSIONLESS = ("correlation", "skill", "spread_skill_ratio")


class Accumulator:
    """Sums and counts per lead, region and variable, and the scores that follow from them.

    Errors are summed in standardised units, where no large mean cancels, and scaled at the end: all scores are linear
    in the unit of the variable. RMSE is the root of the mean over all windows and nodes of the squared error.

    Args:
        spec: grid, boundary, units and step of the data.
        std: physical size of one standardised unit of each variable, shape (state,).
        leads: number of leads.
        members: ensemble members.
        regions: bounds of further regions, see `region_masks`.
        estimator: of the ensemble CRPS, see `metrics.crps_ensemble`.
        seed: of the draws that break ties of ranks.

    """

    def __init__(
        self,
        spec: DataSpec,
        std: np.ndarray,
        leads: int,
        members: int = 1,
        regions: Mapping[str, Mapping[str, float]] | None = None,
        estimator: Estimator = "fair",
        seed: int = 0,
    ) -> None:
        self.spec, self.std, self.leads, self.members, self.estimator = spec, np.asarray(std), leads, members, estimator
        masks = region_masks(spec, regions)
        self.regions = list(masks)
        self.scored = torch.as_tensor(np.flatnonzero(spec.interior))
        self.sums = RegionSums(np.stack(list(masks.values()))[:, spec.interior], leads)
        centres = spec.grid.stencil[0]
        self.stencil_sums = RegionSums(np.stack(list(masks.values()))[:, centres], leads)
        self.ranks = np.zeros((leads, len(spec.state), members + 1), dtype=np.int64)
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, lead: int, members: Tensor, truth: Tensor, start: Tensor) -> None:
        """Add some windows at one lead (counted from 0), standardised.

        Args:
            lead: index of the lead.
            members: forecasts, shape (window, member, node, state).
            truth: shape (window, node, state).
            start: state at the start of the forecast, which persistence repeats, same shape.

        """
        self.scored = self.scored.to(truth.device)
        members, truth, start = (field.index_select(-2, self.scored) for field in (members, truth, start))
        mean = members[:, 0] if self.members == 1 else members.mean(dim=1)
        entries = {"f": mean, "y": truth, "ff": mean.square(), "yy": truth.square(), "fy": mean * truth}
        for name, guess in (("", mean), ("persistence_", start)):
            error = guess - truth
            entries |= {f"{name}error": error, f"{name}square": error.square(), f"{name}absolute": error.abs()}
        if self.members > 1:
            entries["crps"] = metrics.crps_entries(members, truth, axis=1, estimator=self.estimator)
            entries["variance"] = member_variance(members.movedim(1, 0))
            entries["member_square"] = (members - truth.unsqueeze(1)).square().mean(dim=1)
            counts = metrics.rank_histogram(members, truth, axis=1, generator=self.generator)
            self.ranks[lead] += counts.cpu().numpy()
        for name, values in entries.items():
            self.sums.add(lead, name, values)
        self.sums.count(lead, truth.shape[0])

    def add_divergence(self, lead: int, field: Tensor, truth: Tensor) -> None:
        """Add div B of some windows at one lead.

        Args:
            lead: index of the lead.
            field: (Bx, Bz) of each member, physical units, all nodes, shape (window, member, node, 2).
            truth: the same of the truth, shape (window, node, 2).

        """
        grid = self.spec.grid
        self.stencil_sums.add(lead, "div_b", grid.divergence(*field.unbind(-1)).abs().mean(dim=1).unsqueeze(-1))
        self.stencil_sums.add(lead, "div_b_truth", grid.divergence(*truth.unbind(-1)).abs().unsqueeze(-1))
        self.stencil_sums.count(lead, truth.shape[0])

    def scores(self) -> Scores:
        """The table of everything that was added."""
        names, units = self.spec.state.names, self.spec.state.units
        rows = []
        for metric, array in self._values().items():
            ratio = metric in DIMENSIONLESS
            scaled = array if ratio else array * self.std
            labels = list(zip(names, ("1",) * len(names) if ratio else units, strict=True))
            if ratio:
                scaled, labels = np.concatenate([scaled, _mean(scaled)], axis=-1), [*labels, ("mean", "1")]
            rows += self._rows(metric, labels, scaled)
        if self.stencil_sums.sums:
            labels = [("B", f"{units[names.index('Bx')]}/R_E")]
            for metric in ("div_b", "div_b_truth"):
                rows += self._rows(metric, labels, self.stencil_sums.mean(metric))
        ranks = self.ranks if self.members > 1 else None
        return Scores(tuple(rows), int(self.sums.counts.max()), self.members, ranks)

    def _values(self) -> dict[str, np.ndarray]:
        """Scores in standardised units, each (lead, region, variable)."""
        mean = {name: self.sums.mean(name) for name in self.sums.sums}
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._ratios(mean)

    def _ratios(self, mean: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same from means over nodes and windows."""
        values = {
            "rmse": np.sqrt(mean["square"]),
            "mae": mean["absolute"],
            "bias": mean["error"],
            "correlation": _correlation(mean),
            "persistence_rmse": np.sqrt(mean["persistence_square"]),
            "persistence_mae": mean["persistence_absolute"],
        }
        values["skill"] = 1 - values["rmse"] / values["persistence_rmse"]
        if self.members > 1:
            values["member_rmse"] = np.sqrt(mean["member_square"])
            values["crps"] = mean["crps"]
            values["spread"] = np.sqrt(mean["variance"])
            correction = np.sqrt((self.members + 1) / self.members)
            values["spread_skill_ratio"] = correction * values["spread"] / values["rmse"]
        return values

    def _rows(self, metric: str, labels: list[tuple[str, str]], values: np.ndarray) -> list[Row]:
        """Lines of one metric from (lead, region, variable)."""
        step = self.spec.step_seconds
        return [
            Row(metric, variable, unit, (lead + 1) * step, region, float(values[lead, number, column]))
            for column, (variable, unit) in enumerate(labels)
            for number, region in enumerate(self.regions)
            for lead in range(self.leads)
        ]


def _correlation(mean: dict[str, np.ndarray]) -> np.ndarray:
    """Pearson's coefficient over nodes and windows from means of f, y and their products; NaN for a constant."""
    covariance = mean["fy"] - mean["f"] * mean["y"]
    variances = (mean["ff"] - mean["f"] ** 2) * (mean["yy"] - mean["y"] ** 2)
    return np.where(variances > 1e-20, covariance / np.sqrt(np.abs(variances)), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the variables that have a value, last axis kept."""
    known = ~np.isnan(values)
    number = known.sum(axis=-1, keepdims=True)
    total = np.where(known, values, 0).sum(axis=-1, keepdims=True)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
