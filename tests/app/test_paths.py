"""Paths: absolute once, from the folder where the command was typed, whatever they are called."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from spacecast.app.data import COMMAND as DATA
from spacecast.app.graph import COMMAND as GRAPH
from spacecast.app.train import COMMAND as TRAIN
from spacecast.config.compose import compose, conf_dir
from spacecast.config.paths import absolute_path, absolute_paths
from spacecast.config.schema import Graph
from spacecast.core.errors import UserError

SIGNS = (
    "a=b", "a,b", "(x)", "x#y", "it's", "[x]", "a b", "ä ö", 'a"b', "$x", "{y}", "a\\b", "a:b", "データ", "%41", "a?b",
    "*", " first", "last ", "-x", "@y", "~z", "!", "'q'", "a;b&c",
)  # fmt: skip


class Recorder:
    """A command that does nothing but remember its configurations."""

    def __init__(self, original):
        self.seen = []
        task = lambda inputs: self.seen.append(inputs.plain)  # noqa: E731
        self.command = replace(original, task=task, check_folder=lambda inputs: None)

    @property
    def last(self):
        """The newest."""
        return self.seen[-1]


class OwnStore:
    """A datastore of somebody else."""

    def __init__(self, folder: Path, files: list[Path], note: str, nested: object = None) -> None:
        pass


PATHS = {  # words, where the path is, what is recorded
    "data": ("datastore.root=set", ("datastore", "root"), "{here}/set"),
    "data, for the simulation": ("datastore.root=set", ("simulation", "root"), "{here}/set"),
    "above": ("datastore.root=../set", ("datastore", "root"), "{above}/set"),
    "home": ("datastore.root=~/set", ("datastore", "root"), "{here}/home/set"),
    "nobody's home": ("datastore.root=~nobody-here/set", ("datastore", "root"), "{here}/~nobody-here/set"),
    "the folder itself": ("datastore.root=.", ("datastore", "root"), "{here}"),
    "graph": ("graph=stored graph.path=g", ("graph", "path"), "{here}/g"),
    "resume": ("resume=runs/a", ("resume",), "{here}/runs/a"),
    "init_from": ("init_from=runs/a", ("init_from",), "{here}/runs/a"),
    "store": ("logger.tracking_uri=sqlite:///sub/m.db", ("logger", "tracking_uri"), "sqlite:///{here}/sub/m.db"),
    "server": ("logger.tracking_uri=http://node:5000", ("logger", "tracking_uri"), "http://node:5000"),
    "database": ("logger.tracking_uri=postgresql://u@h/d", ("logger", "tracking_uri"), "postgresql://u@h/d"),
    "journal": ("logger.journal=j.jsonl", ("logger", "journal"), "{here}/j.jsonl"),
    "another logger": ("logger=csv logger.save_dir=table", ("logger", "save_dir"), "{here}/table"),
    "run folder": ("paths.run_dir=run", ("paths", "run_dir"), "{here}/run"),
    "run folder, as Hydra calls it": ("hydra.run.dir=run", ("paths", "run_dir"), "{here}/run"),
    "project": ("paths.project_dir=p", ("logger", "tracking_uri"), "sqlite:///{here}/p/mlflow.db"),
    "data folder": ("paths.data_dir=d", ("datastore", "root"), "{here}/d/magnetosphere"),
}


@pytest.mark.parametrize("case", PATHS)
def test_every_path_is_recorded_as_it_was_meant_where_the_command_was_typed(run, workplace, monkeypatch, case):
    monkeypatch.setenv("HOME", str(workplace / "home"))
    words, keys, wanted = PATHS[case]
    recorder = Recorder(TRAIN)
    result = run(recorder.command, *words.split())
    assert (result.code, result.err) == (0, "")
    found = recorder.last
    for key in keys:
        found = found[key]
    assert found == wanted.format(here=workplace, above=workplace.parent)
    config = Path(recorder.last["paths"]["run_dir"]) / "config.yaml"
    assert yaml.safe_load(config.read_text()) == recorder.last


def test_the_runs_of_a_sweep_record_absolute_paths(run, workplace):
    recorder = Recorder(TRAIN)
    words = ["datastore.root=a,b", "logger.tracking_uri=sqlite:///m.db", "paths.run_dir=sweep"]
    assert run(recorder.command, "-m", *words).code == 0
    assert [plain["datastore"]["root"] for plain in recorder.seen] == [f"{workplace}/a", f"{workplace}/b"]
    for number in "01":
        plain = yaml.safe_load((workplace / "sweep" / number / "config.yaml").read_text())
        assert plain["logger"]["tracking_uri"] == f"sqlite:///{workplace}/m.db"


def test_paths_of_a_class_of_somebody_else_are_known_by_their_annotations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"_target_": f"{__name__}.OwnStore", "folder": "set", "files": ["a", "/b"], "note": "a/b"}
    plain = {"datastore": {**own, "nested": [{**own, "folder": "c"}, {"folder": "as it is"}]}, "picture": None}
    settled = absolute_paths(plain, Graph)["datastore"]
    assert (settled["folder"], settled["files"], settled["note"]) == (f"{tmp_path}/set", [f"{tmp_path}/a", "/b"], "a/b")
    assert [each["folder"] for each in settled["nested"]] == [f"{tmp_path}/c", "as it is"]


def test_a_path_over_a_link_leads_where_the_system_would_go(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    monkeypatch.chdir(tmp_path)
    assert absolute_path("link/../set", "x") == f"{tmp_path}/far/set"
    assert absolute_path("link/set", "x") == f"{tmp_path}/link/set"
    assert absolute_path("set", "x", Path("/base")) == "/base/set"


EMPTY = ("datastore.root=", "paths.data_dir=", "paths.data_dir=' '", "resume=", "paths.run_dir=", "paths.project_dir=")


@pytest.mark.parametrize("word", EMPTY)
def test_an_empty_path_is_not_the_working_folder(run, workplace, word):
    result = run("spacecast-train", word)
    key = word.partition("=")[0]
    assert (result.code, result.line) == (2, f"spacecast-train: error: {key} is empty; give a path")
    assert list(workplace.iterdir()) == []


def test_no_path_at_all(run, workplace):
    assert "paths.data_dir: expected a path, found None" in run("spacecast-train", "paths.data_dir=null").line
    assert "checkpoint is empty" in run("spacecast-evaluate", "checkpoint=").line
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_environment_variable_counts_as_absent(run, workplace, monkeypatch, value):
    monkeypatch.setenv("SPACECAST_DATA", value)
    recorder = Recorder(GRAPH)
    assert run(recorder.command).code == 0
    assert recorder.last["paths"]["data_dir"] == f"{workplace}/data"


@pytest.mark.parametrize("words", [[], ["-m", "graph=simple,multiscale"]])
@pytest.mark.parametrize("original", [GRAPH, TRAIN, DATA])
def test_the_working_folder_stays(run, workplace, original, words):
    if original is DATA:
        words = ["prepare"]
    result = run(Recorder(original).command, *words, "hydra.job.chdir=true")
    assert (result.code, "hydra.job.chdir=true" in result.line, "leave" in result.line) == (2, True, True)
    assert list(workplace.iterdir()) == []


def own_groups(folder: Path) -> Path:
    """A folder of own groups with the member graph=mine."""
    (folder / "graph").mkdir(parents=True)
    shutil.copy(conf_dir() / "graph" / "simple.yaml", folder / "graph" / "mine.yaml")
    return folder


@pytest.mark.parametrize("sign", SIGNS)
def test_a_folder_of_own_groups_may_have_any_name(workplace, sign):
    own = own_groups(workplace / sign / "conf")
    cfg = compose("graph", ["graph=mine", "graph.mesh_spacing=4"], conf_dir(), own)
    assert (cfg.graph.mesh_spacing, cfg.hydra.runtime.choices.graph) == (4, "mine")
    with pytest.raises(UserError, match="did you mean 'mine'"):
        compose("graph", ["graph=mien"], conf_dir(), own)


def test_commands_and_sweeps_take_own_groups_from_such_a_folder(run, workplace, monkeypatch):
    name = "it's (a=b), [x#y] {ä} %41 ?;&! \"$z"
    own, recorder = own_groups(workplace / name / "conf"), Recorder(GRAPH)
    for flag in (["--config-dir", str(own)], [f"--config-dir={own.relative_to(workplace)}"]):
        result = run(recorder.command, *flag, "graph=mine", "graph.mesh_spacing=4")
        assert (result.code, result.err) == (0, "")
        assert recorder.last["graph"]["mesh_spacing"] == 4
    monkeypatch.chdir(workplace / name)  # the project as well
    result = run(recorder.command, "--config-dir", "conf", "-m", "graph=mine,simple", "paths.run_dir=sweep")
    assert (result.code, result.err) == (0, "")
    folders = [Path(plain["paths"]["run_dir"]) for plain in recorder.seen[-2:]]
    assert folders == [workplace / name / "sweep" / number for number in "01"]
    assert "mine" in run("spacecast-graph", "--help", "--config-dir", "conf").out


@pytest.mark.parametrize("name", ["what?", "a%41b"])
def test_a_project_whose_store_mlflow_would_not_find_is_refused_at_once(run, workplace, monkeypatch, name):
    (workplace / name).mkdir()
    monkeypatch.chdir(workplace / name)
    for words in ([], ["-m", "seed=1,2"]):
        line = run("spacecast-train", *words).line
        assert f"logger.tracking_uri=sqlite:///{workplace}/{name}/mlflow.db: MLflow opens no store" in line
    assert [path.name for path in workplace.rglob("*")] == [name]
    recorder = Recorder(TRAIN)
    for word in ("logger=none", "logger.tracking_uri=null", f"logger.tracking_uri=sqlite:///{workplace}/mlflow.db"):
        assert run(recorder.command, word).code == 0


def test_an_address_is_no_path():
    assert absolute_path("s3://bucket/set", "datastore.root") == "s3://bucket/set"
    with pytest.raises(UserError, match="root is empty"):
        absolute_path("", "datastore.root")
