"""The commands on real, tiny data: dry run, training, evaluation, graph, data."""

import csv
from pathlib import Path

import pytest
import torch
import xarray as xr
import yaml

from spacecast.checkpoint.content import load_checkpoint


def rows(folder: Path) -> dict[tuple[str, str, float], float]:
    """Scores of the whole domain by metric, variable and lead."""
    with (folder / "scores.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["region"] == "all"]
    return {(line["metric"], line["variable"], float(line["lead_s"])): float(line["value"]) for line in lines}


def test_a_dry_run_predicts_and_leaves_nothing(run, workplace, small):
    result = run("spacecast-train", *small, "dry_run=true", "trainer.max_epochs=3")
    assert result.code == 0, result.err
    for text in (
        "parameters",
        "peak memory",
        "seconds per step",
        "predicted time",
        "optimiser steps       3 in 3 epochs",
    ):
        assert text in result.out
    assert list(workplace.iterdir()) == []


def test_persistence_has_nothing_to_train_and_is_scored(run, workplace, small, monkeypatch):
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    words = ["model=persistence", *(word for word in small if not word.startswith(("model.", "model=")))]
    dry = run("spacecast-train", *words, "dry_run=true", "trainer.max_epochs=1")
    assert (dry.code, "in 1 epoch\n" in dry.out) == (0, True)
    (line,) = (line for line in dry.out.splitlines() if line.startswith("seconds per step"))
    assert line.count(" of 1") == 1
    result = run("spacecast-train", *words, "paths.run_dir=run")
    assert (result.code, result.err) == (0, "")
    scores = rows(workplace / "run")
    for (metric, variable, lead), value in scores.items():
        if metric == "rmse":
            assert value == pytest.approx(scores["persistence_rmse", variable, lead], rel=1e-5)


def test_after_a_training_the_wind_that_it_has_not_seen_is_scored(run, workplace, small, no_pictures):
    """Its run is added to the data, neither trained on nor in their statistics, and all of its frames are scored."""
    own = ("paths.data_dir", "evaluation.steps", "simulation.test_seed", "model.", "model=")
    words = ["model=persistence", *(word for word in small if not word.startswith(own)), "paths.data_dir=data"]
    before = run("spacecast-train", *words, "simulation.test_seed=null", "evaluation.steps=2", "paths.run_dir=before")
    assert (before.code, "split test" in before.out) == (0, True), before
    after = run("spacecast-train", *words, "simulation.test_seed=9", "evaluation.windows=4", "paths.run_dir=after")
    assert (after.code, after.err) == (0, "")
    assert "runs 1, unseen (held out)" in after.out
    assert "RMSE / persistence, 4 forecasts of run unseen (held out), all frames" in after.out
    assert "climatology: mean of run 1 for run unseen" in after.out
    one, two = (xr.load_dataset(workplace / name / "scores.nc", decode_timedelta=False) for name in ("before", "after"))
    assert one.attrs["data_hash"] == two.attrs["data_hash"]
    assert (two.sizes["lead_time"], set(two["start_run"].values)) == (18, {"unseen"})
    again = run("spacecast-train", *words, "simulation.test_seed=null", "evaluation.split=test", "paths.run_dir=again")
    assert (again.code, "of run 1, split test" in again.out) == (0, True), again


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """Pictures take longer than these forecasts."""
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])


@pytest.fixture
def trained(run, workplace, small) -> Path:
    """A run folder."""
    result = run("spacecast-train", *small, "evaluation.examples=1", "paths.run_dir=trained")
    assert (result.code, result.err) == (0, "")
    assert "RMSE / persistence" in result.out
    return workplace / "trained"


