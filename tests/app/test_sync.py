"""spacecast-sweep sync: which runs, one line each, exit codes; a training without a store."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spacecast.app import sweep
from spacecast.core.errors import UserError
from spacecast.process.run_folder import separate_journal
from spacecast.process.status import write_status
from spacecast.sweep.folder import Sweep, name_runs
from spacecast.sweep.sync import Liveness
from spacecast.tracking.journal import Journal, RunSummary
from spacecast.tracking.store import load_mlflow

NOWHERE = "http://127.0.0.1:9"  # where nothing listens


@pytest.fixture
def uri(fresh_store: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    load_mlflow()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    shutil.copy(fresh_store, workplace / "mlflow.db")
    return f"sqlite:///{workplace}/mlflow.db"


def runs_in(uri: str) -> dict:
    """Runs by their names."""
    client = load_mlflow().MlflowClient(uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run for run in runs}


def journal(run_dir: Path, end: str = "FINISHED", **process) -> None:
    """A run folder with a journal of a few records."""
    told = {"run": f"id-{run_dir.name}", "experiment": "e", "name": run_dir.name, "store": NOWHERE, "tags": {}}
    with Journal(run_dir / "tracking.jsonl") as made:
        made.append(start={**told, "host": socket.gethostname(), "pid": 2**22 + 1, "job": None, **process})
        made.append(metrics=[["train/loss", 1.0, 1]])
        if end:
            made.append(end=end)


def call(capsys, *words: str | Path) -> tuple[int, list[str], str]:
    with pytest.raises(SystemExit) as stop:
        sweep.main(["sync", *map(str, words)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out.splitlines(), captured.err


def test_runs_sweeps_and_days_are_found_and_told(workplace, uri, capsys):
    for name in ("day/one", "day/two_sweep/0", "day/two_sweep/1"):
        journal(workplace / "runs" / name)
    (workplace / "runs" / "day" / "not_tracked").mkdir()
    code, lines, err = call(capsys, "runs", "runs/day/one", "--to", uri)
    assert (code, err) == (0, "")
    assert lines == [
        f"[1/3] runs/day/one: 1 value delivered to {uri}, FINISHED",
        f"[2/3] runs/day/two_sweep/0: 1 value delivered to {uri}, FINISHED",
        f"[3/3] runs/day/two_sweep/1: 1 value delivered to {uri}, FINISHED",
    ]
    assert set(runs_in(uri)) == {"one", "0", "1"}
    assert call(capsys, "runs/day/one", "--to", "sqlite:///mlflow.db")[1] == [
        f"[1/1] runs/day/one: already complete in {uri}, FINISHED"
    ]


def test_a_store_that_does_not_answer_is_asked_once(workplace, uri, capsys, monkeypatch):
    for name in "abc":
        journal(workplace / "runs" / name)
    code, lines, _ = call(capsys, "runs")
    assert code == 1
    assert [line.partition(":")[0] for line in lines[:3]] == ["[1/3] runs/a", "[2/3] runs/b", "[3/3] runs/c"]
    assert lines[1] == f"[2/3] runs/b: failed: {NOWHERE} does not answer"
    assert lines[3] == "3 of 3 runs were not delivered; the same command tries again"


def test_one_run_that_fails_does_not_keep_the_others_from_theirs(workplace, uri, capsys):
    journal(workplace / "runs" / "b")
    (workplace / "runs" / "a").mkdir()
    (workplace / "runs" / "a" / "tracking.jsonl").write_text("nonsense\n")
    code, lines, _ = call(capsys, "runs", "--to", uri)
    assert code == 1
    assert "failed: " in lines[0]
    assert "does not say whose run it is" in lines[0]
    assert "delivered" in lines[1]


def test_deleted_runs_stay_deleted(workplace, uri, capsys):
    journal(workplace / "runs" / "a")
    call(capsys, "runs", "--to", uri)
    load_mlflow().MlflowClient(uri).delete_run(runs_in(uri)["a"].info.run_id)
    code, lines, _ = call(capsys, "runs", "--to", uri)
    assert (code, "left alone: run " in lines[0]) == (0, True)
    assert runs_in(uri) == {}


MISTAKES = {
    "no folder": (["nowhere"], "there is no folder "),
    "a file": (["mlflow.db"], "there is no folder "),
    "no runs": (["empty"], "holds no run that was tracked: there is no tracking*.jsonl in it or below it"),
    "unknown store": (["runs", "--to", "ftp://x"], "--to=ftp://x: unknown scheme 'ftp'; type sqlite:////path/mlflow.db"),
    "file store": (["runs", "--to", "mlruns"], "type --to=sqlite:////"),
    "no place": (["runs", "--to", "sqlite:////dev/null/m.db"], "--to=sqlite:////dev/null/m.db cannot be made"),
    "other file": (["runs", "--to", "sqlite:///runs/a/tracking.jsonl"], "is no MLflow store"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(case, workplace, uri, capsys):
    words, message = MISTAKES[case]
    journal(workplace / "runs" / "a")
    (workplace / "empty").mkdir()
    code, lines, err = call(capsys, *words)
    assert (code, lines, err.count("\n")) == (2, [], 1), err
    assert err.startswith("spacecast-sweep: error: ")
    assert message in err


def test_what_has_ended_without_a_word_is_killed_and_what_goes_on_is_not(workplace, uri, capsys, monkeypatch):
    made = Sweep(workplace / "grid", "spacecast.app.train:COMMAND", tuple(name_runs([["seed=1"], ["seed=2"]])))
    made.write()
    for run, pid in zip(made.runs, (2**22 + 1, os.getpid()), strict=True):
        journal(made.run_dir(run), end="")
        write_status(made.run_dir(run), state="running", host=socket.gethostname(), pid=pid)
    for name, process in {
        "dead": {},
        "here": {"pid": os.getpid()},
        "reused": {"pid": 1, "host": socket.gethostname()},
        "elsewhere": {"host": "node7"},
        "nobody knows": {"host": "node7", "job": "12"},
    }.items():
        journal(workplace / "grid" / name, end="", **process)

    def silent(_: str) -> None:
        raise UserError("there is no Slurm")

    monkeypatch.setattr("spacecast.sweep.queue.active_jobs", silent)
    code, lines, _ = call(capsys, "grid", "--to", uri)
    assert code == 0, lines
    assert {name: run.info.status for name, run in runs_in(uri).items()} == {
        "0": "KILLED", "1": "RUNNING", "dead": "KILLED", "here": "RUNNING", "reused": "RUNNING",
        "elsewhere": "RUNNING", "nobody knows": "RUNNING",
    }  # fmt: skip


def test_the_status_command_closes_dead_runs(workplace, uri, capsys):
    made = Sweep(workplace / "grid", "spacecast.app.train:COMMAND", tuple(name_runs([["seed=1"]])))
    made.write()
    journal(workplace / "grid" / "0", end="", pid=os.getpid(), store=uri)
    write_status(workplace / "grid" / "0", state="running", host=socket.gethostname(), pid=os.getpid())
    assert call(capsys, "grid")[0] == 0
    assert runs_in(uri)["0"].info.status == "RUNNING"
    write_status(workplace / "grid" / "0", pid=2**22 + 1)
    with pytest.raises(SystemExit):
        sweep.main(["status", "grid"])
    assert runs_in(uri)["0"].info.status == "KILLED"


def test_a_number_that_another_process_has_now_is_not_the_run(tmp_path):
    here = {"host": socket.gethostname(), "pid": os.getpid(), "job": None}
    assert Liveness()(tmp_path, RunSummary(process={**here, "time": 1e15}))
    assert not Liveness()(tmp_path, RunSummary(process={**here, "time": 1e9}))


def test_slurm_is_asked_for_runs_of_other_machines(tmp_path, monkeypatch):
    asked, queue = [], {"3_1": "RUNNING"}
    monkeypatch.setattr("spacecast.sweep.queue.active_jobs", lambda cluster: asked.append(cluster) or queue)
    going_on = Liveness()
    process = {"host": "node7", "pid": 1, "time": 1}
    assert going_on(tmp_path, RunSummary(process={**process, "job": "3_1"}))
    assert not going_on(tmp_path, RunSummary(process={**process, "job": "3_2"}))
    assert asked == ["slurm"]


def test_an_evaluation_in_the_folder_of_a_run_has_a_journal_of_its_own(tmp_path):
    section = {"tracking_uri": "x", "journal": str(tmp_path / "tracking.jsonl")}
    assert separate_journal(section) == section
    (tmp_path / "tracking.jsonl").touch()
    other = Path(separate_journal(section)["journal"])
    assert other.match("tracking-????????.jsonl")
    assert other.parent == tmp_path
    assert separate_journal({"tracking_uri": None}) == {"tracking_uri": None}


@pytest.mark.slow
def test_a_training_without_a_store_arrives_later(run, workplace, small, uri, capsys, monkeypatch):
    """And its evaluation, which is another run in a folder below."""
    words = [word for word in small if word != "logger=none"]
    words += [f"logger.tracking_uri={NOWHERE}", "logger.system_metrics_seconds=0", "trainer.log_every_n_steps=1"]
    result = run("spacecast-train", *words, "paths.run_dir=run")
    assert result.code == 0, result.err
    words = ["logger.tracking_uri=null", "logger.system_metrics_seconds=0", "logger.run_name=again"]
    result = run("spacecast-evaluate", "checkpoint=run", "paths.run_dir=run/again", *words)
    assert result.code == 0, result.err
    code, lines, _ = call(capsys, "run", "--to", uri)
    assert code == 0, lines
    assert len(lines) == 2
    for name, found in runs_in(uri).items():
        assert found.info.status == "FINISHED"
        client = load_mlflow().MlflowClient(uri)
        assert client.list_artifacts(found.info.run_id, "config")[0].path == "config/config.yaml"
        assert client.list_artifacts(found.info.run_id, "scores")[0].path == "scores/scores.csv"
        assert [p.step for p in client.get_metric_history(found.info.run_id, "test_rmse_by_lead_s/Bx")] == [15, 30]
        steps = [point.step for point in client.get_metric_history(found.info.run_id, "train/loss")]
        assert len(steps) == len(set(steps)) == (0 if name == "again" else 2)
    assert all("already complete" in line for line in call(capsys, "run", "--to", uri)[1])


@pytest.mark.slow
def test_the_command_of_the_warning_works(workplace, uri):
    """As a process of its own, which imports neither torch nor Lightning."""
    journal(workplace / "run")
    code = f"""
import sys
from spacecast.app import sweep
try:
    sweep.main(["sync", "run", "--to", {uri!r}])
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "pytorch_lightning", "xarray", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 value delivered" in done.stdout
