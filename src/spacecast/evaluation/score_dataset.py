"""All scores of an evaluation as one xarray data set: `scores.nc`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.bootstrap import LEVEL, block_bootstrap, block_length, interval
from spacecast.evaluation.flatness import with_rank_tests
from spacecast.evaluation.metrics import Entries, Metric
from spacecast.evaluation.start_sums import Start

Means = Mapping[Entries, Tensor]
Variables = dict[str, xr.Variable]

ATTRIBUTES = {
    "rank": {"long_name": "rank of the truth: number of members below it", "units": "1"},
    "probability": {"long_name": "share of the members that exceed the threshold", "units": "1"},
    "wavenumber": {"long_name": "one over the wavelength", "units": "1/R_E"},
    "boundary": {"long_name": "boundary on the line from Earth to the Sun"},
}
"""Attributes of the axes of diagnostics."""


def score_dataset(
    sums: Accumulator,
    runs: Mapping[int, str],
    times: Mapping[Start, np.datetime64],
    *,
    draws: int = 1000,
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Metrics and diagnostics over all initial times, with intervals, by run and by initial time.

    For each metric NAME the variables `NAME` (lead_time, region, variable), `NAME_low` and `NAME_high`, between which
    95 of 100 drawings of initial times have it (`bootstrap.block_bootstrap`), `NAME_by_run` (run, ...) and, of the
    whole domain, `NAME_by_start` (start, lead_time, variable). For each diagnostic the same over (lead_time, its axes).
    Physical units; the coordinate `variable_units` says those of each variable.

    Args:
        sums: what was added.
        runs: name of the run of each number.
        times: initial time of each start.
        draws: of the bootstrap; 0: no intervals.
        attributes: where the scores come from, plain types.

    """
    starts = sums.sums.starts
    numbers = [run for run, _ in starts]
    block = block_length([numbers.count(run) for run in dict.fromkeys(numbers)], sums.sums.leads)
    weights = {
        "by_run": torch.tensor([[float(run == each) for run in numbers] for each in dict.fromkeys(numbers)]),
        "by_start": torch.eye(len(starts)),
    }
    if draws and len(starts) > 1:
        weights["drawn"] = block_bootstrap(numbers, block, draws, sums.setting.seed)
    means = {"": sums.averages()} | {name: sums.averages(each.double()) for name, each in weights.items()}
    units = _variable_units(sums)
    tables: Variables = {}
    for metric in sums.metrics:
        tables |= _tables(metric.name, _facts(metric), _metric_values(sums, metric, means, list(units)))
    for diagnostic in sums.diagnostics:
        axes = diagnostic.axes_of(sums.setting) or {}
        chosen = {"": means[""]} if diagnostic.large else means
        values = {name: sums.table(diagnostic, each).numpy() for name, each in chosen.items()}
        if "variable" in axes:
            place = ("lead_time", *axes).index("variable") - 1 - len(axes)
            values = {name: _placed(each, place, axes["variable"], list(units)) for name, each in values.items()}
        best = {} if diagnostic.best is None else {"best": diagnostic.best}
        facts = {"long_name": diagnostic.label, "units": diagnostic.units, **best}
        tables |= _tables(diagnostic.name, facts, (("lead_time", *axes), values))
    known: dict[str, Any] = {"title": "scores of forecasts", "members": sums.setting.members, "forecasts": len(starts)}
    known["intervals"] = f"{LEVEL:.0%}, block bootstrap over initial times, {block} at a time"
    return with_rank_tests(xr.Dataset(tables, _coordinates(sums, runs, times, units), {**known, **(attributes or {})}))


def _variable_units(sums: Accumulator) -> dict[str, str]:
    """Units of every name that stands on the axis `variable`; those of the variable itself where metrics differ."""
    units: dict[str, str] = dict(zip(sums.spec.state.names, sums.spec.state.units, strict=True))
    for metric in sums.metrics:
        units = dict(sums.columns(metric)) | units
    order = list(dict.fromkeys(name for metric in sums.metrics for name, _ in sums.columns(metric)))
    for diagnostic in sums.diagnostics:
        order += map(str, (diagnostic.axes_of(sums.setting) or {}).get("variable", ()))
    return {name: units.get(name, "1") for name in dict.fromkeys(order)}


