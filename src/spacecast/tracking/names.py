"""How things are called in MLflow, so that its pages group and draw them well.

MLflow makes one section of charts of all metrics that share what stands before their last slash, and sorts sections,
and the charts in them, by name. So the few scores that tell which run is better are `SPLIT/NAME`, which come first, and
those of single variables `SPLIT_NAME/VARIABLE`, which also stand behind them in tables. Parameters are sorted by name
as well, and where runs are compared the first three that differ are drawn: the chosen members, before all settings.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spacecast.core.types import ScoreRow, shown_leads

GROUPS = ("datastore", "data", "graph", "model", "loss", "schedule", "optimizer", "trainer", "evaluation")
NAMED = ("graph", "model", "loss", "schedule", "optimizer")  # groups whose class says something
TOLD = ("datastore", "graph", "loss", "schedule", "optimizer")  # groups whose member stands in the name when typed
SETTINGS = "settings"
RANKED_BY = "rmse_ratio"
REPEATED = {"data/seed": "seed", "schedule/epochs": "trainer/max_epochs"}  # what they follow unless it is typed
LEFT_OUT = (  # say nothing of the experiment, or are tables
    "data/workers", "datastore/cache_gb", "evaluation/batch_size", "evaluation/convert_units", "evaluation/examples",
    "evaluation/member_chunk", "evaluation/plasma_regions", "evaluation/regions", "evaluation/spread",
    "evaluation/surfaces", "loss/recompute", "model/execution", "optimizer/fused",
    "trainer/accelerator", "trainer/check_val_every_n_epoch",
    "trainer/checkpoint_minutes", "trainer/detect_anomaly", "trainer/deterministic", "trainer/enable_progress_bar",
    "trainer/log_every_n_steps", "trainer/max_nonfinite_steps", "trainer/memory", "trainer/num_nodes",
    "trainer/pictures", "trainer/strategy",
)  # fmt: skip
MAX_VALUE = 250
RENAMED = {"epoch": "train/epoch"}  # of Lightning, which would have a section of its own
EVERY = 10  # leads up to which each is a point of a curve, beyond which only some are
BY_VARIABLE = ("crps", "rmse", "skill", "spread_skill_ratio")  # have a section with a chart for each variable
IN_FILES = re.compile(  # of the other scores these are in scores.csv alone: nobody looks at 200 charts
    r"(persistence|extrapolation|climatology|member)_.*|.*_truth|almost_fair_crps|beyond_range|bias|extent|mae"
    r"|roughness|small_scale_power|spread"
)


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int


def clean(name: str) -> str:
    """Replace what MLflow does not take in a name."""
    return re.sub(r"[^\w./ :-]", "_", name).strip("/ ")


def choose_params(
    config: Mapping[str, Any], choices: Mapping[str, Any] | None = None, *, on_mesh: bool = True
) -> dict[str, str]:
    """Pick the parameters worth comparing out of a resolved configuration.

    Args:
        config: plain nested mapping; the groups that describe the experiment are taken, paths, loggers and launchers
            are left to the full configuration, which is kept as an artifact.
        choices: the chosen members of groups, `model` to `keisler`.
        on_mesh: whether the model uses the mesh; otherwise `graph` is `none`, and settings of it are left out.

    Returns:
        `group` to the chosen member, or to the class where nobody knows that, `seed`, and `settings/group/key` to a
        short text. No value stands there twice: what says the same as the name of its group, or follows another key,
        is left out.

    """
    names = {name: _text(member) for name, member in (choices or {}).items() if member}
    if not on_mesh:
        config = {name: section for name, section in config.items() if name != "graph"}
        names["graph"] = "none"
    for group in NAMED:
        section = config.get(group)
        if isinstance(section, Mapping) and section.get("_target_"):
            names.setdefault(group, str(section["_target_"]).rpartition(".")[2])
    chosen = {name: config[name] for name in GROUPS if isinstance(config.get(name), Mapping)}
    chosen |= {name: config[name] for name in ("seed",) if name in config}
    texts = {name: _text(value) for name, value in _flatten(chosen) if not _is_left_out(name)}
    told = {name: text for name, text in texts.items() if text and names.get(name.partition("/")[0]) != text}
    own = {name: text for name, text in told.items() if texts.get(REPEATED.get(name, "")) != text}
    return names | {name if name == "seed" else f"{SETTINGS}/{name}": text for name, text in own.items()}


def named_apart(name: str, words: Iterable[str]) -> str:
    """The name of a run with what was typed for it, which tells it from others of the same model.

    Args:
        name: the chosen model.
        words: overrides as typed.

    """
    told = []
    for word in sorted(words, key=lambda word: word.startswith("experiment=")):  # which runs often share: last
        key, _, value = word.lstrip("+").partition("=")
        group, _, rest = key.partition(".")
        short = rest and rest not in ("root", "path") and not _is_left_out(key.replace(".", "/"))
        if key == "seed" or (short and group in GROUPS):
            told.append(f"{key.rpartition('.')[2]}={value}")
        elif key in (*TOLD, "experiment") and value not in ("", "null", "none"):
            told.append(value)
    return " ".join([name, *told])[:MAX_VALUE]


def _is_left_out(name: str) -> bool:
    """Whether a parameter is one of `LEFT_OUT`, or lies below one."""
    return any(name == each or name.startswith(f"{each}/") for each in LEFT_OUT)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Leaves of nested mappings under slash-separated names."""
    for key, value in values.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flatten(value, name)
        elif not str(key).startswith("_") and value is not None:
            yield name, value


