"""The metrics: each is one value in `METRICS`, and whatever scores, ranks, draws or explains goes through that list.

To add one, write what is averaged as a function of a `Sample`, and add a `Metric` to the list.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from spacecast.evaluation import physics, probabilities
from spacecast.evaluation.sample import Sample, Setting
from spacecast.formulas.averages import (
    anomaly_correlation,
    changes,
    correlation,
    is_constant,
    root,
    spread_skill_ratio,
)
from spacecast.formulas.ensemble import spread_share
from spacecast.formulas.pointwise import mse
from spacecast.formulas.probability import brier_skill_score

Entries = Callable[[Sample], Tensor]


def average(_: Setting, entries: Tensor) -> Tensor:
    """The score of what is its own average."""
    return entries


def _root(_: Setting, entries: Tensor) -> Tensor:
    return root(entries)


def _skill(setting: Setting, square: Tensor, persistence_square: Tensor, truth_square: Tensor) -> Tensor:
    """NaN for variables that do not change."""
    counted = changes(persistence_square, truth_square, setting.offset)
    return torch.where(counted, 1 - root(square) / root(persistence_square), math.nan)


def _departs(setting: Setting, truth_anomaly_square: Tensor, truth_square: Tensor) -> Tensor:
    """Whether the truth departs from its climatology by more than rounding."""
    return changes(truth_anomaly_square, truth_square, setting.offset)


def _anomaly_correlation(setting: Setting, ff: Tensor, yy: Tensor, fy: Tensor, truth_square: Tensor) -> Tensor:
    """NaN for variables that do not depart from their climatology."""
    return torch.where(_departs(setting, yy, truth_square), anomaly_correlation(ff, yy, fy), math.nan)


def _almost_fair_crps(setting: Setting, absolute: Tensor, crps: Tensor) -> Tensor:
    """From the CRPS by any estimator: they differ in the weight of the distance between members alone."""
    given, wanted = (spread_share(setting.members, name) for name in (setting.estimator, "almost_fair"))
    return absolute - wanted / given * (absolute - crps)


def _brier_skill(setting: Setting, score: Tensor, frequencies: Tensor) -> Tensor:
    """NaN for variables that exceed each of the thresholds always or never."""
    return brier_skill_score(score, probabilities.uncertainty(setting, frequencies))


@dataclass(frozen=True)
class Metric:
    """A score of forecasts: how it comes about, and what there is to know of it.

    Args:
        name: in `scores.csv`, reports and MLflow.
        label: for axes and tables.
        best: value of a perfect forecast; None: the score does not tell a better forecast from a worse one.
        entries: functions of a `Sample`, standardised and of shape (window, node, variable), to be averaged over the
            windows and the nodes of each region.
        score: from the `Setting` and their averages, each (..., lead, region, variable), to the score, still
            standardised.
        units: those of the variable, by whose standard deviation the score is multiplied; 1 for none; those of B per
            R_E (`gradient`).
        of: each variable; those that cannot be negative; the magnetic field, where the data have it, whose entries lie
            on the nodes of the grid's stencil; pressure or electric field, where the data have what they follow from.
        members: whether the score of an ensemble is that of its mean, of each member, or not of the forecast at all.
        ensemble: whether there must be several members.
        needs: what of the `Setting` must be known besides.
        left_out: from the same to whether a mean over variables leaves one out, beside those that do not change.
        picture: whether it has a picture of its own, `figures/NAME.png`.

    """

    name: str
    label: str
    best: float | None
    entries: tuple[Entries, ...]
    score: Callable[..., Tensor] = average
    units: Literal["variable", "1", "gradient"] = "variable"
    of: Literal["variables", "non_negative", "B", "P", "E"] = "variables"
    members: Literal["mean", "each", "none"] = "mean"
    ensemble: bool = False
    needs: Literal["", "climatology", "climatologies", "thresholds"] = ""
    left_out: Callable[..., Tensor] | None = None
    picture: bool = True

    def columns(self, setting: Setting) -> list[tuple[str, str]]:
        """Name and units of what is scored; empty where these data or a single member have no such score."""
        known = {
            "": True,
            "climatology": setting.climatology is not None,
            "climatologies": bool(setting.climatologies),
            "thresholds": bool(setting.thresholds),
        }
        if not known[self.needs] or (self.ensemble and setting.members == 1):
            return []
        state = setting.spec.state
        if self.of == "B":
            return [("B", f"{state.units[column]}/R_E") for column in setting.magnetic[:1]]
        if self.of in ("P", "E"):
            law = {"P": "gas", "E": "electric"}[self.of]
            return [(self.of, "1")] if law in setting.plasma.columns else []
        columns = range(len(state)) if self.of == "variables" else setting.non_negative
        return [(state.names[column], state.units[column] if self.units == "variable" else "1") for column in columns]

    @property
    def averaged(self) -> bool:
        """Whether there is a mean over variables: of what has no units."""
        return self.of == "variables" and self.units == "1"


# Shown together with others in a picture, or in tables alone.
_shared = partial(Metric, picture=False)

METRICS = [
    _shared("rmse", "RMSE", 0.0, (Sample.squared_error,), _root),
    _shared("mae", "mean absolute error", 0.0, (lambda sample: sample.error.abs(),)),
    _shared("bias", "mean error", 0.0, (lambda sample: sample.error,)),
    _shared(
        "correlation", "correlation", 1.0,
        (
            lambda sample: sample.double[0], lambda sample: sample.double[1],
            lambda sample: sample.double[0].square(), Sample.truth_square,
            lambda sample: sample.double[0] * sample.double[1],
        ),
        lambda setting, *moments: correlation(*moments, offset=setting.offset),
        units="1", left_out=lambda setting, *moments: is_constant(moments[1], moments[3], setting.offset),
    ),
    _shared(
        "persistence_rmse", "RMSE of persistence", 0.0, (Sample.persistence_squared_error,), _root, members="none",
    ),
    _shared(
        "persistence_mae", "mean absolute error of persistence", 0.0,
        (lambda sample: sample.persistence_error.abs(),), members="none",
    ),
    _shared(
        "skill", "1 - RMSE / persistence", 1.0,
        (Sample.squared_error, Sample.persistence_squared_error, Sample.truth_square), _skill, units="1",
    ),
    _shared(
        "member_rmse", "RMSE of the members", 0.0,
        (lambda sample: mse(sample.members, sample.truth.unsqueeze(1)).mean(dim=1),), _root,
        members="each", ensemble=True,
    ),
    _shared("crps", "CRPS", 0.0, (Sample.crps,), members="each", ensemble=True),
    _shared("spread", "spread", None, (Sample.variance,), _root, members="each", ensemble=True),
    _shared(
        "spread_skill_ratio", "spread / skill", 1.0, (Sample.variance, Sample.squared_error),
        lambda setting, variance, square: spread_skill_ratio(variance, square, setting.members),
        units="1", members="each", ensemble=True,
    ),
    _shared(
        "div_b", "mean |div B|", 0.0, (lambda sample: sample.divergence().mean(dim=1).unsqueeze(-1),),
        units="gradient", of="B", members="each",
    ),
    _shared(
        "div_b_truth", "mean |div B| of the truth", None, (lambda sample: sample.divergence_of_truth().unsqueeze(-1),),
        units="gradient", of="B", members="none",
    ),
    _shared(
        "negative_share", "share of cells below 0", 0.0,
        (lambda sample: sample.below_zero(sample.members).mean(dim=1),), units="1", of="non_negative", members="each",
    ),
    _shared(
        "negative_share_truth", "share of cells below 0 in the truth", None,
        (lambda sample: sample.below_zero(sample.truth),), units="1", of="non_negative", members="none",
    ),
    _shared(
        "anomaly_correlation", "anomaly correlation", 1.0,
        (
            lambda sample: sample.anomalies[0].square(), lambda sample: sample.anomalies[1].square(),
            lambda sample: sample.anomalies[0] * sample.anomalies[1], Sample.truth_square,
        ),
        _anomaly_correlation, units="1", needs="climatology",
        left_out=lambda setting, *squares: ~_departs(setting, squares[1], squares[3]),
    ),
    _shared(
        "member_mae", "mean absolute error of the members", 0.0, (probabilities.member_absolute_error,),
        members="each", ensemble=True,
    ),
    _shared(
        "almost_fair_crps", "almost fair CRPS", 0.0, (probabilities.member_absolute_error, Sample.crps),
        _almost_fair_crps, members="each", ensemble=True,
    ),
    _shared(
        "brier_score", "Brier score, mean over thresholds", 0.0, (probabilities.brier_score,), units="1",
        members="each", ensemble=True, needs="thresholds",
    ),
    _shared(
        "brier_skill_score", "Brier skill score over the frequency in the sample", 1.0,
        (probabilities.brier_score, probabilities.events), _brier_skill, units="1",
        members="each", ensemble=True, needs="thresholds",
        left_out=lambda setting, _, frequencies: ~(probabilities.uncertainty(setting, frequencies) > 0),
    ),
    _shared(
        "extrapolation_rmse", "RMSE of linear extrapolation", 0.0, (physics.extrapolation_squared_error,), _root,
        members="none",
    ),
    _shared(
        "climatology_rmse", "RMSE of the climatology", 0.0, (Sample.climatology_squared_error,), _root, members="none",
        needs="climatologies",
    ),
    _shared(
        "gas_law_residual", "rms of P - n k T over that of P", 0.0, (physics.gas_law,), physics.relative,
        units="1", of="P", members="each",
    ),
    _shared(
        "gas_law_residual_truth", "rms of P - n k T over that of P, truth", None, (physics.gas_law_of_truth,),
        physics.relative, units="1", of="P", members="none",
    ),
    _shared(
        "ohms_law_residual", "rms of E + v x B over that of E", 0.0, (physics.ohms_law,), physics.relative,
        units="1", of="E", members="each",
    ),
    _shared(
        "ohms_law_residual_truth", "rms of E + v x B over that of E, truth", None, (physics.ohms_law_of_truth,),
        physics.relative, units="1", of="E", members="none",
    ),
]  # fmt: skip
"""All metrics, in the order of `scores.csv`. What several of them take the average of is averaged once."""


def find(name: str) -> Metric:
    """The metric of a name."""
    return next(metric for metric in METRICS if metric.name == name)


def distance_to_best(name: str, value: float) -> float:
    """How far a score is from that of a perfect forecast; infinite for what is no number or has no best value."""
    best = next((metric.best for metric in METRICS if metric.name == name), None)
    return math.inf if best is None or not math.isfinite(value) else abs(value - best)
