"""Every preset of conf/ takes real optimiser steps, and every trainer, optimiser and precision trains to its scores."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from spacecast.checkpoint.content import load_checkpoint
from spacecast.config.compose import conf_dir, group_members
from spacecast.data.datastore import RunDatastore
from spacecast.graphs.reference import ReferenceGraph
from spacecast.tracking.store import load_mlflow
from spacecast.training.averaging import KEY
from spacecast.training.precision import PRECISIONS

PAPER = [f"graph_{model}_{graph}" for model in ("fm", "efm") for graph in ("simple", "multiscale", "hierarchical")]
REFERENCE = ["graph.coarsening=3"]
EFM = ["model=graph_efm", "graph=multiscale"]
ELBO = ["loss.members=2", "loss.crps_weight=1", "loss.div_weight=0.1"]
VLASIATOR = ["datastore=vlasiator", "datastore.root=RAW", "simulation=none"]

# Each member of each group is somewhere in these command lines.
STEPS = {
    "Graph-FM": ["model=graph_fm", "graph=simple", "loss=wmse", "schedule=graph_fm", "trainer=auto", "logger=csv"],
    "GraphCast": ["model=graphcast", "graph=multiscale", "loss=wmae", "schedule=constant", "trainer=gpu"],
    "Keisler": ["model=keisler", "graph=simple", "loss=mse", "trainer=ddp", "logger=mlflow", "experiment=none"],
    "local operators": ["model=graph_unet", "model.blocks=1", "schedule=own_states", "loss=wmse_rollout"],
    "convolutions": ["model=grid_unet", "model.blocks=1", "loss=huber"],
    "levels": ["model=graph_fm", "graph=hierarchical", "loss=mae", "trainer=debug", "logger=none"],
    "likelihood": ["model=graph_fm", "model.predict_std=true", "graph=reference", *REFERENCE, "loss=nll"],
    "CRPS": ["model=graph_fm", "model.predict_std=true", "graph=reference_multiscale", *REFERENCE, "loss=crps_gauss"],
    "Graph-EFM": [*EFM, "loss=ensemble_crps", "schedule=ensemble", "evaluation=ensemble", "trainer=cpu"],
    "bound": [*EFM, "graph=reference_hierarchical", *REFERENCE, "loss=elbo", *ELBO, "schedule=graph_efm"],
    "stored graph": ["graph=stored", "graph.path=FILES", "datastore=magnetosphere"],
    "raw runs": [*VLASIATOR, "optimizer=adamw", "data=windows", "evaluation=deterministic", "launcher=local"],
    "one raw run": ["datastore=vlasiator_small", "datastore.root=RAW", "datastore.runs=[1]"],
    "ensemble": ["experiment=ensemble", "schedule=ensemble_rollout", "model.blocks=1"],
    "smoke": ["experiment=smoke", "datastore.root=DATA/magnetosphere", "model.blocks=1"],
    "short": ["experiment=short", "model.blocks=1"],
    "long": ["experiment=long", "model.blocks=1"],
    "no weights": ["model=persistence"],
}
ABLATIONS = {name for name in group_members([conf_dir()])["experiment"] if name.startswith("ablation/")}
ELSEWHERE = {  # below, tests/app/test_experiments.py, tests/slurm
    "experiment": {f"paper/{name}" for name in PAPER} | {"leave_one_out", "ablation"} | ABLATIONS,
    "launcher": {"slurm", "slurm_debug"},  # tests/slurm
    "paths": {"default"},
    "simulation": {"magnetosphere"},
}
GROUPS = {
    "datastore", "simulation", "graph", "model", "loss", "schedule", "optimizer", "data", "trainer", "logger",
    "evaluation", "launcher", "paths", "experiment",
}  # fmt: skip


def test_no_preset_is_left_out():
    chosen = [word.partition("=")[::2] for words in STEPS.values() for word in words]
    members_of = {name: members for name, members in group_members([conf_dir()]).items() if "hydra" not in name}
    assert members_of.keys() == GROUPS
    for group, members in members_of.items():
        found = {member for name, member in chosen if name == group} | ELSEWHERE.get(group, set())
        assert set(members) - {"default"} <= found, group


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr("spacecast.app.dryrun.REPEATS", 1)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def counted(monkeypatch) -> list[torch.dtype]:
    """Precision of the weights in each step of AdamW on a model."""
    steps = []
    original = torch.optim.AdamW.step

    def step(optimizer, *arguments, **keywords):
        weights = optimizer.param_groups[0]["params"]
        steps.extend([weights[0].dtype] * (len(weights) > 1))
        return original(optimizer, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return steps


@pytest.fixture(scope="session")
def raw(tiny_data, tmp_path_factory) -> Path:
    """The raw runs of `tiny_data` in a folder of their own."""
    return Path(shutil.copytree(tiny_data / "magnetosphere", tmp_path_factory.mktemp("raw") / "runs"))


@pytest.fixture(scope="session")
def places(tiny_data, raw, write_graph, tmp_path_factory) -> dict[str, Path]:
    """What stands in `STEPS` for folders: all data, raw runs only, a published graph for their grid."""
    grid = RunDatastore(tiny_data / "magnetosphere").spec.grid
    graph = ReferenceGraph("simple", coarsening=3, levels=1).build(grid)
    return {"RAW": raw, "DATA": tiny_data, "FILES": write_graph(graph, tmp_path_factory.mktemp("stored") / "graph")}


@pytest.mark.parametrize("name", STEPS)
def test_a_dry_run_takes_real_steps_and_leaves_nothing(name, run, small, workplace, counted, places):
    words = STEPS[name]
    for sign, place in places.items():
        words = [word.replace(sign, str(place)) for word in words]
    sizes = [word.replace("+simulation", "++simulation") for word in small if "RAW" not in "".join(STEPS[name])]
    sizes += [word for word in small if not word.lstrip("+").startswith("simulation.")]
    chosen = {word.partition("=")[0] for word in words}
    sizes = [word for word in sizes if word.partition("=")[0] not in chosen]
    if "model=persistence" in words:
        sizes = [word for word in sizes if not word.startswith("model.")]
    if "model.blocks=1" in words:
        sizes = [word for word in sizes if not word.startswith(("model=", "model.processor_layers"))]
    before = set(workplace.rglob("*"))
    result = run("spacecast-train", *sizes, *words, "trainer.accelerator=cpu", "dry_run=true", "evaluation.steps=2")
    assert (result.code, result.err) == (0, "")
    assert "predicted time" in result.out
    assert bool(counted) == (name != "no weights")
    assert set(workplace.rglob("*")) <= before | {workplace / "runs"}


@pytest.mark.parametrize("name", PAPER)
def test_a_published_training_at_reduced_size_takes_real_steps(name, run, tiny_data, raw, counted):
    words = ["model.hidden_dim=8", "model.decode_dim=4", "model.processor_layers=1", "graph.coarsening=3"]
    words += ["trainer.accelerator=cpu", "evaluation.steps=2", "logger=none", "dry_run=true"]
    words += [f"datastore.root={raw}", f"paths.data_dir={tiny_data}", "data.val_steps=2", "schedule.rollout_steps=2"]
    result = run("spacecast-train", f"experiment=paper/{name}", *words)
    assert (result.code, result.err) == (0, "")
    assert "precision bf16-mixed" in result.out
    assert "in 250 epochs" in result.out
    assert counted


TRAINERS = {
    "auto": ["trainer.accelerator=cpu"],
    "cpu": ["trainer.precision=64-true"],
    "gpu": ["trainer.accelerator=cpu"],
    "ddp": ["trainer.accelerator=cpu"],
    "debug": ["trainer.precision=bf16-true", "trainer.max_epochs=2"],
    "cpu again": ["trainer.precision=16-true"],
}
STORED = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_trains_scores_and_goes_on(name, run, small, workplace, counted):
    words = [*small, f"trainer={name.split()[0]}", *TRAINERS[name], "paths.run_dir=r", "schedule.epochs=2"]
    precision = next((word.partition("=")[2] for word in words if word.startswith("trainer.precision=")), "")
    for epochs in (1, 2):
        result = run("spacecast-train", *words, f"trainer.max_epochs={epochs}")
        assert (result.code, result.err) == (0, "")
        content = load_checkpoint(workplace / "r" / "checkpoints" / "last.ckpt")
        assert (content["epoch"], len(counted)) == (epochs - 1, epochs)
        weights, averages = content[KEY].values(), content["state_dict"].values()
        kind = STORED.get(precision, torch.float32)
        assert {value.dtype for value in weights} == {kind}
        assert {value.dtype for value in averages} == {torch.promote_types(kind, torch.float32)}
        assert all(value.isfinite().all() for value in (*weights, *averages))
    scores = (workplace / "r" / "scores.csv").read_text()
    assert "nan" not in scores
    shares = [line.rpartition(",")[2] for line in scores.splitlines() if line.startswith("negative_share,")]
    assert shares  # the default limits
    assert set(map(float, shares)) == {0.0}
    again = run("spacecast-evaluate", "checkpoint=r", "logger=none", "trainer.accelerator=cpu", "paths.run_dir=e")
    assert (again.code, (workplace / "e" / "scores.csv").read_text()) == (0, scores)


def test_all_trainers_and_precisions_were_among_them():
    assert {name.split()[0] for name in TRAINERS} == set(group_members([conf_dir()])["trainer"])
    mixed = {"32-true", "bf16-mixed", "16-mixed"}  # auto; gpu and ddp; a GPU alone, see tests/training
    assert mixed | STORED.keys() == set(PRECISIONS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed needs a GPU; on a processor take bf16-mixed"),
        (["trainer.precision=transformer-engine"], "trainer.precision=transformer-engine: there is no such"),
        (["optimizer._target_=torch.optim.SparseAdam"], "optimizer: SparseAdam does not support dense gradients"),
        (["optimizer._target_=torch.optim.Muon"], "optimizer: Muon only supports 2D parameters"),
        (["optimizer._target_=torch.nn.Identity"], "makes no torch optimiser with a learning rate"),
        (["optimizer._target_=torch.optim.RMSprop", "optimizer.betas=[0.9,0.95]"], "unknown key 'optimizer.betas'"),
        (["+optimizer.differentiable=true", "optimizer.fused=false"], "optimizer: a leaf Variable"),
    ],
)
def test_what_a_trainer_cannot_do_is_refused_before_training(words, message, run, small, workplace):
    result = run("spacecast-train", *small, *words, "paths.run_dir=r")
    assert (result.code, message in result.line) == (2, True), result.err
    assert not (workplace / "r").exists()


def test_a_training_that_diverges_fails_in_the_store_and_in_its_folder(run, small, workplace):
    words = [*small, "optimizer.lr=1e20", "data.limit_windows=16", "paths.run_dir=r", "logger=mlflow"]
    words += ["logger.system_metrics_seconds=0"]
    result = run("spacecast-train", *words)
    assert (result.code, "3 steps in a row, first in epoch 1, step 2 (train/loss)" in result.line) == (2, True)
    assert "step 2 (train/loss)" in json.loads((workplace / "r" / "run.json").read_text())["diverged"]
    client = load_mlflow().MlflowClient(f"sqlite:///{workplace}/mlflow.db")
    [found] = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert (found.info.status, "step 2 (train/loss)" in found.data.tags["error"]) == ("FAILED", True)
    assert not (workplace / "r" / "scores.csv").exists()
    assert run("spacecast-train", *words[:-1], "logger=none", "paths.run_dir=u").code == 2
    assert {path.name for path in (workplace / "u").iterdir()} >= {"config.yaml", "run.json", "train.log"}
