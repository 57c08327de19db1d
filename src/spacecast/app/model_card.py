"""The card of an exported model, README.md: what it is, what it was trained on, how good it is, how to use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

import spacecast
from spacecast.config.command import Plain
from spacecast.core.spec import DataSpec
from spacecast.core.text import several
from spacecast.evaluation.scores import Scores

PAPERS = (
    "Holmberg et al., *Graph-based Neural Space Weather Forecasting*, "
    "[arXiv:2509.19605](https://arxiv.org/abs/2509.19605)",
    "Holmberg et al., *Deterministic and probabilistic neural surrogates of global hybrid-Vlasov simulations*, "
    "[arXiv:2601.12614](https://arxiv.org/abs/2601.12614)",
)
CURVES = {
    "RMSE": "rmse",
    "RMSE of persistence": "persistence_rmse",
    "skill": "skill",
    "CRPS": "crps",
    "spread / skill": "spread_skill_ratio",
}
TAGS = ("space-weather", "magnetosphere", "plasma", "graph-neural-network", "forecasting")


@dataclass(frozen=True)
class Facts:
    """What a card tells.

    Args:
        name: of the model.
        config: its configuration, by `config.portable`.
        described: entry `spacecast` of its checkpoint.
        spec: facts of the data.
        parameters: number of weights.
        ensemble: whether it draws, so that members differ.
        licence: identifier of the hub, such as `cc-by-4.0`; None: not said.
        scores: of its evaluation, and the section `evaluation` that they are by; None where there are none.

    """

    name: str
    config: Plain
    described: Mapping[str, Any]
    spec: DataSpec
    parameters: int
    ensemble: bool
    licence: str | None = None
    scores: tuple[Scores, Mapping[str, Any]] | None = None


def model_card(facts: Facts) -> str:
    """The text of README.md, with the front matter that the hub reads."""
    front: dict[str, Any] = {"license": facts.licence} if facts.licence else {}
    front |= {"library_name": "spacecast", "tags": [*TAGS, *(["ensemble"] if facts.ensemble else [])]}
    parts = (_model, _data, _scores, _use, _limits, _citation)
    head = f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {facts.name}\n"
    return "\n".join([head, *(f"{part(facts)}\n" for part in parts)])


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _number(value: float) -> str:
    """Four digits; a dash for what is no number."""
    return f"{value:.4g}" if np.isfinite(value) else "-"


def _kind(section: Mapping[str, Any]) -> str:
    """The class or function that a section names."""
    return str(section.get("_target_")).rpartition(".")[2]


def _model(facts: Facts) -> str:
    spec, config = facts.spec, facts.config
    kind = "an ensemble" if facts.ensemble else "one forecast"
    recipe = (facts.described["graph"].get("recipe") or {}).items()
    graph = ", ".join(f"{key} {value}" for key, value in recipe if value is not None)
    rows = [
        ("model", f"`{_kind(config.get('model') or {})}`, {facts.parameters:,} parameters"),
        ("mesh graph", f"{graph}; hash `{facts.described['graph']['hash']}`"),
        ("objective", f"`{_kind(config['loss'])}`, see `config.json`" if "loss" in config else "-"),
        ("made with", ", ".join(f"{name} {version}" for name, version in facts.described["versions"].items())),
    ]
    if reference := facts.described.get("reference"):
        rows.append(("weights", f"of the published reference implementation, graph `{reference.get('graph')}`"))
    return (
        f"A model of spacecast {spacecast.__version__}: it forecasts {several(len(spec.state), 'variable')} "
        f"of the plasma around Earth on {spec.num_nodes:,} cells, in steps of {spec.step_seconds:g} s from two "
        f"consecutive states, and gives {kind} per initial time.\n\n{_table(('', ''), rows)}"
    )


def _data(facts: Facts) -> str:
    spec, config = facts.spec, facts.config
    simulation, datastore = config.get("simulation"), config.get("datastore") or {}
    if simulation:
        told = {key: value for key, value in simulation.items() if key[0] != "_" and key not in ("root", "processes")}
        keys = ", ".join(f"{key} {value}" for key, value in told.items() if value is not None)
        origin = f"simulated by `spacecast-data simulate`: {keys}"
    else:
        origin = str(datastore.get("repository") or datastore.get("root") or _kind(datastore))
    runs = datastore.get("runs")
    rows = [
        ("data", origin),
        ("runs", "all that are not held out" if runs is None else ", ".join(map(str, runs))),
        ("held out", ", ".join(map(str, datastore.get("holdout") or ())) or "none"),
        ("grid", f"{spec.grid}; {spec.num_nodes:,} of its cells carry plasma"),
        ("step", f"{spec.step_seconds:g} s"),
        ("driven with true values", _boundary(facts)),
        ("hash of the data", f"`{spec.data_hash}`"),
    ]
    variables = [
        (f"`{name}`", units or "-", _number(mean), _number(std))
        for name, units, mean, std in zip(
            spec.state.names, spec.state.units, spec.state.mean, spec.state.std, strict=True
        )
    ]
    others = [
        f"{label}: {', '.join(f'`{name}`' for name in category.names)}."
        for label, category in (("Static features", spec.static), ("Forcing", spec.forcing))
        if len(category)
    ]
    table = _table(("variable", "units", "mean", "standard deviation"), variables)
    return "\n\n".join(["## Data", _table(("", ""), rows), table, " ".join(others)])


def _boundary(facts: Facts) -> str:
    count = int(facts.spec.boundary.sum())
    if not count:
        return "nothing"
    bounds = (facts.config.get("datastore") or {}).get("boundary")
    each = [bounds] if isinstance(bounds, Mapping) else bounds or ()
    where = "".join(f", {name} {limit:g} R_E" for one in each for name, limit in one.items())
    return f"{count:,} cells{where}: a forecast needs their values from elsewhere"


def _scores(facts: Facts) -> str:
    if facts.scores is None:
        return "## Scores\n\nThere are none with this model; `spacecast-evaluate` gives them."
    scores, section = facts.scores
    members, seconds = section.get("members", 1), scores.lead_seconds
    what = f"Split `{section.get('split', 'test')}`" + (f", {several(members, 'member')}" if members > 1 else "")
    rmse = "; RMSE is that of the ensemble mean" if members > 1 else ""
    text = (
        f"## Scores\n\n{what}, region `all`, physical units; skill is 1 - RMSE / RMSE of persistence{rmse}. "
        "All leads, regions and metrics: `scores.csv`."
    )
    curves = {label: metric for label, metric in CURVES.items() if metric in scores.metrics}
    for lead in sorted({0, (len(seconds) - 1) // 2, len(seconds) - 1}):
        rows = [
            [f"`{name}`", scores.units[name], *(_value(scores, metric, name, lead) for metric in curves.values())]
            for name in scores.variables
        ]
        rows.append(["mean", "", *(_value(scores, metric, "mean", lead) for metric in curves.values())])
        text += f"\n\n### {seconds[lead]:g} s ahead\n\n{_table(('variable', 'units', *curves), rows)}"
    return text


def _value(scores: Scores, metric: str, variable: str, lead: int) -> str:
    """One number of the table; a dash where there is none."""
    row = (metric, variable, scores.lead_seconds[lead], "all")
    found = [entry.value for entry in scores if (entry.metric, entry.variable, entry.lead_s, entry.region) == row]
    return _number(found[0]) if found else "-"


def _use(facts: Facts) -> str:
    members = ", members=20" if facts.ensemble else ""
    typed = " members=20" if facts.ensemble else ""
    return f"""## Use

