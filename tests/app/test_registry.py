"""models:/NAME@best where a checkpoint is typed, and logger.register."""

import os
import pickle
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch

import spacecast
from spacecast.app.registered import local_checkpoint
from spacecast.app.train import COMMAND as TRAIN
from spacecast.config.paths import absolute_path
from spacecast.core.errors import UserError
from spacecast.tracking.journal import read_summary
from spacecast.tracking.logger import RunLogger
from spacecast.tracking.logger import tracked as of_a_run


@pytest.fixture
def tracked(small: list[str], fresh_store: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a small training that is tracked in `mlflow.db` of the project, as by default."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    shutil.copy(fresh_store, workplace / "mlflow.db")
    words = [word for word in small if word not in ("logger=none", "trainer.max_epochs=2")]
    return [*words, "trainer.max_epochs=1"]


def registered(store: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT name, version FROM model_versions ORDER BY name, version").fetchall()


def test_from_a_training_to_the_registry_and_back(run, workplace, tracked):
    words = [*tracked, "logger.register=true", "paths.run_dir=one"]
    result = run("spacecast-train", *words)
    assert (result.code, result.err) == (0, "")
    assert "registered as models:/spacecast-graph_fm/1, which is best now" in result.out
    assert "register: spacecast-graph_fm" in (workplace / "one" / "config.yaml").read_text()
    assert registered(workplace / "mlflow.db") == [("spacecast-graph_fm", 1)]
    (model,) = read_summary(workplace / "one" / "tracking.jsonl").models
    assert model[0] == "spacecast-graph_fm"

    assert "this run is finished" in run("spacecast-train", *words).out
    assert registered(workplace / "mlflow.db") == [("spacecast-graph_fm", 1)]
    other = [*tracked, "logger.register=mine", "paths.run_dir=one"]
    assert "registered as models:/mine/1" in run("spacecast-train", *other).out  # finished, registered after that

    address = "models:/spacecast-graph_fm@best"
    result = run("spacecast-evaluate", f"checkpoint={address}", "logger=none", "paths.run_dir=two")
    assert (result.code, result.err) == (0, "")
    assert (workplace / "two" / "scores.csv").read_bytes() == (workplace / "one" / "scores.csv").read_bytes()
    weights = (workplace / "one" / "checkpoints" / "best.ckpt").read_bytes()
    for key, epochs in (("init_from", 1), ("resume", 2)):
        result = run("spacecast-train", *tracked, f"{key}={address}", f"trainer.max_epochs={epochs}",
                     "logger=none", f"paths.run_dir={key}")  # fmt: skip
        assert (result.code, result.err) == (0, "")
        recorded = next(line for line in (workplace / key / "config.yaml").open() if line.startswith(f"{key}: "))
        assert Path(recorded.split(": ")[1].strip()).read_bytes() == weights
    assert spacecast.load(address).source.read_bytes() == weights  # the store of the folder where Python runs
    assert run("spacecast-data", "export", f"checkpoint={address}", "name=shared", "output=shared").code == 0
    assert (workplace / "shared" / "README.md").is_file()
    before = (workplace / "init_from" / "config.yaml").read_text()
    (workplace / "mlflow.db").unlink()  # its own checkpoints need no registry
    again = [*tracked, f"init_from={address}", "logger=none", "paths.run_dir=init_from"]
    assert "this run is finished" in run("spacecast-train", *again).out
    assert (workplace / "init_from" / "config.yaml").read_text() == before


def test_what_is_wrong_is_told_before_anything_starts(run, workplace, tracked):
    words = ["checkpoint=models:/nothing@best", "paths.run_dir=run"]
    line = run("spacecast-evaluate", *words).line
    assert line.endswith(f"sqlite:///{workplace}/mlflow.db has no model 'nothing'; there is none to choose from")
    assert "type models:/NAME@best" in run("spacecast-evaluate", "checkpoint=models:/nothing", "logger=none").line
    for key in ("resume", "init_from"):
        assert f"{key}=models:/nothing@best: " in run("spacecast-train", *tracked, f"{key}=models:/nothing@best").line
    result = run("spacecast-data", "import-checkpoint", words[0], "output=x", "logger.tracking_uri=sqlite:///no/m.db")
    assert (result.code, f"there is no MLflow store {workplace}/no/m.db" in result.line) == (2, True)
    for name in ("a/b", "models:/x", "7"):
        line = run("spacecast-train", *tracked, f"logger.register={name}").line
        assert "logger.register" in line
        assert ("no name of a model" in line) == (name != "7")
    assert [path.name for path in workplace.iterdir()] == ["mlflow.db"]


def test_a_sweep_registers_its_runs_as_one_model(run, workplace, tracked):
    result = run("spacecast-train", *tracked, "logger.register=true", "-m", "seed=1,2", "paths.run_dir=sweep")
    assert (result.code, result.err) == (0, "")
    assert registered(workplace / "mlflow.db") == [("spacecast-graph_fm", 1), ("spacecast-graph_fm", 2)]


def test_a_run_without_weights_registers_nothing_and_says_so(run, workplace, tracked):
    words = [word for word in tracked if not word.startswith(("model.", "model="))]
    result = run("spacecast-train", *words, "model=persistence", "logger.register=true", "paths.run_dir=one")
    assert result.code == 0
    assert "nothing is registered as model spacecast-persistence" in result.out + result.err
    assert registered(workplace / "mlflow.db") == []


def test_the_store_is_that_of_the_command_then_of_mlflow_then_of_the_project(workplace, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "spacecast.tracking.registry.registered_file", lambda *words: asked.append(words[2:]) or Path("/file")
    )
    monkeypatch.setattr("os.environ", dict(os.environ))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    plain = {"paths": {"project_dir": "/p", "data_dir": "/d"}, "logger": {"tracking_uri": "http://a"}}
    for given in (plain, plain | {"logger": {"tracking_uri": None}}, plain | {"logger": None}, None):
        assert local_checkpoint("models:/a@best", "checkpoint", given) == Path("/file")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://b")
    local_checkpoint("models:/a@best", "checkpoint", plain)
    local_checkpoint("models:/a@best", "checkpoint")
    here, cache = f"sqlite:///{workplace}/mlflow.db", Path("/d/registry")
    assert asked == [
        ("http://a", cache), ("sqlite:////p/mlflow.db", cache), ("sqlite:////p/mlflow.db", cache),
        (here, workplace / "data/registry"), ("http://a", cache), ("http://b", workplace / "data/registry"),
    ]  # fmt: skip


def test_processes_that_the_first_one_starts_take_its_version(workplace, monkeypatch):
    files = (Path(f"/file{number}") for number in range(9))
    monkeypatch.setattr("spacecast.tracking.registry.registered_file", lambda *_: next(files))
    monkeypatch.setattr("os.environ", dict(os.environ))
    assert local_checkpoint("models:/a@best", "checkpoint") == Path("/file0")
    assert local_checkpoint("models:/a@best", "checkpoint") == Path("/file1")  # it may have moved
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert local_checkpoint("models:/a@best", "checkpoint") == Path("/file1")
    assert local_checkpoint("models:/b@best", "checkpoint") == Path("/file2")


def test_other_checkpoints_are_paths_as_before(workplace):
    assert local_checkpoint("runs/a", "checkpoint") == workplace / "runs" / "a"
    assert local_checkpoint("/runs/a@best", "checkpoint") == Path("/runs/a@best")
    assert absolute_path("models:/a b@best", "checkpoint") == "models:/a b@best"
    with pytest.raises(UserError, match="checkpoint is empty"):
        local_checkpoint("", "checkpoint")


class Hostile:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_nothing_in_a_registered_file_is_executed(run, workplace, tracked, write):
    """Whoever can write to the store can register anything, with the right check sum."""
    file = workplace / "best.ckpt"
    write({"state_dict": {}, "spacecast": Hostile()}, file)
    logger = RunLogger(f"sqlite:///{workplace}/mlflow.db", "tests", "a-run", None, None, 0, register="m")
    with of_a_run(logger):
        logger.log_model(file, {}, "a text")
    for words in (["spacecast-evaluate", "checkpoint=models:/m@best"],
                  ["spacecast-train", *tracked, "init_from=models:/m@best"],
                  ["spacecast-train", *tracked, "resume=models:/m@best"]):  # fmt: skip
        result = run(*words)
        assert (result.code, "best.ckpt" in result.err) == (2, True)
    assert not (workplace / "executed").exists()


def test_help_says_what_to_type(run):
    assert "checkpoint=models:/NAME@best" in run("spacecast-train", "--help").out
    assert "models:/NAME@best" in run("spacecast-evaluate", "--help").out
    assert "logger.register" in TRAIN.keys
