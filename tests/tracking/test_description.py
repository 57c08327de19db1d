"""The description of an experiment explains whatever a run records."""

import re

import pytest
import torch

from spacecast.core.types import ScoreRow
from spacecast.tracking.description import DESCRIPTION
from spacecast.tracking.names import BY_VARIABLE, score_points
from spacecast.training.validation import SCORES, summary

ROWS = [line.strip("| ").split(" | ") for line in DESCRIPTION.splitlines() if line.startswith("| `")]


def explained(name: str) -> bool:
    """Whether a row of the table is that of a metric."""
    told = [text for row in ROWS for text in re.findall(r"`([^`]+)`", row[0])]
    told += [told[told.index(text) - 1] + text.removeprefix("..") for text in told if text.startswith("..")]
    ends = {r"\.\.": r"\w+", "VARIABLE": r"\w+", "SPLIT": "(?:test|scores_val)"}
    patterns = [re.escape(text) for text in told]
    for word, pattern in ends.items():
        patterns = [each.replace(word, pattern) for each in patterns]
    return any(re.fullmatch(each, name) for each in patterns)


@pytest.mark.parametrize("split", ["test", "scores_val"])
def test_scores_are_explained(split) -> None:
    metrics = [*BY_VARIABLE, "persistence_mae", "correlation"]
    rows = [ScoreRow(metric, name, "1", lead, "all", 0.5) for metric in metrics for name in ("Bx", "mean")
            for lead in (10.0, 20.0)]  # fmt: skip
    names = {point.name for point in score_points([*rows, ScoreRow("div_b", "B", "nT/R_E", 10.0, "all", 1.0)], split)}
    assert len(names) > 10
    assert [name for name in names if not explained(name)] == []


def test_what_a_training_records_is_explained(tiny_spec) -> None:
    means = {name: torch.ones(2, len(tiny_spec.state)) for name in SCORES}
    names = {*summary(means, tiny_spec.state, ensemble=True), "train/loss", "train/epoch"}
    names |= {"train/rollout_steps", "train/lr_factor"}
    assert [name for name in names if not explained(name)] == []


def test_a_metric_that_nobody_explains_is_found() -> None:
    assert not explained("val/unknown")


def test_every_row_has_units() -> None:
    assert all(row[2].strip() for row in ROWS)
    assert len(DESCRIPTION) < 5000  # what a tag holds
