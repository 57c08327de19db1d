"""Ensembles from a model with noise, made of a deterministic one, by commands."""

import csv
from pathlib import Path

import pytest
import torch

from spacecast.checkpoint.content import find_checkpoint, load_checkpoint, model_weights

ENSEMBLE = ["loss=ensemble_crps", "schedule=ensemble_rollout", "evaluation=ensemble", "evaluation.members=3"]


@pytest.mark.slow
def test_a_deterministic_run_becomes_an_ensemble(run, workplace: Path, small, untrained: Path) -> None:
    words = [*small, *ENSEMBLE, "evaluation.steps=2", "schedule.switches=[0.0,0.5]", f"init_from={untrained / 'fm'}"]
    result = run("spacecast-train", *words, "model.noise={global: 3, local: 2}", "paths.run_dir=made")
    assert result.code == 0, result.err
    names = ", ".join(f"noise.maps.{number}" for number in range(3))
    told = [line for line in result.out.splitlines() if "new, which" in line]
    assert len(told) == 1
    assert told[0].endswith(f"3 weights new, which {untrained / 'fm' / 'checkpoints' / 'best.ckpt'} lacks: {names}")
    assert "val/crps_ratio" in result.out
    weights = model_weights(load_checkpoint(find_checkpoint(workplace / "made")))
    assert all(weights[f"noise.maps.{number}"].any() for number in range(3))
    scores = list(csv.DictReader((workplace / "made" / "scores.csv").open()))
    spread = [float(row["value"]) for row in scores if row["metric"] == "spread" and row["variable"] != "mean"]
    assert spread
    assert all(value > 0 for value in spread)
    words = ["checkpoint=made", "members=2", "steps=2", "logger=none", "paths.run_dir=members"]
    result = run("spacecast-forecast", *words)
    assert result.code == 0, result.err


def test_noise_is_all_that_weights_may_lack(run, workplace: Path, small, untrained: Path) -> None:
    words = [*small, *ENSEMBLE, f"init_from={untrained / 'fm'}", "model.noise={global: 3}", "paths.run_dir=made"]
    result = run("spacecast-train", *words, "model.hidden_dim=12")
    assert result.code == 2
    assert "do not fit: " in result.line
    content = torch.load(untrained / "fm" / "checkpoints" / "best.ckpt", weights_only=True)
    assert not any("noise" in name for name in content["state_dict"])
    content["state_dict"]["model.noise.maps.0"] = torch.zeros(16, 3)
    torch.save(content, workplace / "part.ckpt")
    result = run("spacecast-train", *words, f"init_from={workplace / 'part.ckpt'}")
    assert result.code == 2
    assert "lack noise.maps.1" in result.line


def test_a_model_that_draws_nothing_is_refused_an_ensemble(run, workplace: Path, small) -> None:
    result = run("spacecast-train", *small, *ENSEMBLE[:2], "paths.run_dir=made")
    assert result.code == 2
    assert "loss=ensemble_crps needs a model that draws (model.noise={local: 12}, or model=graph_efm)" in result.line
    assert not (workplace / "made" / "checkpoints").exists()
