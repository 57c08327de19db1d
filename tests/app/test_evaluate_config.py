"""The configuration of an evaluation: the checkpoint's, overridden by what was typed."""

import pytest
import torch

from spacecast.app import evaluate
from spacecast.app.evaluate import complete, load_weights, rewrite
from spacecast.app.stored import anchored
from spacecast.core.errors import UserError

STORED = {
    "paths": {"data_dir": "/before", "run_dir": "/before/run"},
    "datastore": {"_target_": "Store", "root": "/before/magnetosphere", "runs": None, "boundary": {"x_min": 27}},
    "simulation": {"_target_": "simulate", "root": "/before/magnetosphere"},
    "model": {"_target_": "Model", "hidden_dim": 16},
    "evaluation": {"_target_": "evaluate", "steps": 10, "split": "test"},
    "logger": {"_target_": "Old"},
    "seed": 5,
}
COMPOSED = {
    "paths": {"data_dir": "/now", "run_dir": "/now/run"},
    "datastore": {"_target_": "Store", "root": "/now/magnetosphere", "runs": [2], "boundary": {"x_min": 3}},
    "simulation": {"_target_": "simulate", "root": "/now/magnetosphere"},
    "model": {"_target_": "Other", "hidden_dim": 64, "new": 1},
    "evaluation": {"_target_": "evaluate", "steps": 4, "split": "test"},
    "logger": {"_target_": "New", "run_name": "graph_fm-simple"},
    "seed": 1,
    "checkpoint": "run",
    "trust": ["Store", "simulate", "Model", "evaluate"],
}


@pytest.fixture(autouse=True)
def _checkpoint(monkeypatch, tmp_path):
    file = tmp_path / "best.ckpt"
    monkeypatch.setattr(evaluate, "_stored_config", lambda source, modified: (file, STORED))


def test_what_shaped_the_model_comes_from_the_checkpoint(tmp_path):
    merged = complete(COMPOSED, [])
    assert merged["model"] == STORED["model"]
    assert merged["evaluation"]["steps"] == 10
    assert (merged["seed"], merged["logger"]["_target_"], merged["paths"]) == (5, "New", COMPOSED["paths"])
    assert merged["checkpoint"] == str(tmp_path / "best.ckpt")


def test_the_tracked_run_is_named_after_the_training_that_is_scored(monkeypatch, tmp_path):
    """Not after the default model, which has nothing to do with it."""
    assert complete(COMPOSED, [])["logger"]["run_name"] == "Model-evaluate"
    stored = {**STORED, "logger": {"_target_": "Old", "run_name": "graph_efm-simple"}}
    monkeypatch.setattr(evaluate, "_stored_config", lambda source, modified: (tmp_path / "best.ckpt", stored))
    assert complete(COMPOSED, [])["logger"]["run_name"] == "graph_efm-simple-evaluate"
    typed = {**COMPOSED, "logger": {"_target_": "New", "run_name": "mine"}}
    assert complete(typed, ["logger.run_name=mine"])["logger"]["run_name"] == "mine"
    assert complete({**COMPOSED, "logger": None}, [])["logger"] is None


def test_typed_values_win_one_by_one():
    merged = complete(COMPOSED, ["++evaluation.steps=4", "++datastore.runs=[2]", "checkpoint=run"])
    assert merged["evaluation"] == {**STORED["evaluation"], "steps": 4}
    assert merged["datastore"]["runs"] == [2]
    assert merged["datastore"]["boundary"] == {"x_min": 27}
    assert STORED["evaluation"]["steps"] == 10


def test_a_typed_member_wins_as_a_whole_and_brings_its_own_way_to_make_data():
    composed = {key: value for key, value in COMPOSED.items() if key != "simulation"}
    merged = complete(composed, ["datastore=vlasiator", "++datastore.runs=[2]"])
    assert merged["datastore"] == COMPOSED["datastore"]
    assert "simulation" not in merged


def test_data_that_were_not_simulated_are_not_simulated_now(tmp_path, monkeypatch):
    stored = {name: section for name, section in STORED.items() if name != "simulation"}
    monkeypatch.setattr(evaluate, "_stored_config", lambda source, modified: (tmp_path, stored))
    assert complete(COMPOSED, [])["simulation"] is None
    assert complete(COMPOSED, ["datastore=magnetosphere"])["simulation"] == COMPOSED["simulation"]


def test_deleted_and_added_keys():
    assert "split" not in complete({**COMPOSED, "evaluation": {}}, ["~evaluation.split"])["evaluation"]
    assert complete(COMPOSED, ["++model.new=1"])["model"] == {**STORED["model"], "new": 1}


def test_data_that_were_moved_are_followed():
    assert complete(COMPOSED, [])["datastore"]["root"] == "/now/magnetosphere"
    assert complete(COMPOSED, [])["simulation"]["root"] == "/now/magnetosphere"


