"""The report of a sweep: every score ranks by its own best value, what is no number wins nothing."""

import math
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.diagnostics import DIAGNOSTICS
from spacecast.evaluation.metrics import METRICS
from spacecast.evaluation.scores import ScoreRow, Scores
from spacecast.process.status import write_status
from spacecast.sweep.folder import Sweep, name_runs
from spacecast.sweep.report import write_report


def sweep(folder: Path, metric: str, values: dict[str, list[float]]) -> Path:
    """Finished runs of several widths, one for each seed, with one score each."""
    words = [[f"width={width}", f"seed={seed}"] for width, scores in values.items() for seed in range(len(scores))]
    made = Sweep(folder / "sweep", "spacecast.app.train:COMMAND", tuple(name_runs(words)))
    made.write()
    for run, value in zip(made.runs, chain.from_iterable(values.values()), strict=True):
        rows = [ScoreRow(metric, "mean", "1", lead, "all", value) for lead in (10.0, 20.0)]
        Scores(tuple(rows)).write_csv(made.run_dir(run) / "scores.csv")
        write_status(made.run_dir(run), state="finished")
    return made.folder


def order(text: str) -> list[str]:
    """Widths in the table over seeds, or of the runs where there is one seed."""
    lines = [line.split(" | ") for line in text.split("##")[-1].splitlines() if line.startswith("| ")]
    return [cells[0].strip("| ") for cells in lines[1:] if "---" not in cells[0]]


def test_every_score_that_an_evaluation_writes_is_known(tiny_spec: DataSpec):
    mean = np.zeros((tiny_spec.num_nodes, 12))
    sums = Accumulator(tiny_spec, leads=1, members=2, climatology=mean, climatologies={0: mean})
    states = torch.randn(1, 2, tiny_spec.num_nodes, 12)
    batch = Batch(states, states[:, :1], states[:, :1, :, :0], torch.zeros(1, 2, dtype=torch.long))
    sums.add(0, states, batch, batch)
    known = [metric.name for metric in METRICS]
    found = sums.scores().metrics
    assert found[: len(known)] == known
    assert set(found[len(known) :]) == {"roughness", "extent", "beyond_range"} & {each.name for each in DIAGNOSTICS}


@pytest.mark.parametrize(
    ("metric", "best_first"),
    [
        ("skill", [0.9, 0.2, -3.0]),
        ("correlation", [0.99, 0.5, -0.5]),
        ("rmse", [0.1, 0.5, 2.0]),
        ("member_rmse", [0.1, 0.5, 2.0]),
        ("persistence_mae", [0.1, 0.5, 2.0]),
        ("bias", [-0.1, 0.5, -2.0]),
        ("crps", [0.1, 0.5, 2.0]),
        ("div_b", [0.0, 0.1, 2.0]),
        ("negative_share", [0.0, 0.1, 0.2]),
        ("spread_skill_ratio", [0.9, 1.3, 0.5]),
    ],
)
def test_the_best_comes_first_and_what_is_no_number_last(tmp_path, metric, best_first):
    values = [math.nan, best_first[2], math.inf, best_first[0], -math.inf, best_first[1]]
    folder = sweep(tmp_path, metric, {str(width): [value] * 3 for width, value in enumerate(values)})
    text = write_report(folder, [f"{metric}/mean"])
    assert order(text)[:3] == ["3", "5", "1"]
    assert f"Best by {metric}/mean: width=3." in text
    assert (folder / "report.png").stat().st_size > 0


def test_a_score_without_a_best_value_ranks_nothing(tmp_path):
    text = write_report(sweep(tmp_path, "spread", {"1": [1.0, 2.0], "2": [3.0, 4.0]}), ["spread/mean"])
    assert order(text) == ["1", "2"]
    assert "spread/mean ranks none of them." in text


def test_runs_without_any_number_are_reported(tmp_path):
    folder = sweep(tmp_path, "skill", {"1": [math.nan, 0.5], "2": [math.inf, math.nan]})
    text = write_report(folder, ["skill/mean"])
    assert "| 1 | 2 | nan |" in text
    assert "skill/mean ranks none of them." in text
    assert "nan" in (folder / "report.csv").read_text()


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ([0.5, 0.51], [0.1, 0.11], "Too few seeds to tell a difference from chance"),
        ([0.5, 0.51, 0.49], [0.1, 0.11], "Too few seeds"),
        ([0.5, 0.51, 0.49], [0.1, 0.11, 0.09], "is significant (p = "),
        ([0.5, 0.1, 0.9], [0.4, 0.2, 0.6], "is not significant (p = "),
        ([0.5, 0.5, 0.5], [0.4, 0.4, 0.4], "the seeds make no difference"),
        ([0.5, 0.51, 0.49], [math.nan, 0.1, 0.2], "Best by skill/mean: width=1."),
    ],
)
def test_the_verdict_is_that_of_a_test_over_seeds(tmp_path, one, two, said):
    assert said in write_report(sweep(tmp_path, "skill", {"1": one, "2": two}), ["skill/mean"])


def test_the_test_is_welchs(tmp_path):
    """t = 1 / sqrt(var / 3 + var / 3) with var = 1 and 4 degrees of freedom: p = 0.288."""
    one, two = [1.0, 2.0, 3.0], [0.0, 1.0, 2.0]
    assert "(p = 0.29," in write_report(sweep(tmp_path, "skill", {"1": one, "2": two}), ["skill/mean"])


def test_one_run_is_one_run(tmp_path):
    assert "1 run: 1 finished" in write_report(sweep(tmp_path, "skill", {"1": [0.5]}), ["skill/mean"])
