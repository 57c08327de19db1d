"""Metrics as values: one that is added to the list is scored, ranked, drawn, recorded and documented."""

import csv
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from spacecast.core.types import Batch
from spacecast.evaluation import metrics, sample
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.metrics import METRICS, Metric, distance_to_best
from spacecast.evaluation.sample import Sample, Setting
from spacecast.evaluation.scores import ScoreRow, Scores
from spacecast.plots.picture import ScoredRun
from spacecast.plots.pictures import draw_pictures
from spacecast.plots.plane import Plane
from spacecast.process.status import write_status
from spacecast.sweep.folder import Sweep, name_runs
from spacecast.sweep.report import write_report
from spacecast.tracking.names import score_points


def log_error(seen: Sample) -> torch.Tensor:
    return seen.error.abs().log1p()


def member_range(seen: Sample) -> torch.Tensor:
    return seen.members.amax(dim=1) - seen.members.amin(dim=1)


OWN = [
    Metric("log_error", "mean log error", 0.0, (log_error,), units="1"),
    Metric("range", "range of the members", None, (member_range,), members="each", ensemble=True),
]


@pytest.fixture
def own(monkeypatch) -> list[Metric]:
    """Two more metrics."""
    monkeypatch.setattr(metrics, "METRICS", [*METRICS, *OWN])
    return OWN


def test_a_metric_of_ones_own_is_one_value(own, store, fakes, tmp_path) -> None:
    """Scored, written, recorded and drawn."""
    regions = {"inner": {"r_max": 10}}
    scores = evaluate(fakes.Persist(noise=0.1), store, steps=3, members=4, regions=regions)
    scores.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    state = store.spec.state
    for name, units in (("log_error", ["1"] * 13), ("range", list(state.units))):
        found = [row for row in rows if row["metric"] == name and row["lead_s"] == "10" and row["region"] == "inner"]
        assert [row["variable"] for row in found] == [*state.names, "mean"][: len(units)]
        assert [row["units"] for row in found] == units
    mean = scores.series("log_error", "mean")[1]
    np.testing.assert_allclose(mean, np.mean([scores.series("log_error", name)[1] for name in state.names], axis=0))
    recorded = {point.name for point in score_points(scores)}
    assert {"test_supplement_by_lead_s/log_error", "test_supplement_by_lead_s/range_Bx"} <= recorded
    pictures = draw_pictures(ScoredRun(scores, Plane.of(store.spec)), tmp_path / "figures")
    assert {"log_error.png", "range.png"} <= {path.name for path in pictures}
    assert "range" not in evaluate(fakes.Persist(), store, steps=1).metrics


def test_the_average_of_ones_own_is_that_of_all_forecasts_at_once(own, store, fakes) -> None:
    scores = evaluate(fakes.Persist(), store, steps=1, batch_size=2)
    states = (store.states[0].astype(np.float64) - store.spec.state.mean) / store.spec.state.std
    errors = np.abs(states[1:-1] - states[2:])[:, store.spec.interior]
    ours = [scores.series("log_error", name)[1][0] for name in scores.variables]
    np.testing.assert_allclose(ours, np.log1p(errors).mean(axis=(0, 1)), rtol=1e-5)


@pytest.mark.parametrize(("best", "order"), [(0.0, ["2", "1", "3"]), (4.0, ["3", "1", "2"])])
def test_a_metric_of_ones_own_is_ranked_by_its_best_value(monkeypatch, tmp_path, best, order) -> None:
    monkeypatch.setattr(metrics, "METRICS", [*METRICS, Metric("log_error", "mean log error", best, (log_error,))])
    made = Sweep(tmp_path, "spacecast.app.train:COMMAND", tuple(name_runs([[f"width={n}"] for n in (1, 2, 3)])))
    made.write()
    for run, value in zip(made.runs, (0.5, 0.1, 2.5), strict=True):
        row = ScoreRow("log_error", "mean", "1", 10.0, "all", value)
        Scores((row,)).write_csv(made.run_dir(run) / "scores.csv")
        write_status(made.run_dir(run), state="finished")
    lines = [line.split(" | ") for line in write_report(tmp_path, ["log_error/mean"]).splitlines() if "| " in line]
    assert [cells[1] for cells in lines[2:]] == order


