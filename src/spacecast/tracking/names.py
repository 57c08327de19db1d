"""How things are called in MLflow, so that its pages group and draw them well."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spacecast.core.types import ScoreRow, shown_leads

GROUPS = ("datastore", "data", "graph", "model", "loss", "schedule", "optimizer", "trainer", "evaluation")
NAMED = ("graph", "model", "loss", "schedule", "optimizer")  # groups whose class says something
LEFT_OUT = ("evaluation/regions",)
MAX_VALUE = 250
EVERY = 10  # leads up to which each is a point of a curve, beyond which only some are


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int


def clean(name: str) -> str:
    """Replace what MLflow does not take in a name."""
    return re.sub(r"[^\w./ :-]", "_", name).strip("/ ")


def choose_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Pick the parameters worth comparing out of a resolved configuration.

    Args:
        config: plain nested mapping; the groups that describe the experiment are taken, paths, loggers and launchers
            are left to the full configuration, which is kept as an artifact.

    Returns:
        `group/key` to a short text; `group/name` is the class of the group.

    """
    chosen = {name: config[name] for name in GROUPS if isinstance(config.get(name), Mapping)}
    chosen |= {name: config[name] for name in ("seed",) if name in config}
    texts = {name: _text(value) for name, value in _flatten(chosen) if not name.startswith(LEFT_OUT)}
    return {name: text for name, text in texts.items() if text}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Leaves of nested mappings under slash-separated names."""
    for key, value in values.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if key == "_target_" and prefix in NAMED:
            yield f"{prefix}/name", str(value).rpartition(".")[2]
        elif isinstance(value, Mapping):
            yield from _flatten(value, name)
        elif not str(key).startswith("_") and value is not None:
            yield name, value


def _text(value: Any) -> str:
    """One short line."""
    if isinstance(value, list | tuple):
        value = ",".join(str(item) for item in value)
    return str(value)[:MAX_VALUE]


def score_points(rows: Iterable[ScoreRow], split: str = "test") -> list[Point]:
    """Scores as metrics with the lead number as the step.

    `test_rmse_by_lead/<variable>` draws a curve over lead time for each variable and overlays all runs. RMSE over the
    RMSE of persistence has no unit, so that its mean over variables, 1 - the mean skill, is there for tables that rank
    runs: `test/rmse_ratio` (mean over leads), `test/rmse_ratio_first_lead` and `test/rmse_ratio_last_lead`. Only the
    whole domain is taken; the other regions are in `scores.csv`, which is kept as an artifact, and beyond `EVERY` leads
    all but those of tables.
    """
    table = {(row.metric, row.variable, float(row.lead_s)): float(row.value) for row in rows if row.region == "all"}
    leads = sorted({lead for _, _, lead in table if lead > 0})
    number = {lead: round(lead / leads[0]) for lead in leads}
    points = [
        Point(clean(f"{split}_{metric}_by_lead/{variable}"), value, number[lead])
        for (metric, variable, lead), value in table.items()
        if lead in number and (number[lead] <= EVERY or number[lead] in shown_leads(len(leads)))
    ]
    return points + _ratios(table, number, split)


def _ratios(table: dict[tuple[str, str, float], float], number: dict[float, int], split: str) -> list[Point]:
    """RMSE over the RMSE of persistence, mean over variables: by lead, and as single numbers."""
    means = {lead: 1 - table["skill", "mean", lead] for lead in number if ("skill", "mean", lead) in table}
    if not means:
        return []
    points = [Point(f"{split}_rmse_ratio_by_lead/mean", mean, number[lead]) for lead, mean in means.items()]
    single = {
        "rmse_ratio": sum(means.values()) / len(means),
        "rmse_ratio_first_lead": means[min(means)],
        "rmse_ratio_last_lead": means[max(means)],
    }
    return points + [Point(f"{split}/{name}", value, 0) for name, value in single.items()]
