"""Data and losses of one's own: the datastore of docs/extend.md and an objective, found by --config-dir alone."""

import os
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contributing import examples, write_files

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.data.contract import check_datastore, members
from spacecast.data.inspection import inspect

TINY = [
    "trainer=cpu", "logger=none", "model=graph_fm", "model.hidden_dim=8", "model.processor_layers=1",
    "data.batch_size=4", "data.val_steps=2", "data.limit_windows=8", "schedule.rollout_steps=2", "evaluation.steps=2",
    "trainer.max_epochs=1", "evaluation.examples=1", "paths.run_dir=run",
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_modules(monkeypatch):
    """Nothing of one test can be imported in the next."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    yield
    for name in ("waves", "absolute"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Path:
    """The files of the examples of docs/extend.md, and an objective beside them."""
    folder = write_files(tmp_path_factory.mktemp("own"), "mine/") / "mine"
    return Path(shutil.copytree(Path(__file__).parent / "own", folder, dirs_exist_ok=True))


@pytest.fixture
def waves(own, monkeypatch):
    """The module of the datastore."""
    monkeypatch.syspath_prepend(own)
    import waves

    return waves


def public(thing: object) -> set[str]:
    """Names of what others may use."""
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_example_has_exactly_the_members_of_the_interface(waves):
    assert set(members()) == public(Datastore) | set(Datastore.__annotations__)
    assert public(waves.Waves()) == set(members())
    check_datastore(waves.Waves())


@pytest.mark.slow
def test_training_evaluation_graph_and_inspection_of_ones_own_data_with_ones_own_loss(own, run, workplace):
    own = ["--config-dir", str(own)]
    result = run("spacecast-train", *own, "datastore=waves", "loss=absolute", "data.workers=1", *TINY)
    assert result.code == 0, result.err
    assert "scoring run late (held out), split test" in result.out  # it offers no split `all`
    scores = (workplace / "run" / "scores.csv").read_text()
    assert "rmse,vx,km/s,10,all," in scores
    words = ["evaluation.runs=holdout", "evaluation.split=val", "logger=none", "paths.run_dir=again"]
    result = run("spacecast-evaluate", *own, "checkpoint=run", *words)
    assert result.code == 0, result.err
    result = run("spacecast-graph", *own, "datastore=waves", "picture=null")
    assert result.code == 0, result.err
    result = run("spacecast-data", "inspect", *own, "datastore=waves", "picture=waves.png")
    assert result.code == 0, result.err
    assert "14 x 12 plane" in result.out
    assert "20 / 8 / 8" in result.out
    assert (workplace / "waves.png").exists()


@pytest.mark.parametrize("action", ["prepare", "download"])
def test_what_is_for_folders_of_runs_is_refused_for_others(own, run, action):
    result = run("spacecast-data", action, "--config-dir", str(own), "datastore=waves")
    assert result.code == 2
    assert "waves.Waves reads no folder of runs" in result.line


@pytest.mark.parametrize("member", members())
def test_a_missing_member_is_named(waves, member):
    store = waves.Waves()

    class Part:
        """All but one."""

    for name in members():
        if name != member:
            setattr(Part, name, getattr(store, name))
    with pytest.raises(UserError, match=rf"^datastore: \S+Part has no {member}, which \S+protocols.py asks"):
        check_datastore(Part())


def spec_of_waves() -> DataSpec:
    """Of the datastore, whose module is in no file when tests are collected."""
    module = types.ModuleType("waves_for_facts")
    exec(examples().files["mine/waves.py"], vars(module))
    return module.Waves().spec


SPEC = spec_of_waves()
FAULTS = {
    "runs that are numbers": ({"train_runs": (1, 2)}, r"train_runs is \(1, 2\), not a tuple of names"),
    "one run as text": ({"holdout_runs": "late"}, r"holdout_runs is 'late'"),
    "no run": ({"train_runs": ()}, "train_runs is empty"),
    "no description": ({"spec": {}}, "spec is a dict, not a DataSpec"),
    "frames that are no number": ({"num_frames": lambda run, split: 3.5}, "num_frames gives 3.5"),
    "double precision": (
        {"read_state": lambda *_: np.zeros((2, 164, 2))},
        r"read_state gives float64 of shape \(2, 164, 2\), not float32 of shape \(2, 164, 2\) \(frame, node",
    ),
    "whole planes": ({"read_state": lambda *_: np.zeros((2, 14, 12, 2), np.float32)}, r"of shape \(2, 14, 12, 2\)"),
    "a list": ({"read_state": lambda *_: [1]}, "read_state gives a list"),
    "a scale of zero": (
        {"spec": replace(SPEC, diff_std=np.array([1.0, 0.0], np.float32))},
        r"spec.diff_std is \[1\. 0\.\], not positive everywhere",
    ),
    "a boundary of numbers": ({"spec": replace(SPEC, boundary=np.zeros(164))}, "spec.boundary is float64 of shape"),
    "statics of planes": ({"spec": replace(SPEC, static_values=np.zeros((14, 12)))}, "spec.static_values is float64"),
    "no forcing": ({"read_forcing": lambda *_: None}, "read_forcing gives a NoneType"),
    "seconds for times": ({"times": lambda *_: np.arange(20.0)}, r"times gives float64 of shape \(20,\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_member_of_another_kind_is_named(waves, fault):
    changes, message = FAULTS[fault]
    store = waves.Waves()
    for name, value in changes.items():
        setattr(store, name, value)
    with pytest.raises(UserError, match=message) as told:
        check_datastore(store)
    assert "\n" not in str(told.value)


def test_a_datastore_without_a_member_ends_a_command_in_one_line(own, run, workplace):
    folder = Path(shutil.copytree(own, workplace / "own"))
    text = (folder / "waves.py").read_text()
    (folder / "waves.py").write_text(text.replace("def read_forcing", "def _read_forcing"))
    result = run("spacecast-train", "--config-dir", "own", "datastore=waves", *TINY)
    assert result.code == 2
    assert "datastore: waves.Waves has no read_forcing" in result.line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluation.split=all"], "evaluation.split=all: the data store has no such split"),
        (["evaluation.steps=50"], "evaluation.steps=50: split 'test' of run late"),
    ],
)
def test_what_ones_own_data_do_not_offer_ends_a_command_in_one_line(own, run, words, message):
    result = run("spacecast-train", "--config-dir", str(own), "datastore=waves", *TINY, *words)
    assert result.code == 2
    assert message in result.line


def test_data_that_are_only_scored_need_no_training_split(waves, monkeypatch):
    store = waves.Waves()
    count = store.num_frames

    def num_frames(run, split):
        if split == "train":
            raise UserError("there is no split 'train'")
        return count(run, split)

    store.num_frames = num_frames
    check_datastore(store)


def test_inspection_finds_faults_in_any_datastore(waves):
    store = waves.Waves()
    read = store.read_state
    store.read_state = lambda *place: np.where(np.arange(2) == 1, np.nan, read(*place)).astype(np.float32)
    report = inspect(store)
    assert not report.ok
    assert "rho is NaN or infinite" in report.errors[0]
    frozen = waves.Waves(amplitude=2.0)
    first = frozen.read_state("wave0", "train", 0, 1)
    frozen.read_state = lambda run, split, start, stop: np.repeat(first, stop - start, axis=0)
    assert any("no variable changes in time" in text for text in inspect(frozen, ["wave1"]).errors)


@pytest.mark.parametrize("place", ["in it", "beside it", "PYTHONPATH"])
def test_where_a_module_is_found(own, run, workplace, monkeypatch, place):
    conf = workplace / "my project" / "conf"
    shutil.copytree(own / "datastore", conf / "datastore")
    target = {"in it": conf, "beside it": conf.parent, "PYTHONPATH": workplace / "far"}[place]
    target.mkdir(exist_ok=True)
    shutil.copy(own / "waves.py", target)
    if place == "PYTHONPATH":
        monkeypatch.syspath_prepend(target)
    result = run("spacecast-graph", "--config-dir", str(conf), "datastore=waves", "picture=null")
    assert result.code == 0, result.err
    assert {str(conf), str(conf.parent)} <= set(os.environ["PYTHONPATH"].split(os.pathsep))  # for jobs


def test_a_module_that_is_not_found_or_faulty(own, run, workplace):
    shutil.copytree(own / "datastore", workplace / "conf" / "datastore")
    words = ["spacecast-graph", "--config-dir", "conf", "datastore=waves"]
    line = run(*words).line
    assert "datastore._target_: there is no module 'waves'; put waves.py into the folder of --config-dir" in line
    assert "PYTHONPATH=FOLDER" in line
    (workplace / "waves.py").write_text("def broken(:\n")
    result = run(*words)
    assert result.code == 2
    assert "datastore._target_: waves cannot be imported (SyntaxError: " in result.line
    (workplace / "waves.py").write_text("import no_such_package\n")
    assert "waves needs the module 'no_such_package', which is missing" in run(*words).line
    result = run(*words, "datastore._target_=Waves")
    assert "'Waves' names no module; give MODULE.Waves" in result.line