def _facts(metric: Metric) -> dict[str, Any]:
    """Attributes of a metric."""
    units = {"variable": "of the variable", "gradient": "of B, per R_E", "1": "1"}[metric.units]
    best = {} if metric.best is None else {"best": metric.best}
    members = {"mean": "ensemble mean", "each": "members", "none": "no forecast"}[metric.members]
    return {"long_name": metric.label, "units": units, "scored": members, **best}


def _metric_values(
    sums: Accumulator, metric: Metric, means: Mapping[str, Means], variables: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Dimensions and values of a metric for each selection of initial times."""
    counted, names = sums.counted(means[""]), [name for name, _ in sums.columns(metric)]
    values = {name: sums.values(metric, each, counted).numpy() for name, each in means.items()}
    return ("lead_time", "region", "variable"), {
        name: _placed(each, -1, names, variables) for name, each in values.items()
    }


def _placed(values: np.ndarray, axis: int, names: Sequence[Any], variables: Sequence[str]) -> np.ndarray:
    """Values on the axis of all variables, NaN for those that have none."""
    if list(names) == list(variables):
        return values
    moved = np.moveaxis(values, axis, -1)
    placed = np.full((*moved.shape[:-1], len(variables)), np.nan)
    placed[..., [variables.index(name) for name in names]] = moved
    return np.moveaxis(placed, -1, axis)


def _tables(
    name: str, facts: Mapping[str, Any], values: tuple[tuple[str, ...], Mapping[str, np.ndarray]]
) -> Variables:
    """What is written of a metric or a diagnostic."""
    axes, found = values
    tables = {name: xr.Variable(axes, found[""], facts)}
    if "by_run" not in found:
        return tables

    def about(what: str) -> dict[str, Any]:
        return {"long_name": f"{facts['long_name']}, {what}", "units": facts["units"]}

    tables[f"{name}_by_run"] = xr.Variable(("run", *axes), found["by_run"], about("by run"))
    whole = found["by_start"]
    if "region" in axes:
        whole = whole[:, :, 0]
    kept = [axis for axis in axes if axis != "region"]
    tables[f"{name}_by_start"] = xr.Variable(
        ("start", *kept), whole.astype(np.float32), about("by initial time")
    )
    if "drawn" in found:
        for end, limit in zip(("low", "high"), interval(found["drawn"]), strict=True):
            ends = {"low": "lower", "high": "upper"}[end]
            tables[f"{name}_{end}"] = xr.Variable(axes, limit, about(f"{ends} end of the {LEVEL:.0%} interval"))
    return tables


def _coordinates(
    sums: Accumulator, runs: Mapping[int, str], times: Mapping[Start, np.datetime64], units: Mapping[str, str]
) -> dict[str, Any]:
    """What the axes stand for."""
    starts, leads = sums.sums.starts, np.arange(1, sums.sums.leads + 1) * sums.spec.step_seconds
    moments = np.array([times[start] for start in starts], dtype="datetime64[ns]")
    coordinates: dict[str, Any] = {
        "lead_time": ("lead_time", leads, {"long_name": "lead time", "units": "s"}),
        "region": ("region", sums.regions.names, {"long_name": "part of the plane"}),
        "variable": ("variable", list(units), {"long_name": "variable; mean: over all of them"}),
        "variable_units": ("variable", list(units.values()), {"long_name": "units of the variable"}),
        "run": ("run", [runs[run] for run in dict.fromkeys(run for run, _ in starts)], {"long_name": "simulation run"}),
        "init_time": ("start", moments, {"long_name": "initial time of the forecast"}),
        "start_run": ("start", [runs[run] for run, _ in starts], {"long_name": "simulation run of the forecast"}),
    }
    for diagnostic in sums.diagnostics:
        for axis, values in (diagnostic.axes_of(sums.setting) or {}).items():
            coordinates.setdefault(axis, (axis, list(values), ATTRIBUTES.get(axis, {})))
    if "threshold" in coordinates:
        coordinates |= _thresholds(sums, list(units))
    return coordinates


def _thresholds(sums: Accumulator, variables: Sequence[str]) -> dict[str, Any]:
    """The thresholds of events in standard deviations, and for each variable in its units."""
    state, numbers = sums.spec.state, np.array(sums.setting.thresholds)
    values = _placed((state.mean + numbers[:, None] * state.std).T, 0, state.names, variables)
    text = "standard deviations from the mean of the training"
    return {
        "threshold": ("threshold", numbers, {"long_name": "threshold", "units": "1", "comment": text}),
        "threshold_value": (("variable", "threshold"), values, {"long_name": "threshold", "units": "of the variable"}),
    }