def test_data_that_are_still_there_are_used_unless_another_folder_is_typed(tmp_path, monkeypatch):
    there = {"paths": {"data_dir": str(tmp_path)}, "datastore": {"root": f"{tmp_path}/a"}, "simulation": None}
    stored = {**STORED, **there}
    monkeypatch.setattr(evaluate, "_stored_config", lambda source, modified: (tmp_path, stored))
    assert complete(COMPOSED, [])["datastore"]["root"] == f"{tmp_path}/a"
    assert complete(COMPOSED, ["paths.data_dir=/now"])["datastore"]["root"] == "/now/a"


def test_stored_keys_pass_hydra_whatever_its_defaults_are():
    words = ["checkpoint=a", "model.width=3", "evaluation.steps=4", "+model.new=1", "datastore=vlasiator", "~data.x"]
    assert rewrite(words) == [
        "checkpoint=a", "++model.width=3", "++evaluation.steps=4", "+model.new=1", "datastore=vlasiator", "~data.x",
    ]  # fmt: skip


def test_weights_of_another_model_are_refused():
    model = torch.nn.Linear(3, 2)
    load_weights(model, torch.nn.Linear(3, 2).state_dict(), "x")
    with pytest.raises(UserError, match=r"weights of best\.ckpt do not fit.*weight"):
        load_weights(model, torch.nn.Linear(4, 2).state_dict(), "best.ckpt")


def test_data_that_are_named_are_not_simulated():
    assert complete(COMPOSED, ["++datastore.root=/now/magnetosphere"])["simulation"] is None
    assert (
        complete(COMPOSED, ["++datastore.root=/now/magnetosphere", "++simulation.root=/now"])["simulation"] is not None
    )


def test_a_typed_evaluation_keeps_what_the_training_stored(monkeypatch, tmp_path):
    """Its own keys come with it, those that it lacks go, and what is typed wins."""
    many = {"_target_": "evaluate", "steps": 10, "split": "test", "members": 6}
    merged = complete({**COMPOSED, "evaluation": many}, ["evaluation=ensemble"])
    assert merged["evaluation"] == {**many, "steps": STORED["evaluation"]["steps"]}
    merged = complete({**COMPOSED, "evaluation": {**many, "steps": 7}}, ["evaluation=ensemble", "++evaluation.steps=7"])
    assert merged["evaluation"] == many | {"steps": 7}
    stored = {**STORED, "evaluation": {**many, "steps": 3}}
    monkeypatch.setattr(evaluate, "_stored_config", lambda source, modified: (tmp_path / "best.ckpt", stored))
    assert complete(COMPOSED, ["evaluation=deterministic"])["evaluation"] == {**COMPOSED["evaluation"], "steps": 3}
    other = {"_target_": "mine", "steps": 5}
    assert complete({**COMPOSED, "evaluation": other}, ["evaluation=mine"])["evaluation"] == other


OLD = {
    **STORED,
    "paths": {"project_dir": "/project", "data_dir": "/before", "run_dir": "/before/run"},
    "datastore": {"_target_": "Store", "root": "set"},
    "simulation": {"_target_": "simulate", "root": "set"},
    "graph": {"_target_": "Stored", "path": "../g"},
}


def test_relative_paths_of_older_checkpoints_are_those_of_the_training(monkeypatch, tmp_path):
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path)
    found = anchored(OLD, [], "x")
    assert (found["datastore"]["root"], found["simulation"]["root"]) == ("/project/set", "/project/set")
    assert found["graph"]["path"] == "/g"
    assert OLD["datastore"]["root"] == "set"
    assert anchored(STORED, [], "x") == STORED
    address = {**OLD, "datastore": {"_target_": "Store", "root": "s3://bucket/set"}}
    assert anchored(address, [], "x")["datastore"] == address["datastore"]


@pytest.mark.parametrize("paths", [None, {}, {"project_dir": "here"}, {"project_dir": 3}])
def test_relative_paths_to_nowhere_are_refused_unless_typed(paths):
    nowhere = {**OLD, "paths": paths, "simulation": None}
    with pytest.raises(UserError, match=r"root=set is relative to a folder unknown; give datastore\.root=DIR"):
        anchored(nowhere, [], "x")
    with pytest.raises(UserError, match=r"graph\.path=\.\./g is relative"):
        anchored(nowhere, ["datastore.root"], "x")
    assert anchored(nowhere, ["datastore", "graph.path"], "x") == nowhere


def test_data_that_are_looked_for_elsewhere_must_be_the_same():
    assert complete(COMPOSED, [])["same_data"]
    for keys in (["datastore.root=/now/a"], ["paths.data_dir=/now"], ["same_data=false"], ["datastore=other"]):
        assert not complete(COMPOSED, keys).get("same_data")
