"""From forecasts, lead by lead, to scores."""

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from spacecast.core.regions import Bounds
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, ScoreRow
from spacecast.evaluation import diagnostics, metrics
from spacecast.evaluation.diagnostics import Diagnostic
from spacecast.evaluation.metrics import Entries, Metric
from spacecast.evaluation.regions import Regions
from spacecast.evaluation.sample import THRESHOLDS, Sample, Setting
from spacecast.evaluation.scores import Scores
from spacecast.evaluation.start_sums import StartSums, averages
from spacecast.formulas.averages import changes, variable_mean
from spacecast.formulas.ensemble import Estimator

log = logging.getLogger(__name__)

SIZES = (Sample.persistence_squared_error, Sample.truth_square)  # say whether a variable changes
INTERIOR, STENCIL, FORECASTS = "interior", "stencil", "forecasts"  # what entries are averaged over


class Accumulator:
    """Sums per initial time, lead, region and variable of whatever `METRICS` and `DIAGNOSTICS` average.

    Errors are summed in standardised units, where no large mean cancels, and scaled at the end: all scores are linear
    in the unit of the variable. A root, such as that of RMSE, is taken of the mean over all windows and nodes.

    A variable that does not change by more than rounding (`formulas.averages.changes`) has no skill, which is NaN, and
    is left out of all means over variables. A forecast that is no number makes the means NaN.

    Args:
        spec: grid, boundary, units and step of the data, and the statistics by which the fields are standardised.
        leads: number of leads.
        members: ensemble members.
        regions: those that are scored apart, or their bounds, see `region_masks`.
        estimator: of the ensemble CRPS, see `formulas.ensemble.crps_ensemble`.
        seed: of the draws that break ties of ranks.
        thresholds, climatology, climatologies: see `Setting`.

    """

    def __init__(
        self,
        spec: DataSpec,
        leads: int,
        members: int = 1,
        regions: Regions | Mapping[str, Bounds] | None = None,
        estimator: Estimator = "fair",
        seed: int = 0,
        thresholds: Sequence[float] = THRESHOLDS,
        climatology: np.ndarray | None = None,
        climatologies: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        self.spec, self.regions = spec, regions if isinstance(regions, Regions) else Regions(spec, regions)
        settings = (members, estimator, seed, thresholds, climatology, self.regions, climatologies)
        self.setting = Setting(spec, *settings)
        self.metrics = [metric for metric in metrics.METRICS if metric.columns(self.setting)]
        self.diagnostics = [each for each in diagnostics.DIAGNOSTICS if each.axes_of(self.setting) is not None]
        self.nodes = {INTERIOR: torch.as_tensor(spec.interior_nodes), STENCIL: torch.as_tensor(spec.grid.stencil[0])}
        self.over: dict[Entries, str] = dict.fromkeys(SIZES, INTERIOR)
        for metric in self.metrics:
            self.over |= dict.fromkeys(metric.entries, STENCIL if metric.of == "B" else INTERIOR)
        for diagnostic in self.diagnostics:
            self.over |= dict.fromkeys(diagnostic.entries, FORECASTS)
        self.numbers = {entries: number for number, entries in enumerate(self.over)}  # names that processes share
        self.sums = StartSums(leads)

    def add(self, lead: int, members: Tensor, scaled: Batch, batch: Batch) -> None:
        """Add some windows at one lead (counted from 0).

        Args:
            lead: index of the lead.
            members: forecasts, standardised, shape (window, member, node, state).
            scaled: the windows, standardised.
            batch: the windows in physical units.

        """
        sample = Sample(self.setting, members, scaled, batch, lead)
        masks, starts = sample.regions, list(map(tuple, batch.window.tolist()))
        weights = {over: masks[..., nodes.to(masks.device)] for over, nodes in self.nodes.items()}
        for start, *counts in zip(starts, *(mask.sum(dim=-1) for mask in weights.values()), strict=True):
            for over, count in zip(weights, counts, strict=True):
                self.sums.add(start, over, lead, count)
            self.sums.add(start, FORECASTS, lead, masks.new_ones(()))
        for entries, over in self.over.items():
            values, number = entries(sample), self.numbers[entries]
            for row, start in enumerate(starts):
                entry = values[row].double()
                self.sums.add(start, number, lead, entry if over == FORECASTS else weights[over][row] @ entry)

    def averages(self, weights: Tensor | None = None) -> dict[Entries, Tensor]:
        """Means of all entries over nodes and starts.

        Args:
            weights: of each start, shape (draw, start); None: one each.

        Returns:
            Shape (lead, region, variable) or, of diagnostics, (lead, *axes); with weights with `draw` before it, and
            without what large tables alone are made of.

        """
        counts = {over: self.sums.stacked(over) for over in (*self.nodes, FORECASTS)}
        over = self.over if weights is None else {entries: self.over[entries] for entries in self._in_parts()}
        return {entries: self._average(entries, counts[each], weights) for entries, each in over.items()}

    def _in_parts(self) -> set[Entries]:
        """Entries of which averages over some of the initial times are wanted: all but those of large tables alone."""
        scored = [each.entries for each in self.metrics]
        return {*SIZES}.union(*scored, *(each.entries for each in self.diagnostics if not each.large))

    def _average(self, entries: Entries, counts: Tensor, weights: Tensor | None) -> Tensor:
        """The mean of one kind of entries."""
        sums = self.sums.stacked(self.numbers[entries])
        shape = sums.shape[2:]
        if counts.ndim == 2:  # of whole forecasts
            sums = sums.reshape(*counts.shape, -1)
        means = averages(sums, counts, weights)
        return means.reshape(*means.shape[:-1], *shape) if counts.ndim == 2 else means

    def counted(self, means: Mapping[Entries, Tensor]) -> Tensor:
        """Which variables change, and so count in means over variables, shape (lead, region, variable)."""
        nowhere = means[SIZES[1]].isnan()  # a region without a node, of which nothing is known
        return nowhere | changes(means[SIZES[0]], means[SIZES[1]], self.setting.offset)

    def columns(self, metric: Metric) -> list[tuple[str, str]]:
        """Name and units of what a metric scores, `mean` over variables where there is one."""
        return [*metric.columns(self.setting), *([("mean", metric.units)] if metric.averaged else [])]

    def values(self, metric: Metric, means: Mapping[Entries, Tensor], counted: Tensor) -> Tensor:
        """A metric in physical units, shape (..., lead, region, column).

        Args:
            metric: which one.
            means: from `averages`.
            counted: which variables count in the mean over variables.

        """
        entries = [means[each] for each in metric.entries]
        values = metric.score(self.setting, *entries)
        if metric.units == "variable":
            return values * torch.as_tensor(self.spec.state.std)
        if metric.averaged:
            values = torch.where(values.isfinite(), values, math.nan)
            if metric.left_out is not None:
                counted = counted & ~metric.left_out(self.setting, *entries)
            values = torch.cat([values, variable_mean(values, counted)[..., None]], dim=-1)
        return values

    def table(self, diagnostic: Diagnostic, means: Mapping[Entries, Tensor]) -> Tensor:
        """A diagnostic, shape (..., lead, *axes)."""
        return diagnostic.score(self.setting, *(means[each] for each in diagnostic.entries))

    def rows(self) -> list[ScoreRow]:
        """The lines of `scores.csv`; variables without a skill are named in the log."""
        means = self.averages()
        counted = self.counted(means)
        rows = [row for metric in self.metrics for row in self._rows(metric, self.values(metric, means, counted))]
        for diagnostic in self.diagnostics:
            if diagnostic.rows:
                rows += self._rows_of_diagnostic(diagnostic, self.table(diagnostic, means))
        self._name_left_out(counted.numpy())
        return rows

    def scores(self) -> Scores:
        """The table of everything that was added."""
        ranks = next((each for each in self.diagnostics if each.name == "rank_histogram"), None)
        counts = None if ranks is None else self.sums.stacked(self.numbers[ranks.entries[0]]).sum(dim=0)
        windows = int(self.sums.stacked(FORECASTS).sum(dim=0).max())
        tables = None if counts is None else counts.numpy().astype(np.int64)
        return Scores(tuple(self.rows()), windows, self.setting.members, ranks=tables)

    def _rows(self, metric: Metric, values: Tensor) -> list[ScoreRow]:
        """Lines of one metric."""
        numbers, step = values.tolist(), self.spec.step_seconds
        return [
            ScoreRow(metric.name, variable, units, (lead + 1) * step, region, numbers[lead][number][column])
            for column, (variable, units) in enumerate(self.columns(metric))
            for number, region in enumerate(self.regions.names)
            for lead in range(len(numbers))
        ]

    def _rows_of_diagnostic(self, diagnostic: Diagnostic, values: Tensor) -> list[ScoreRow]:
        """Lines of one diagnostic."""
        labels = next(iter((diagnostic.axes_of(self.setting) or {}).values()), ["all"])
        step = self.spec.step_seconds
        return [
            ScoreRow(diagnostic.name, str(label), diagnostic.units, (lead + 1) * step, "all", value)
            for label, curve in zip(labels, values.reshape(len(values), -1).T.tolist(), strict=True)
            for lead, value in enumerate(curve)
        ]

    def _name_left_out(self, counted: np.ndarray) -> None:
        """Say which variables have no skill, and where, when it is not everywhere."""
        out = np.asarray((~counted).any(axis=0))
        texts = []
        for name, everywhere, where in zip(self.spec.state.names, out[0], out.T, strict=True):
            regions = [region for region, missing in zip(self.regions.names, where, strict=True) if missing]
            if regions:
                texts.append(name if everywhere else f"{name} in {' and '.join(regions)}")
        if texts:
            log.info("no skill, and left out of the means, since persistence is exact there: %s", ", ".join(texts))