@pytest.mark.slow
def test_train_then_evaluate_gives_the_same_scores(run, workplace, trained, no_pictures):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "train.log", "scores.csv", "checkpoints", "figures", "examples.zarr"} <= names
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    }
    assert {"rmse.png", "skill.png", "example_0_lead_2.png"} <= {path.name for path in (trained / "figures").iterdir()}
    stored = load_checkpoint(trained)["spacecast"]["config"]
    assert stored == yaml.safe_load((trained / "config.yaml").read_text())
    assert "epoch 2/2" in (trained / "train.log").read_text()

    first = rows(trained)
    assert {metric for metric, _, _ in first} >= {
        "rmse",
        "mae",
        "bias",
        "correlation",
        "div_b",
        "persistence_rmse",
        "skill",
    }
    assert {lead for _, _, lead in first} == {15.0, 30.0}
    result = run("spacecast-evaluate", "checkpoint=trained", "logger=none", "trainer=cpu", "paths.run_dir=again")
    assert (result.code, result.err) == (0, "")
    assert rows(workplace / "again") == pytest.approx(first, rel=1e-5)

    result = run(
        "spacecast-evaluate", "checkpoint=trained/checkpoints/last.ckpt", "logger=none", "trainer=cpu",
        "evaluation.steps=1", "evaluation.windows=1", "evaluation.split=val", "paths.run_dir=other",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert {lead for _, _, lead in rows(workplace / "other")} == {15.0}
    assert yaml.safe_load((workplace / "other" / "config.yaml").read_text())["evaluation"]["split"] == "val"

    for words, message in (
        (["model.hidden_dim=16"], "do not fit"),
        (["model.hiden_dim=16"], "did you mean 'model.hidden_dim'?"),
        (["evaluation.steps=99"], "evaluation.steps=99"),
    ):
        result = run("spacecast-evaluate", "checkpoint=trained", "logger=none", "paths.run_dir=bad", *words)
        assert (result.code, message in result.line) == (2, True), result.err
        assert not (workplace / "bad").exists()


def test_the_same_seed_gives_the_same_weights(run, workplace, small, no_pictures):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = [*small, "trainer.max_epochs=1", "evaluation.windows=1"]
        assert run("spacecast-train", *words, f"seed={seed}", f"paths.run_dir={name}").code == 0
        weights.append(load_checkpoint(workplace / name)["state_dict"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_spacecast_graph_draws(run, workplace, small):
    words = [word for word in small if word.startswith(("paths.", "simulation.", "+simulation."))]
    result = run("spacecast-graph", *words, "graph=multiscale", "paths.run_dir=graph")
    assert (result.code, result.err) == (0, "")
    assert "m2m_0" in result.out
    assert (workplace / "graph" / "graph.png").stat().st_size > 1000


def test_spacecast_data_simulates_prepares_and_inspects(run, workplace):
    words = ["datastore.root=mine", "picture=look.png"]
    sizes = ["+simulation.nx=48", "+simulation.nz=32", "+simulation.frames=20", "+simulation.spinup_coarse=0"]
    sizes += ["+simulation.spinup_fine=0"]
    result = run("spacecast-data", "simulate", "preset=tiny", "simulation.densities=[1.0]", *sizes, words[0])
    assert (result.code, result.err) == (0, "")
    assert run("spacecast-data", "prepare", words[0]).code == 0
    result = run("spacecast-data", "inspect", *words)
    assert (result.code, result.err) == (0, "")
    assert "rho" in result.out
    assert {path.name for path in workplace.iterdir()} == {"mine", "look.png"}


def test_a_logger_that_fails_stops_nothing(run, workplace, small, no_pictures):
    words = [word for word in small if word != "logger=none"]
    words += ["logger.tracking_uri=sqlite:////dev/null/mlflow.db", "trainer.max_epochs=1"]
    result = run("spacecast-train", *words, "paths.run_dir=run")
    assert (result.code, result.err) == (0, "")
    assert (workplace / "run" / "scores.csv").exists()


@pytest.mark.slow
def test_the_smoke_experiment_with_tracking(run, workplace):
    result = run("spacecast-train", "experiment=smoke", "paths.run_dir=smoke")
    assert (result.code, result.err) == (0, "")
    assert (workplace / "data" / "smoke" / "vlasiator_run_2.zarr").is_dir()
    assert (workplace / "mlflow.db").exists()

    from spacecast.tracking.store import load_mlflow

    client = load_mlflow().MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    (recorded,) = client.search_runs([client.get_experiment_by_name("spacecast").experiment_id])
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["settings/model/hidden_dim"] == "16"
    assert {"data_hash", "graph_hash", "command"} <= set(recorded.data.tags)
    history = client.get_metric_history(recorded.info.run_id, "test_rmse_by_lead_s/Bx")
    assert [point.step for point in history] == [15, 30, 45]
    assert len([name for name in recorded.data.metrics if not name.startswith("system/")]) < 80
    assert recorded.info.run_name == "graph_unet smoke"
    chosen = {"model": "graph_unet", "graph": "none", "loss": "wmse_rollout", "datastore": "magnetosphere"}
    assert chosen.items() <= recorded.data.params.items()
    assert int(recorded.data.params["parameters"]) > 1000
    artifacts = Path(recorded.info.artifact_uri)
    assert (artifacts / "checkpoints" / "best.ckpt").is_file()
    assert (artifacts / "skill.png").is_file()
