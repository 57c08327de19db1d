"""What metrics see: forecasts of some windows at one lead beside the truth."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.spec import NON_NEGATIVE, DataSpec
from spacecast.core.types import Batch
from spacecast.evaluation.boundaries import Rectangle
from spacecast.evaluation.plasma import Plasma
from spacecast.evaluation.regions import Regions
from spacecast.formulas.averages import ROUNDING
from spacecast.formulas.ensemble import Estimator, crps_ensemble, member_variance, rank_histogram
from spacecast.formulas.probability import exceedance_table, exceedances

LARGE = 2**24  # numbers of an ensemble beyond which it is taken in parts
THRESHOLDS = (-1.0, 1.0, 2.0)


class Setting:
    """What is the same for all samples of an evaluation.

    Args:
        spec: grid, boundary and units of the data, and the statistics by which the fields are standardised.
        members: ensemble members.
        estimator: of the ensemble CRPS, see `formulas.ensemble.crps_ensemble`.
        seed: of the draws that break ties of ranks.
        thresholds: whose exceedance is an event, in standard deviations of each variable from its mean.
        climatology: mean state of each node in physical units, shape (node, state); None: not known.
        climatologies: the same of each run that is scored, by its number, as a forecast to be held against.
        regions: that are scored apart; None: the whole domain alone.

    """

    def __init__(
        self,
        spec: DataSpec,
        members: int = 1,
        estimator: Estimator = "fair",
        seed: int = 0,
        thresholds: Sequence[float] = THRESHOLDS,
        climatology: np.ndarray | None = None,
        regions: Regions | None = None,
        climatologies: Mapping[int, np.ndarray] | None = None,
    ) -> None:
        self.spec, self.members, self.estimator, self.seed = spec, members, estimator, seed
        if not np.isfinite(thresholds).all():
            raise UserError(f"evaluation.thresholds={list(thresholds)}: must be finite numbers")
        self.thresholds, self.regions = tuple(thresholds), regions
        self.region_names = ["all"] if regions is None else regions.names
        self.nodes = torch.as_tensor(spec.interior_nodes)
        self.climatology = None if climatology is None else self._standardised(climatology)
        each = (climatologies or {}).items()
        self.climatologies = {run: self._standardised(values).float() for run, values in each}
        self.offset = torch.as_tensor(spec.state.mean / spec.state.std)  # mean in standard deviations
        components = spec.grid.components("B")
        self.magnetic = spec.state.indices(components) if set(components) <= set(spec.state.names) else []
        self.non_negative = [spec.state.names.index(name) for name in NON_NEGATIVE if name in spec.state.names]
        zero = -self.offset[self.non_negative]
        self.zero = zero - ROUNDING * zero.abs()  # standardised, below rounding
        self.plasma = Plasma(spec)
        stencil = spec.grid.stencil
        self.curved = torch.as_tensor(stencil[:, spec.interior[stencil].all(axis=0)])  # where the Laplacian is scored

    def _standardised(self, values: np.ndarray) -> Tensor:
        """Physical values on the nodes outside the boundary: (node, state) to (interior, state)."""
        return torch.as_tensor((values - self.spec.state.mean) / self.spec.state.std)[self.nodes]


class Sample:
    """Forecasts of some windows at one lead; standardised, on the nodes outside the boundary unless it says otherwise.

    Args:
        setting: of the evaluation.
        everywhere: forecasts on all nodes, shape (window, member, node, state).
        scaled: the windows, standardised, on all nodes.
        batch: the windows in physical units, on all nodes.
        lead: number of the lead, from 0.

    """

    def __init__(self, setting: Setting, everywhere: Tensor, scaled: Batch, batch: Batch, lead: int) -> None:
        self.setting, self.everywhere, self.lead, self.batch = setting, everywhere, lead, batch
        self.physical = batch.target[:, lead]
        nodes = setting.nodes.to(everywhere.device)
        self.all_truth = scaled.target[:, lead].unsqueeze(1)
        fields = (everywhere, scaled.target[:, lead], scaled.initial[:, 1], scaled.initial[:, 0])
        self.members, self.truth, self.start, self.previous = (field.index_select(-2, nodes) for field in fields)

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the members, shape (window, node, state)."""
        return self.members[:, 0] if self.setting.members == 1 else self.members.mean(dim=1)

    @cached_property
    def error(self) -> Tensor:
        """Error of the mean."""
        return self.mean - self.truth

    @cached_property
    def persistence_error(self) -> Tensor:
        """Error of persistence."""
        return self.start - self.truth

    @cached_property
    def double(self) -> tuple[Tensor, Tensor]:
        """Mean and truth in double precision, for variances are differences of what follows from them."""
        return self.mean.double(), self.truth.double()

    @cached_property
    def regions(self) -> Tensor:
        """1 on the nodes of each region, else 0, float64, on all nodes: shape (window, region, node)."""
        if self.setting.regions is None:
            return torch.ones_like(self.physical[:, None, :, 0], dtype=torch.float64)
        return self.setting.regions.masks(self.physical)

    @cached_property
    def masks(self) -> Tensor:
        """The same on the nodes outside the boundary."""
        return self.regions[..., self.setting.nodes.to(self.truth.device)]

    @cached_property
    def anomalies(self) -> tuple[Tensor, Tensor]:
        """Mean and truth less the climatology, in double precision."""
        climatology = cast(Tensor, self.setting.climatology).to(self.truth.device)
        return self.double[0] - climatology, self.double[1] - climatology

    @cached_property
    def exceedances(self) -> tuple[Tensor, Tensor]:
        """How many members exceed each threshold, and whether the truth does: (threshold, window, node, state)."""
        thresholds = self.truth.new_tensor(self.setting.thresholds)[:, None]
        return exceedances(self.members.movedim(1, 0), thresholds), exceedances(self.truth[None], thresholds)

    @cached_property
    def exceedance_table(self) -> Tensor:
        """Nodes by how many members and whether the truth exceed it: (window, state, threshold, member + 1, 2)."""
        return exceedance_table(*self.exceedances, self.setting.members).double()

    def squared_error(self) -> Tensor:
        """Of the mean."""
        return self.error.square()

    def persistence_squared_error(self) -> Tensor:
        """Of persistence."""
        return self.persistence_error.square()

    def climatology_squared_error(self) -> Tensor:
        """Of the climatology that stands for the run of each window."""
        runs = self.batch.window[:, 0].tolist()
        fields = torch.stack([self.setting.climatologies[run] for run in runs])
        return (fields.to(self.truth.device) - self.truth).square()

    def truth_square(self) -> Tensor:
        """The truth, squared, in double precision."""
        return self.double[1].square()

    def variance(self) -> Tensor:
        """Unbiased variance of the members."""
        return member_variance(self.members.movedim(1, 0))

    def crps(self) -> Tensor:
        """Continuous ranked probability score of the members."""
        members, estimator = self.members.movedim(1, 0), self.setting.estimator
        if members.numel() <= LARGE:
            return crps_ensemble(members, self.truth, estimator=estimator)
        parts = zip(members.split(1, dim=-1), self.truth.split(1, dim=-1), strict=True)
        return torch.cat([crps_ensemble(*part, estimator=estimator) for part in parts], dim=-1)

    def rank_counts(self) -> Tensor:
        """How often the truth takes each rank among the members, shape (window, variable, member + 1)."""
        pairs = zip(self.members, self.truth, self.batch.window.tolist(), strict=True)
        counts = []
        for members, truth, window in pairs:
            state = np.random.SeedSequence([self.setting.seed, *window, self.lead]).generate_state(1)
            ties = torch.Generator().manual_seed(int(state[0]))  # the same whatever else is drawn
            counts.append(rank_histogram(members.unsqueeze(1), truth.unsqueeze(0), ties))
        return torch.stack(counts).double()

    @cached_property
    def spectra(self) -> tuple[Tensor, Tensor]:
        """Power spectra of members, means over them, and of the truth; physical, (window, variable, wavenumber)."""
        place, std = cast(Rectangle, self.setting.plasma.rectangle), torch.as_tensor(self.setting.spec.state.std)
        members, truth = (  # one at a time: it saves memory, and half of the time where they then fit into the cache
            torch.stack([place.spectrum(field) for field in fields])
            for fields in (self.everywhere.flatten(0, 1), self.physical)
        )
        scale = std.to(members.device).double().square().unsqueeze(-1)
        return members.unflatten(0, self.everywhere.shape[:2]).mean(dim=1) * scale, truth

    def below_zero(self, values: Tensor) -> Tensor:
        """1 where variables that cannot be negative are, else 0: (..., state) to (..., such a variable)."""
        return (values[..., self.setting.non_negative] < self.setting.zero.to(values.device)).double()

    def divergence(self) -> Tensor:
        """|div B| of the members in physical units, shape (window, member, node of the stencil)."""
        state, columns = self.setting.spec.state, self.setting.magnetic
        mean, std = (torch.as_tensor(each[columns], device=self.truth.device) for each in (state.mean, state.std))
        field = self.everywhere[..., columns] * std + mean
        return self.setting.spec.grid.divergence(*field.unbind(-1)).abs()

    def divergence_of_truth(self) -> Tensor:
        """The same of the truth, shape (window, node of the stencil)."""
        return self.setting.spec.grid.divergence(*self.physical[..., self.setting.magnetic].unbind(-1)).abs()
