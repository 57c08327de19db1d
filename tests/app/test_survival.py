"""Runs that are hit by signals at any moment end as if nothing had happened."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spacecast.training.checkpoint import load_checkpoint

Starter = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """starter(words, hits=[(event, seconds, signal)]) -> exit code and events."""
    folder = tmp_path_factory.mktemp("starter")
    script = Path(__file__).with_name("starter.py")
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script), str(folder)], **options) as process:

        def start(words: list[str], hits: Any = (), **environment: str) -> dict[str, Any]:
            order = {"words": words, "hits": list(hits), "log": str(folder / "log"), "environment": environment}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            text = (folder / "log").read_text()
            (folder / "log").unlink()
            return {**answer, "log": text, "folder": folder}

        yield start
        process.stdin.close()


EPOCHS, BATCHES = 7, 4
MODELS = {
    "graph_fm": ["loss=mse", "schedule=graph_fm", "schedule.switches=[0.3,0.6]"],
    "graph_efm": [
        "model=graph_efm", "model.latent_dim=4", "model.decode_dim=8", "model.prior=learned", "loss=elbo",
        "loss.kl_weight=0.1", "loss.crps_weight=1", "loss.div_weight=0.1",
        "schedule=graph_efm", "schedule.switches=[0.15,0.4,0.6,0.85]", "evaluation=deterministic",
    ],
}  # fmt: skip


def words_of(small: list[str], model: str, run_dir: str) -> list[str]:
    """A short training with a checkpoint after every step."""
    options = [f"trainer.max_epochs={EPOCHS}", "data.limit_windows=8", "data.batch_size=2", "evaluation.windows=1"]
    options += ["trainer.checkpoint_minutes=0", f"paths.run_dir={run_dir}"]
    kept = [word for word in small if not word.startswith(("trainer.max_epochs", "data.limit_w", "data.batch_size"))]
    return [*kept, *options, *MODELS[model]]


def same(one: Any, other: Any) -> bool:
    """Whether two nested values hold the same numbers, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def assert_same_end(folder: Path, one: str, other: str) -> None:
    """Weights, optimiser, random numbers, counters and scores of two runs are the same."""
    for name in ("last", "previous", "best"):
        first, second = (load_checkpoint(folder / run / "checkpoints" / f"{name}.ckpt") for run in (one, other))
        for key in ("state_dict", "optimizer_states", "progress", "epoch", "global_step", "WindowDataModule"):
            assert same(first[key], second[key]), (name, key)
    assert (folder / one / "scores.csv").read_bytes() == (folder / other / "scores.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_killed_at_any_moment_it_ends_with_the_same_weights(model, starter, small):
    """Twelve kills each, spread over all epochs and so over all stages, during steps, saves and validations."""
    whole = starter(words_of(small, model, f"{model}_whole"))
    assert whole["code"] == 0, whole["log"]
    steps = [event for event in whole["events"] if event.startswith("batch")]
    assert len(steps) == EPOCHS * BATCHES

    draw = random.Random(model)
    moments = sorted(draw.sample(range(len(steps)), 12))
    assert len({moment // BATCHES for moment in moments}) >= EPOCHS - 2
    words = words_of(small, model, f"{model}_killed")
    for moment in moments:
        result = starter(words, [(f"batch {moment}", draw.uniform(0, 0.06), "SIGKILL")])
        assert result["code"] == -9, result["log"]
    result = starter(words)
    assert result["code"] == 0, result["log"]
    assert "going on from" in result["log"]
    assert_same_end(result["folder"], f"{model}_whole", f"{model}_killed")
    assert not list((result["folder"] / f"{model}_killed" / "checkpoints").glob(".*"))
