"""What an evaluation takes from a checkpoint's configuration: a pure function of what is stored, typed and composed."""

import copy

import pytest

from spacecast.config.stored import anchored, merged
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
}


def complete(composed: dict, words: list[str], stored: dict = STORED) -> dict:
    """The configuration of the evaluation; what is handed over stays as it is."""
    before = copy.deepcopy((composed, stored))
    result = merged(composed, stored, words, "x")
    assert (composed, stored) == before
    return result


def test_what_shaped_the_model_comes_from_the_checkpoint():
    found = complete(COMPOSED, [])
    assert found["model"] == STORED["model"]
    assert found["evaluation"]["steps"] == 10
    assert (found["seed"], found["logger"]["_target_"], found["paths"]) == (5, "New", COMPOSED["paths"])
    assert found["checkpoint"] == "run"


def test_the_tracked_run_is_named_after_the_training_that_is_scored():
    """Not after the default model, which has nothing to do with it."""
    assert complete(COMPOSED, [])["logger"]["run_name"] == "Model-evaluate"
    stored = {**STORED, "logger": {"_target_": "Old", "run_name": "graph_efm-simple"}}
    assert complete(COMPOSED, [], stored)["logger"]["run_name"] == "graph_efm-simple-evaluate"
    typed = {**COMPOSED, "logger": {"_target_": "New", "run_name": "mine"}}
    assert complete(typed, ["logger.run_name=mine"])["logger"]["run_name"] == "mine"
    assert complete({**COMPOSED, "logger": None}, [])["logger"] is None


def test_the_chosen_members_are_those_of_the_training_but_for_the_typed_ones():
    composed = {**COMPOSED, "logger": {"_target_": "New", "choices": {"model": "graph_unet", "graph": "simple"}}}
    stored = {**STORED, "logger": {"_target_": "Old", "choices": {"model": "keisler", "graph": "multiscale"}}}
    found = complete(composed, ["graph=simple"], stored)["logger"]["choices"]
    assert found == {"model": "keisler", "graph": "simple"}
    assert complete(composed, [])["logger"]["choices"] == {"model": None, "graph": None}  # it does not say


def test_typed_values_win_one_by_one():
    found = complete(COMPOSED, ["++evaluation.steps=4", "++datastore.runs=[2]", "checkpoint=run"])
    assert found["evaluation"] == {**STORED["evaluation"], "steps": 4}
    assert found["datastore"]["runs"] == [2]
    assert found["datastore"]["boundary"] == {"x_min": 27}
    assert STORED["evaluation"]["steps"] == 10


def test_a_typed_member_wins_as_a_whole_and_brings_its_own_way_to_make_data():
    composed = {key: value for key, value in COMPOSED.items() if key != "simulation"}
    found = complete(composed, ["datastore=vlasiator", "++datastore.runs=[2]"])
    assert found["datastore"] == COMPOSED["datastore"]
    assert "simulation" not in found


def test_data_that_were_not_simulated_are_not_simulated_now():
    stored = {name: section for name, section in STORED.items() if name != "simulation"}
    assert complete(COMPOSED, [], stored)["simulation"] is None
    assert complete(COMPOSED, ["datastore=magnetosphere"], stored)["simulation"] == COMPOSED["simulation"]


def test_deleted_and_added_keys():
    assert "split" not in complete({**COMPOSED, "evaluation": {}}, ["~evaluation.split"])["evaluation"]
    assert complete(COMPOSED, ["++model.new=1"])["model"] == {**STORED["model"], "new": 1}


def test_data_that_were_moved_are_followed():
    assert complete(COMPOSED, [])["datastore"]["root"] == "/now/magnetosphere"
    assert complete(COMPOSED, [])["simulation"]["root"] == "/now/magnetosphere"


def test_data_that_are_still_there_are_used_unless_another_folder_is_typed(tmp_path):
    there = {"paths": {"data_dir": str(tmp_path)}, "datastore": {"root": f"{tmp_path}/a"}, "simulation": None}
    stored = {**STORED, **there}
    assert complete(COMPOSED, [], stored)["datastore"]["root"] == f"{tmp_path}/a"
    assert complete(COMPOSED, ["paths.data_dir=/now"], stored)["datastore"]["root"] == "/now/a"


def test_data_that_are_named_are_not_simulated():
    assert complete(COMPOSED, ["++datastore.root=/now/magnetosphere"])["simulation"] is None
    assert (
        complete(COMPOSED, ["++datastore.root=/now/magnetosphere", "++simulation.root=/now"])["simulation"] is not None
    )


def test_a_typed_evaluation_keeps_what_the_training_stored():
    """Its own keys come with it, those that it lacks go, and what is typed wins."""
    many = {"_target_": "evaluate", "steps": 10, "split": "test", "members": 6}
    found = complete({**COMPOSED, "evaluation": many}, ["evaluation=ensemble"])
    assert found["evaluation"] == {**many, "steps": STORED["evaluation"]["steps"]}
    found = complete({**COMPOSED, "evaluation": {**many, "steps": 7}}, ["evaluation=ensemble", "++evaluation.steps=7"])
    assert found["evaluation"] == many | {"steps": 7}
    stored = {**STORED, "evaluation": {**many, "steps": 3}}
    found = complete(COMPOSED, ["evaluation=deterministic"], stored)
    assert found["evaluation"] == {**COMPOSED["evaluation"], "steps": 3}
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
