"""From forecasts, lead by lead, to scores."""

import logging
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, ScoreRow
from spacecast.evaluation import metrics
from spacecast.evaluation.metrics import Entries, Metric
from spacecast.evaluation.regions import RegionSums, region_masks
from spacecast.evaluation.sample import Sample, Setting
from spacecast.evaluation.scores import Scores
from spacecast.formulas.averages import changes, variable_mean
from spacecast.formulas.ensemble import Estimator, rank_histogram

log = logging.getLogger(__name__)

SIZES = (Sample.persistence_squared_error, Sample.truth_square)  # say whether a variable changes


class Accumulator:
    """Sums per lead, region and variable of whatever `METRICS` average, and the scores that follow from them.

    Errors are summed in standardised units, where no large mean cancels, and scaled at the end: all scores are linear
    in the unit of the variable. A root, such as that of RMSE, is taken of the mean over all windows and nodes.

    A variable that does not change by more than rounding (`formulas.averages.changes`) has no skill, which is NaN, and
    is left out of all means over variables. A forecast that is no number makes the means NaN.

    Args:
        spec: grid, boundary, units and step of the data, and the statistics by which the fields are standardised.
        leads: number of leads.
        members: ensemble members.
        regions: bounds of further regions, see `region_masks`.
        estimator: of the ensemble CRPS, see `formulas.ensemble.crps_ensemble`.
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
        self.spec, self.setting = spec, Setting(spec, members, estimator)
        self.metrics = [metric for metric in metrics.METRICS if metric.columns(self.setting)]
        masks = region_masks(spec, regions)
        if empty := [name for name in regions or () if name not in masks]:
            log.info("regions without a node of these data, left out of the scores: %s", ", ".join(empty))
        self.regions = list(masks)
        places = np.stack(list(masks.values()))
        interior, stencil = (RegionSums(places[:, nodes], leads) for nodes in (spec.interior, spec.grid.stencil[0]))
        self.sums: dict[Entries, RegionSums] = dict.fromkeys(SIZES, interior)
        for metric in self.metrics:
            self.sums |= dict.fromkeys(metric.entries, stencil if metric.of == "B" else interior)
        self.windows = torch.zeros(leads, dtype=torch.int64)
        self.ranks = np.zeros((leads, len(spec.state), members + 1), dtype=np.int64)
        self.generator = torch.Generator().manual_seed(seed)

    def add(self, lead: int, members: Tensor, scaled: Batch, batch: Batch) -> None:
        """Add some windows at one lead (counted from 0).

        Args:
            lead: index of the lead.
            members: forecasts, standardised, shape (window, member, node, state).
            scaled: the windows, standardised.
            batch: the windows in physical units.

        """
        sample = Sample(self.setting, members, scaled.target[:, lead], scaled.initial[:, 1], batch.target[:, lead])
        for entries, sums in self.sums.items():
            sums.add(lead, entries, entries(sample))
        self.windows[lead] += len(members)
        if self.setting.members > 1:
            ranks = rank_histogram(sample.members.movedim(1, 0), sample.truth, self.generator)
            self.ranks[lead] += ranks.cpu().numpy()

    def scores(self) -> Scores:
        """The table of everything that was added; variables without a skill are named in the log."""
        means = {entries: sums.mean(entries, self.windows) for entries, sums in self.sums.items()}
        persistence_square, truth_square = (means[entries] for entries in SIZES)
        counted = changes(persistence_square, truth_square, self.setting.offset)
        rows = [row for metric in self.metrics for row in self._rows(metric, means, counted)]
        self._name_left_out(counted.numpy())
        ranks = self.ranks if self.setting.members > 1 else None
        return Scores(tuple(rows), int(self.windows.max()), self.setting.members, ranks)

    def _rows(self, metric: Metric, means: Mapping[Entries, Tensor], counted: Tensor) -> list[ScoreRow]:
        """Lines of one metric, with its mean over the variables that count where there is one."""
        averages = [means[entries] for entries in metric.entries]
        values = metric.score(self.setting, *averages)
        columns = metric.columns(self.setting)
        if metric.units == "variable":
            values = values * torch.as_tensor(self.spec.state.std)
        elif metric.averaged:
            values = torch.where(values.isfinite(), values, math.nan)
            if metric.left_out is not None:
                counted = counted & ~metric.left_out(self.setting, *averages)
            values = torch.cat([values, variable_mean(values, counted)[..., None]], dim=-1)
            columns.append(("mean", metric.units))
        numbers, step = values.tolist(), self.spec.step_seconds
        return [
            ScoreRow(metric.name, variable, units, (lead + 1) * step, region, numbers[lead][number][column])
            for column, (variable, units) in enumerate(columns)
            for number, region in enumerate(self.regions)
            for lead in range(len(numbers))
        ]

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