With `FOLDER` this folder and `DIR` one with data of the same kind (`pip install spacecast`):

```text
spacecast-forecast checkpoint=FOLDER datastore.root=DIR start=1 steps=30{typed} output=forecast.zarr
spacecast-evaluate checkpoint=FOLDER datastore.root=DIR
spacecast-train datastore.root=DIR init_from=FOLDER
```

```python
import spacecast, xarray

model = spacecast.load("FOLDER")
states = xarray.open_zarr("run.zarr")  # two states or more: (time, x, z) of each variable
forecast = model.forecast(states, steps=30{members})
```

`config.json` is the configuration, `model.safetensors` the weights, `data.safetensors` grid and statistics; nothing in
the folder is executed when it is read. `sha256sum --check SHA256SUMS` finds damage."""


def _limits(facts: Facts) -> str:
    spec = facts.spec
    lines = [
        f"- For this grid, these variables and units, and steps of {spec.step_seconds:g} s; other data are refused.",
        "- Solar wind and parameters outside of what it was trained on are extrapolation.",
    ]
    if facts.scores is not None:
        lines.append(f"- Scored up to {facts.scores[0].lead_seconds[-1]:g} s ahead; nothing is known of later times.")
    if facts.config.get("simulation"):
        lines.append(
            "- The data are 2-D ideal magnetohydrodynamics with a reconnection rate set by the grid: a model of them "
            "serves to develop methods; it does not predict the real magnetosphere."
        )
    if bool(spec.boundary.any()):
        lines.append("- The driven cells need true values, or are kept as they are at the initial time.")
    return "## Limits\n\n" + "\n".join(lines)


def _citation(facts: Facts) -> str:
    licence = f"Licence of the weights: `{facts.licence}`." if facts.licence else "No licence is given with this model."
    papers = "\n".join(f"- {paper}" for paper in PAPERS)
    return f"""## Licence and citation

{licence} Please cite spacecast {spacecast.__version__} and the papers whose models and data layout it builds on:

{papers}"""