def _text(value: Any) -> str:
    """One short line."""
    if isinstance(value, list | tuple):
        value = ",".join(str(item) for item in value)
    return str(value)[:MAX_VALUE]


class _Scores:
    """Scores of the whole domain by metric, variable and lead time."""

    def __init__(self, rows: Iterable[ScoreRow]) -> None:
        self.table = {(row.metric, row.variable, float(row.lead_s)): float(row.value) for row in rows if _counts(row)}
        self.leads = sorted({lead for *_, lead in self.table})
        whole = all(lead == round(lead) for lead in self.leads)
        self.unit, self._scale = ("s", 1) if whole else ("ms", 1000)  # MLflow takes whole numbers only as steps
        shown = shown_leads(len(self.leads))
        self.shown = {lead for place, lead in enumerate(self.leads, 1) if place <= EVERY or place in shown}

    def step(self, lead: float) -> int:
        """Lead time in `unit`."""
        return round(lead * self._scale)

    def mean(self, metric: str) -> dict[float, float]:
        """Mean over the variables by lead, where there is one."""
        return {lead: self.table[metric, "mean", lead] for lead in self.leads if (metric, "mean", lead) in self.table}

    def crps_skill(self) -> dict[float, float]:
        """1 - CRPS over the mean absolute error of persistence, mean over the variables that have a skill, by lead."""
        result = {}
        for lead in self.leads:
            names = [name for metric, name, each in self.table if (metric, each) == ("crps", lead) and name != "mean"]
            errors = {name: self.table.get(("persistence_mae", name, lead), math.nan) for name in names}
            known = [name for name in names if math.isfinite(self.table.get(("skill", name, lead), math.nan))]
            ratios = [self.table["crps", name, lead] / errors[name] for name in known if errors[name] > 0]
            if ratios:
                result[lead] = 1 - sum(ratios) / len(ratios)
        return result


def _counts(row: ScoreRow) -> bool:
    """Whether a score is one of a forecast in the whole domain; other regions are in `scores.csv`, an artifact."""
    return row.region == "all" and float(row.lead_s) > 0


def score_points(rows: Iterable[ScoreRow], split: str = "test") -> list[Point]:
    """Scores as metrics with the lead time in seconds as the step, in the order of MLflow's pages.

    - `test/rmse_ratio`: one number to rank runs by, RMSE over that of persistence, mean over variables and leads;
    - `test/rmse_ratio_by_lead_s`, `test/skill_by_lead_s`: the same, and 1 minus that, as curves over lead time;
    - of ensembles `test/skill_crps`, `test/skill_crps_by_lead_s`, `test/spread_skill_ratio_by_lead_s`;
    - `test_rmse_by_lead_s/Bx` and its like, a section for each of `BY_VARIABLE`;
    - `test_supplement_by_lead_s/NAME`: all other scores but `IN_FILES`, their mean over variables where there is one.

    Where lead times are no whole seconds the names end in `_ms`, and steps are milliseconds. Beyond `EVERY` leads
    curves of single variables have those points that tables show.
    """
    scores = _Scores(rows)
    curve = f"_by_lead_{scores.unit}"
    points = [Point(f"{split}/{RANKED_BY}", value, 0) for value in _overall(scores.mean("skill"))]
    ratio = {lead: 1 - skill for lead, skill in scores.mean("skill").items()}
    crps = scores.crps_skill()
    points += [Point(f"{split}/skill_crps", sum(crps.values()) / len(crps), 0)] if crps else []
    main = {"rmse_ratio": ratio, "skill": scores.mean("skill"), "skill_crps": crps}
    main["spread_skill_ratio"] = scores.mean("spread_skill_ratio")
    for name, values in main.items():
        points += [Point(f"{split}/{name}{curve}", value, scores.step(lead)) for lead, value in values.items()]
    averaged = {metric for metric, variable, _ in scores.table if variable == "mean"}
    for (metric, variable, lead), value in scores.table.items():
        if lead in scores.shown and (name := _chart(metric, variable, averaged, curve)):
            points.append(Point(clean(f"{split}_{name}"), value, scores.step(lead)))
    return points


def _chart(metric: str, variable: str, averaged: set[str], curve: str) -> str:
    """Name of the chart that a score has besides the main ones, without the split; empty where it has none."""
    if metric in BY_VARIABLE:
        return "" if variable == "mean" else f"{metric}{curve}/{variable}"
    if IN_FILES.fullmatch(metric) or (metric in averaged and variable != "mean"):
        return ""
    return f"supplement{curve}/{metric}" + ("" if variable == "mean" else f"_{variable}")


def _overall(skill: Mapping[float, float]) -> list[float]:
    """RMSE over that of persistence, mean over the leads; none without leads."""
    return [sum(1 - value for value in skill.values()) / len(skill)] if skill else []


def rmse_ratios(rows: Iterable[ScoreRow], split: str = "test") -> dict[str, float]:
    """RMSE over that of persistence, mean over variables: over all leads, at the first and at the last one."""
    skill = _Scores(rows).mean("skill")
    if not skill:
        return {}
    name = f"{split}/{RANKED_BY}"
    ends = {f"{name}_first_lead": 1 - skill[min(skill)], f"{name}_last_lead": 1 - skill[max(skill)]}
    return {name: _overall(skill)[0], **ends}


def units_tag(rows: Iterable[ScoreRow]) -> dict[str, str]:
    """The units of the errors of each variable as the tag `units` of a run: `Bx [nT], rho [1/cm3]`."""
    units = {row.variable: row.units for row in rows if row.metric == "rmse" and row.units != "1"}
    return {"units": ", ".join(f"{name} [{unit}]" for name, unit in units.items())} if units else {}
