"""From forecasts, lead by lead, to scores."""

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from spacecast.core.spec import NON_NEGATIVE, DataSpec
from spacecast.evaluation import metrics
from spacecast.evaluation.regions import RegionSums, region_masks
from spacecast.evaluation.scores import Row, Scores
from spacecast.formulas.ensemble import Estimator, member_variance

log = logging.getLogger(__name__)


class Accumulator:
    """Sums and counts per lead, region and variable, and the scores that follow from them.

    Errors are summed in standardised units, where no large mean cancels, and scaled at the end: all scores are linear
    in the unit of the variable. RMSE is the root of the mean over all windows and nodes of the squared error.

    A variable that does not change by more than rounding (`metrics.changes`) has no skill, which is NaN, and is left
    out of all means over variables. A forecast that is no number makes the means NaN.

    Args:
        spec: grid, boundary, units and step of the data, and the statistics by which the fields are standardised.
        leads: number of leads.
        members: ensemble members.
        regions: bounds of further regions, see `region_masks`.
        estimator: of the ensemble CRPS, see `metrics.crps_ensemble`.
        seed: of the draws that break ties of ranks.

    """

    def __init__(
        self,
        spec: DataSpec,
        leads: int,
        members: int = 1,
        regions: Mapping[str, Mapping[str, float]] | None = None,
        estimator: Estimator = "fair",
        seed: int = 0,
    ) -> None:
        self.spec, self.leads, self.members, self.estimator = spec, leads, members, estimator
        state = spec.state
        masks = region_masks(spec, regions)
        if empty := [name for name in regions or () if name not in masks]:
            log.info("regions without a node of these data, left out of the scores: %s", ", ".join(empty))
        self.regions = list(masks)
        self.scored = torch.as_tensor(spec.interior_nodes)
        self.sums = RegionSums(np.stack(list(masks.values()))[:, spec.interior], leads)
        centres = spec.grid.stencil[0]
        self.stencil_sums = RegionSums(np.stack(list(masks.values()))[:, centres], leads)
        self.ranks = np.zeros((leads, len(spec.state), members + 1), dtype=np.int64)
        self.generator = torch.Generator().manual_seed(seed)
        magnetic = spec.grid.components("B")
        self.magnetic = state.indices(magnetic) if set(magnetic) <= set(state.names) else None
        self.positive = [spec.state.names.index(name) for name in NON_NEGATIVE if name in spec.state.names]
        zero = torch.as_tensor(-state.mean / state.std)[self.positive]
        self.zero = zero - metrics.ROUNDING * zero.abs()  # standardised, below rounding

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
        f, y = mean.double(), truth.double()  # variances are differences of these
        entries = {"f": f, "y": y, "ff": f.square(), "yy": y.square(), "fy": f * y}
        for name, guess in (("", mean), ("persistence_", start)):
            error = guess - truth
            entries |= {f"{name}error": error, f"{name}square": error.square(), f"{name}absolute": error.abs()}
        if self.members > 1:
            entries["crps"] = metrics.crps_entries(members, truth, axis=1, estimator=self.estimator)
            entries["variance"] = member_variance(members.movedim(1, 0))
            entries["member_square"] = (members - truth.unsqueeze(1)).square().mean(dim=1)
            counts = metrics.rank_histogram(members, truth, axis=1, generator=self.generator)
            self.ranks[lead] += counts.cpu().numpy()
        zero = self.zero.to(truth.device)
        entries["negative_share"] = (members[..., self.positive] < zero).double().mean(dim=1)
        entries["negative_share_truth"] = (truth[..., self.positive] < zero).double()
        for name, values in entries.items():
            self.sums.add(lead, name, values)
        self.sums.count(lead, truth.shape[0])

    def add_divergence(self, lead: int, field: Tensor, truth: Tensor) -> None:
        """Add div B of some windows at one lead.

        Args:
            lead: index of the lead.
            field: components of B along the axes of the grid, of each member, physical units, all nodes, shape (window,
                member, node, axis).
            truth: the same of the truth, shape (window, node, axis).

        """
        grid = self.spec.grid
        self.stencil_sums.add(lead, "div_b", grid.divergence(*field.unbind(-1)).abs().mean(dim=1).unsqueeze(-1))
        self.stencil_sums.add(lead, "div_b_truth", grid.divergence(*truth.unbind(-1)).abs().unsqueeze(-1))
        self.stencil_sums.count(lead, truth.shape[0])

    def scores(self) -> Scores:
        """The table of everything that was added; variables without a skill are named in the log."""
        names, units = self.spec.state.names, self.spec.state.units
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = {name: self.sums.mean(name) for name in self.sums.sums}
            counted = self._counted(mean)
            values = self._values(mean)
        rows: list[Row] = []
        for metric, array in values.items():
            if metrics.FACTS[metric].units == "variable":
                rows += self._rows(metric, list(zip(names, units, strict=True)), array * self.spec.state.std)
                continue
            known = np.where(np.isfinite(array), array, np.nan)
            among = counted & ~_constant(mean["y"], mean["yy"], self._offset) if metric == "correlation" else counted
            average = metrics.variable_mean(torch.as_tensor(known), torch.as_tensor(among)).numpy()
            known = np.where(counted, known, np.nan) if metric == "skill" else known
            labels = [(name, "1") for name in (*names, "mean")]
            rows += self._rows(metric, labels, np.concatenate([known, average[..., None]], axis=-1))
        rows += [*self._divergence_rows(), *self._negative_rows(mean)]
        self._name_left_out(counted)
        ranks = self.ranks if self.members > 1 else None
        return Scores(tuple(rows), int(self.sums.counts.max()), self.members, ranks)

    @property
    def _offset(self) -> np.ndarray:
        """Mean of each variable in standard deviations."""
        return np.asarray(self.spec.state.mean / self.spec.state.std, dtype=np.float64)

    def _counted(self, mean: Mapping[str, np.ndarray]) -> np.ndarray:
        """Whether a variable counts in means over variables, shape (lead, region, variable)."""
        sizes = (mean["persistence_square"], mean["yy"], self.spec.state.mean, self.spec.state.std)
        return np.asarray(metrics.changes(*map(torch.as_tensor, sizes)))

    def _name_left_out(self, counted: np.ndarray) -> None:
        """Say which variables have no skill, and where, when it is not everywhere."""
        out = np.asarray((~counted).any(axis=0))
        texts = []
        for name, everywhere, where in zip(self.spec.state.names, out[0], out.T, strict=True):
            regions = [region for region, missing in zip(self.regions, where, strict=True) if missing]
            if regions:
                texts.append(name if everywhere else f"{name} in {' and '.join(regions)}")
        if texts:
            log.info("no skill, and left out of the means, since persistence is exact there: %s", ", ".join(texts))

    def _divergence_rows(self) -> Iterator[Row]:
        """Lines of div B, where there are all components."""
        if self.stencil_sums.sums:
            units = self.spec.state.units[self.spec.state.index(self.spec.grid.components("B")[0])]
            for metric in ("div_b", "div_b_truth"):
                yield from self._rows(metric, [("B", f"{units}/R_E")], self.stencil_sums.mean(metric))

    def _negative_rows(self, mean: Mapping[str, np.ndarray]) -> Iterator[Row]:
        """Lines of the shares of cells below zero, for the variables that cannot be."""
        labels = [(self.spec.state.names[index], "1") for index in self.positive]
        for metric in ("negative_share", "negative_share_truth"):
            yield from self._rows(metric, labels, mean[metric])

    def _values(self, mean: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Scores in standardised units, each (lead, region, variable), from means over nodes and windows."""
        values = {
            "rmse": np.sqrt(mean["square"]),
            "mae": mean["absolute"],
            "bias": mean["error"],
            "correlation": _correlation(mean, self._offset),
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

    def _rows(self, metric: str, labels: Sequence[tuple[str, str]], values: np.ndarray) -> list[Row]:
        """Lines of one metric from (lead, region, variable)."""
        step = self.spec.step_seconds
        return [
            Row(metric, variable, unit, (lead + 1) * step, region, float(values[lead, number, column]))
            for column, (variable, unit) in enumerate(labels)
            for number, region in enumerate(self.regions)
            for lead in range(self.leads)
        ]


def _constant(mean: np.ndarray, square: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Whether a field varies by rounding alone, from means over nodes and windows; what is no number does not."""
    return np.asarray(square - mean**2 <= metrics.ROUNDING**2 * (square + offset**2))


def _correlation(mean: Mapping[str, np.ndarray], offset: np.ndarray) -> np.ndarray:
    """Pearson's coefficient over nodes and windows from means of f, y and their products; NaN for a constant."""
    covariance = mean["fy"] - mean["f"] * mean["y"]
    variances = (mean["ff"] - mean["f"] ** 2) * (mean["yy"] - mean["y"] ** 2)
    constant = _constant(mean["f"], mean["ff"], offset) | _constant(mean["y"], mean["yy"], offset)
    return np.where(constant, np.nan, covariance / np.sqrt(np.abs(variances)))