def test_names_are_unlike_and_all_metrics_are_documented() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for metric in METRICS:
        assert f"| `{metric.name}` | {metric.label} |".replace("|div B|", "\\|div B\\|") in page


def test_the_table_of_the_documentation_has_what_is_added(own) -> None:
    path = Path(__file__).parents[2] / "scripts" / "configuration_doc.py"
    loader = importlib.util.spec_from_file_location("configuration_doc", path)
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    table = module.metric_table()
    assert "| `log_error` | mean log error | 1 | 0 | its mean |" in table
    assert "| `range` | range of the members | of the variable | none | its members |" in table


@pytest.mark.parametrize(
    ("name", "value", "distance"),
    [
        ("rmse", 0.5, 0.5), ("bias", -0.5, 0.5), ("skill", 0.25, 0.75), ("spread_skill_ratio", 1.5, 0.5),
        ("spread", 0.5, math.inf), ("rmse", math.nan, math.inf), ("skill", -math.inf, math.inf),
        ("unknown", 1.0, math.inf),
    ],
)  # fmt: skip
def test_distance_to_the_score_of_a_perfect_forecast(name, value, distance) -> None:
    assert distance_to_best(name, value) == distance


def drawn(spec, members: int) -> tuple[torch.Tensor, Batch]:
    """Random forecasts and windows."""
    states = torch.randn(2, members, spec.num_nodes, 12, generator=torch.Generator().manual_seed(0))
    truth = torch.randn(2, 3, spec.num_nodes, 12, generator=torch.Generator().manual_seed(1))
    return states, Batch(truth[:, :2], truth[:, 2:], truth[:, :1, :, :0], torch.zeros(2, 2, dtype=torch.long))


def test_what_stands_on_the_boundary_is_not_scored(tiny_spec) -> None:
    forecast, batch = drawn(tiny_spec, 3)
    broken = forecast.clone()
    broken[:, :, tiny_spec.boundary] = math.nan
    tables = []
    for members in (forecast, broken):
        sums = Accumulator(tiny_spec, 1, members=3)
        sums.add(0, members, batch, batch)
        tables.append([row for row in sums.scores() if not row.metric.startswith("div_b")])
    assert len(tables[0]) > 100
    assert tables[0] == tables[1]


def test_scores_by_hand(tiny_spec) -> None:
    """One window, forecasts one and three standard deviations too high: the mean is off by two."""
    truth = torch.zeros(1, 1, tiny_spec.num_nodes, 12)
    batch = Batch(truth.repeat(1, 2, 1, 1) + 5, truth, truth[..., :0], torch.zeros(1, 2, dtype=torch.long))
    sums = Accumulator(tiny_spec, 1, members=2)
    sums.add(0, torch.cat([truth + 1, truth + 3], dim=1), batch, batch)
    scores, std = sums.scores(), tiny_spec.state.std[0]
    expected = {
        "rmse": 2, "mae": 2, "bias": 2, "persistence_rmse": 5, "persistence_mae": 5, "member_rmse": math.sqrt(5),
        "crps": 1, "spread": math.sqrt(2),
    }  # fmt: skip
    for metric, value in expected.items():
        assert scores.series(metric, "Bx")[1] == pytest.approx([value * std]), metric
    assert scores.series("skill", "mean")[1] == pytest.approx([1 - 2 / 5])
    assert scores.series("spread_skill_ratio", "mean")[1] == pytest.approx([math.sqrt(3 / 2) * math.sqrt(2) / 2])


def test_crps_variable_by_variable_is_the_same(tiny_spec, monkeypatch) -> None:
    forecast, batch = drawn(tiny_spec, 6)
    seen = Sample(Setting(tiny_spec, 6), forecast, batch, batch, 0)
    whole = seen.crps()
    monkeypatch.setattr(sample, "LARGE", 1)
    torch.testing.assert_close(seen.crps(), whole)
