"""experiment=paper/...: the published trainings, by the facts of arXiv 2601.12614."""

import shutil
from pathlib import Path

import pytest
import torch

from spacecast.config.build import build
from spacecast.config.check import check_config
from spacecast.config.compose import compose, conf_dir, group_members, job_part, to_plain
from spacecast.config.schema import Train
from spacecast.core.types import Stage

PRESETS = [f"graph_{model}_{graph}" for model in ("fm", "efm") for graph in ("simple", "multiscale", "hierarchical")]
PARAMETERS = {
    "graph_fm_simple": 6_648_076,
    "graph_fm_multiscale": 6_648_076,
    "graph_fm_hierarchical": 31_147_788,
    "graph_efm_simple": 9_028_876,
    "graph_efm_multiscale": 9_028_876,
    "graph_efm_hierarchical": 23_390_988,
}


def composed(name, *words):
    """The configuration of a preset in plain types."""
    return to_plain(job_part(compose("train", [f"experiment=paper/{name}", "datastore.root=DIR", *words], conf_dir())))


def test_there_are_no_others():
    found = group_members([conf_dir()])["experiment"]
    assert {name for name in found if name.startswith("paper/")} == {f"paper/{name}" for name in PRESETS}


@pytest.mark.parametrize("name", PRESETS)
def test_settings_are_the_published_ones(name):
    plain = composed(name)
    check_config(plain, Train)
    model, loss, trainer = plain["model"], plain["loss"], plain["trainer"]
    hierarchical, latent = name.endswith("hierarchical"), "efm" in name
    assert plain["datastore"]["statistics"] == "stored"
    assert plain["datastore"]["boundary"] is None
    assert plain.get("simulation") is None
    assert (plain["graph"]["layout"], plain["graph"]["coarsening"]) == (name.rpartition("_")[2], 5)
    assert plain["graph"]["levels"] == (1 if name.endswith("simple") else 3)
    assert (model["hidden_dim"], model["decode_dim"], model["hidden_layers"]) == (256, 128, 1)
    assert model["processor_layers"] == (6 if hierarchical else 12)
    assert (model["inputs"], model["trend"], model["predict_std"]) == ("states", 0.0, False)
    assert (model["lower"], model["upper"]) == (None, None)
    assert (loss["loss"], loss["reduction"], loss["recompute"]) == ("wmse", "reference", True)
    assert (plain["optimizer"]["lr"], plain["optimizer"]["betas"]) == (1e-3, [0.9, 0.95])
    assert plain["optimizer"]["weight_decay"] == 0.01
    assert (trainer["precision"], trainer["max_epochs"], trainer["gradient_clip_val"]) == ("bf16-mixed", 250, None)
    assert plain["data"]["batch_size"] == 1
    if latent:
        assert (model["prior"], model["prior_distribution"], model["latent_dim"]) == ("learned", "isotropic", None)
        assert (model["encoder_layers"], model["prior_layers"], model["scale_increments"]) == (1, 1, False)
        weights = [loss[f"{term}_weight"] for term in ("reconstruction", "kl", "crps", "mean", "div")]
        assert weights == [1, 1, 1e5 if hierarchical else 1e6, 0, 1e7]
        assert plain["evaluation"]["members"] == 5
    else:
        assert (model["vertical"], model["aggregation"]) == ("propagation", "sum")
        assert model["accepts"] == ("hierarchical" if hierarchical else "flat")
        assert loss["div_weight"] == 10


@pytest.mark.parametrize("name", ["graph_fm_simple", "graph_efm_hierarchical"])
def test_stages_are_the_published_ones(name):
    schedule = build(composed(name)["schedule"])
    if "efm" in name:
        firsts = {0: Stage(1, 1, kl=0, crps=0, div=0), 100: Stage(1, 1, kl=1, crps=0, div=0)}
        lasts = {200: Stage(0.1, 4, kl=1, crps=1, div=0), 225: Stage(0.1, 4, kl=1, crps=1, div=1)}
        ramp = 150
    else:
        firsts = {0: Stage(1, 1, div=0), 174: Stage(1, 1, div=0)}
        lasts = {224: Stage(0.1, 4, div=0), 225: Stage(0.1, 4, div=1), 249: Stage(0.1, 4, div=1)}
        ramp = 175
    assert {epoch: schedule.at(epoch) for epoch in firsts | lasts} == firsts | lasts
    assert (schedule.at(ramp - 1).lr_factor, schedule.at(ramp).lr_factor) == (1, 0.1)
    assert schedule.at(ramp).rollout_steps == 2


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_as_many_as_published(name, tiny_spec, tiny_grid, graph_factory):
    graph = graph_factory(tiny_grid, 3 if name.endswith("hierarchical") else 1)
    with torch.device("meta"):
        model = build(composed(name)["model"])(spec=tiny_spec, graph=graph)
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[name]


def test_stored_graphs_take_the_place_of_the_recipe():
    plain = composed("graph_fm_hierarchical", "graph=stored", "graph.path=x")
    check_config(plain, Train)
    assert plain["graph"] == {"_target_": "spacecast.graphs.stored.StoredGraph", "path": "x"}


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("paper/graph_fm_smple", "paper/graph_fm_simple"),
        ("graph_efm_multiscale", "paper/graph_efm_multiscale"),
        ("papr/graph_efm_simple", "paper/graph_efm_simple"),
    ],
)
def test_a_misspelt_preset_gets_the_nearest_name(run, typed, hint):
    result = run("spacecast-train", f"experiment={typed}")
    assert (result.code, result.line.endswith(f"did you mean {hint!r}?")) == (2, True), result.line


def test_the_help_lists_nested_presets(run):
    result = run("spacecast-train", "--help", "experiment=paper/graph_fm_simple")
    assert "paper/graph_fm_simple*" in result.out
    assert "paper/graph_efm_hierarchical" in result.out


@pytest.fixture
def copied(reference_dir, tmp_path_factory) -> Path:
    """A data folder that may be written to."""
    return Path(shutil.copytree(reference_dir / "data", tmp_path_factory.mktemp("published") / "data"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_reduced_size_runs_dry(run, workplace, copied, name, monkeypatch):
    monkeypatch.setattr("spacecast.app.dryrun.REPEATS", 1)
    words = ["model.hidden_dim=8", "model.decode_dim=4", "model.processor_layers=1", "trainer.accelerator=cpu"]
    words += ["evaluation.steps=4", "graph.coarsening=3", "schedule.rollout_steps=2", "dry_run=true"]
    result = run("spacecast-train", f"experiment=paper/{name}", f"datastore.root={copied}", *words)
    assert (result.code, result.err) == (0, "")
    assert "steps       " in result.out
    assert "in 250 epochs" in result.out
