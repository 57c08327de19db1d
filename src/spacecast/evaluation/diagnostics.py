"""The diagnostics: scores that are a number or a table of a whole forecast, rather than a mean over nodes.

To add one, write what is averaged over initial times as a function of a `Sample`, and add a `Diagnostic` to the list.
Like the metrics, they are computed while the forecasts run; none keeps a forecast.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from spacecast.evaluation import extent, physics, probabilities
from spacecast.evaluation.metrics import Entries, average
from spacecast.evaluation.sample import Sample, Setting
from spacecast.formulas import probability
from spacecast.formulas.ranks import contrasts, reliability_index

Axes = Mapping[str, Sequence[str] | Sequence[float]]


@dataclass(frozen=True)
class Diagnostic:
    """A number or a table of each forecast and lead, averaged over the initial times; a variable of `scores.nc`.

    Args:
        name: of the variable in `scores.nc`.
        label: for axes and tables.
        units: of its values; 1 for none.
        axes: from the `Setting` to names and coordinates of its axes besides start and lead; None: these data have no
            such diagnostic.
        entries: functions of a `Sample`, of shape (window, *axes) or with further axes that `score` removes.
        score: from the `Setting` and their averages over initial times, each (..., lead, *axes), to the values.
        best: value of a perfect forecast; None: it does not tell a better forecast from a worse one.
        rows: whether it also makes rows of `scores.csv`, of region `all`; it then has one axis at most, whose
            coordinates stand in the column `variable`.
        ensemble: whether there must be several members.
        large: whether it is a table of which an average over all initial times is enough: neither intervals nor parts.

    """

    name: str
    label: str
    units: str
    axes: Callable[[Setting], Axes | None]
    entries: tuple[Entries, ...]
    score: Callable[..., Tensor] = average
    best: float | None = None
    rows: bool = False
    ensemble: bool = False
    large: bool = False

    def axes_of(self, setting: Setting) -> Axes | None:
        """Its axes for these data and this number of members, None where there is no such diagnostic."""
        return None if self.ensemble and setting.members == 1 else self.axes(setting)


def _variables(setting: Setting) -> Axes:
    return {"variable": setting.spec.state.names}


def _thresholds(setting: Setting) -> Axes | None:
    if not setting.thresholds:
        return None
    return {"variable": setting.spec.state.names, "threshold": setting.thresholds}


def _probabilities(setting: Setting) -> Axes | None:
    axes = _thresholds(setting)
    return axes and {**axes, "probability": probability.probabilities(setting.members).tolist()}


def _shares(_: Setting, counts: Tensor) -> Tensor:
    """How often each rank is taken."""
    return counts / counts.sum(dim=-1, keepdim=True)


def _of_ranks(formula: Callable[[Tensor], Tensor]) -> Callable[[Setting, Tensor], Tensor]:
    """A score that is a function of the shares of the ranks."""
    return lambda setting, counts: formula(_shares(setting, counts))


def _forecast_share(_: Setting, table: Tensor) -> Tensor:
    """How often each probability is forecast."""
    return table.sum(dim=-1) / table.sum(dim=(-2, -1), keepdim=True)[..., 0]


def _uncertainty(_: Setting, frequencies: Tensor) -> Tensor:
    return frequencies * (1 - frequencies)


def _brier_skill(setting: Setting, score: Tensor, frequencies: Tensor) -> Tensor:
    return probability.brier_skill_score(score, _uncertainty(setting, frequencies))


def _energy(setting: Setting, scores: Tensor, present: Tensor) -> Tensor:
    """Energy score of each variable in its units; NaN in a region that never has a node."""
    std = torch.as_tensor(setting.spec.state.std, dtype=scores.dtype)
    return scores[..., :-1] / present[..., None] * std


_rank_score = partial(Diagnostic, units="1", axes=_variables, entries=(Sample.rank_counts,), ensemble=True)
_by_threshold = partial(Diagnostic, units="1", axes=_thresholds, ensemble=True)
_of_table = partial(Diagnostic, units="1", entries=(probabilities.exceedance_table,), ensemble=True, large=True)
_energy_entries = (probabilities.energy_scores, probabilities.has_nodes)


def _spectral(setting: Setting) -> Axes | None:
    """Axes of a power spectrum."""
    place = setting.plasma.rectangle
    return {"variable": setting.spec.state.names, "wavenumber": place.wavenumbers.tolist()} if place else None


def _with_spectra(setting: Setting) -> Axes | None:
    """Axis of what is said of each variable where there are spectra."""
    return {"variable": setting.spec.state.names} if setting.plasma.rectangle else None


def _boundaries(setting: Setting) -> Axes | None:
    """Axis of the boundaries on the line to the Sun."""
    return {"boundary": setting.plasma.boundaries} if setting.plasma.boundaries else None


def _tail(setting: Setting) -> Axes | None:
    """No axis, where there is a tail."""
    return {} if setting.plasma.flux else None


_of_fields = partial(Diagnostic, units="1", axes=_variables, rows=True)
_standoff = partial(Diagnostic, axes=_boundaries, entries=(physics.standoffs,), rows=True)
_flux = partial(Diagnostic, units="nT R_E", axes=_tail, entries=(physics.reconnected_flux,), rows=True)
_spectrum = partial(Diagnostic, units="of the variable, squared, times R_E", axes=_spectral, large=True)

DIAGNOSTICS = [
    Diagnostic(
        "rank_histogram", "share of each rank of the truth among the members", "1",
        lambda setting: {**_variables(setting), "rank": range(setting.members + 1)},
        (Sample.rank_counts,), _shares, ensemble=True,
    ),
    _rank_score(
        "reliability_index", "departure of the ranks from flat ones", score=_of_ranks(reliability_index), best=0.0,
    ),
    _rank_score(
        "rank_slope", "slope of the ranks, above 0 where members lie too low",
        score=_of_ranks(lambda shares: contrasts(shares)[..., 0]), best=0.0,
    ),
    _rank_score(
        "rank_curvature", "curvature of the ranks, above 0 where the spread is too small",
        score=_of_ranks(lambda shares: contrasts(shares)[..., 1]), best=0.0,
    ),
    _by_threshold(
        "threshold_brier_score", "Brier score of each threshold", entries=(probabilities.threshold_brier_scores,),
        score=average, best=0.0,
    ),
    _by_threshold(
        "threshold_brier_skill_score", "Brier skill score of each threshold over the frequency in the sample",
        entries=(probabilities.threshold_brier_scores, probabilities.event_frequencies), score=_brier_skill, best=1.0,
    ),
    _by_threshold(
        "brier_uncertainty", "Brier score of the frequency in the sample", entries=(probabilities.event_frequencies,),
        score=_uncertainty,
    ),
    _of_table(
        "brier_reliability", "reliability part of the Brier score", axes=_thresholds, best=0.0,
        score=lambda _, table: probability.brier_parts(table).reliability,
    ),
    _of_table(
        "brier_resolution", "resolution part of the Brier score", axes=_thresholds,
        score=lambda _, table: probability.brier_parts(table).resolution,
    ),
    _of_table(
        "forecast_share", "how often each probability is forecast", axes=_probabilities, score=_forecast_share,
    ),
    _of_table(
        "observed_frequency", "how often the threshold is then exceeded", axes=_probabilities,
        score=lambda _, table: probability.observed_frequency(table),
    ),
    Diagnostic(
        "energy_score", "energy score over the nodes of a region", "of the variable",
        lambda setting: {"region": setting.region_names, "variable": setting.spec.state.names},
        _energy_entries, _energy, best=0.0, ensemble=True,
    ),
    Diagnostic(
        "energy_score_of_all", "energy score over nodes and variables, standardised", "1",
        lambda setting: {"region": setting.region_names}, _energy_entries,
        lambda _, scores, present: scores[..., -1] / present, best=0.0, ensemble=True,
    ),
    _of_fields(
        "roughness", "rms of the Laplacian over that of the truth", entries=(extent.curvatures,),
        score=extent.rms_ratio, best=1.0,
    ),
    _of_fields(
        "extent", "farthest value from the middle of the truth's range, in halves of it", entries=(extent.extents,),
        score=physics.column(0),
    ),
    _of_fields(
        "beyond_range", "share of values beyond twice the truth's range", entries=(extent.extents,),
        score=physics.column(1), best=0.0,
    ),
    _spectrum("spectrum", "power spectrum", entries=(physics.spectrum,)),
    _spectrum("spectrum_truth", "power spectrum of the truth", entries=(physics.spectrum_of_truth,)),
    Diagnostic(
        "small_scale_power", "power of small scales over that of the truth", "1", _with_spectra,
        (physics.small_scales,), physics.ratio, best=1.0, rows=True,
    ),
    _standoff("standoff", "distance on the line to the Sun", "R_E", score=physics.where_found(1)),
    _standoff("standoff_truth", "distance on the line to the Sun, truth", "R_E", score=physics.where_found(3)),
    _standoff("standoff_bias", "mean error of the distance", "R_E", score=physics.where_found(5), best=0.0),
    _standoff("standoff_mae", "mean absolute error of the distance", "R_E", score=physics.where_found(6), best=0.0),
    _standoff("standoff_missing", "share of forecasts without the boundary", "1", score=physics.missing(0)),
    _standoff("standoff_missing_truth", "share of forecasts whose truth is without it", "1", score=physics.missing(2)),
    _flux("reconnected_flux", "range of A_y along the axis of the tail", score=physics.column(0)),
    _flux("reconnected_flux_truth", "range of A_y along the axis of the tail, truth", score=physics.column(1)),
    _flux("reconnected_flux_bias", "mean error of the range of A_y", score=physics.column(2), best=0.0),
    _flux("reconnected_flux_mae", "mean absolute error of the range of A_y", score=physics.column(3), best=0.0),
]  # fmt: skip
"""All diagnostics, in the order of `scores.nc`."""
