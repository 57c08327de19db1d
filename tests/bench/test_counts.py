"""What a training step does must not grow: the numbers of `counts.json`, and no time among them."""

import json
from pathlib import Path

import pytest

STORED = json.loads((Path(__file__).parent / "counts.json").read_text())
SLACK = {"bytes allocated": 1.01}  # some kernels lay out their results as the processor likes it


@pytest.mark.parametrize("model", STORED)
def test_a_training_step_does_no_more_than_it_did(bench, model):
    """More is a mistake, or worth it: then `python scripts/bench/counts.py --write` keeps the new numbers."""
    found = bench("counts").counted(model)
    grown = {
        name: f"{count} instead of {STORED[model][name]}"
        for name, count in found.items()
        if count > STORED[model][name] * SLACK.get(name, 1)
    }
    assert not grown
