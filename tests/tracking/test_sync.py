"""Journals brought into stores: everything arrives, once, from whatever moment on."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.tracking.delivered import note_delivered, read_delivered
from spacecast.tracking.journal import Journal
from spacecast.tracking.logger import RunLogger, log_artifact, log_params
from spacecast.tracking.mlflow_run import IDENTITY, DeletedError
from spacecast.tracking.store import load_mlflow
from spacecast.tracking.sync import UnreachableError, close_abandoned, sync

NOWHERE = "http://127.0.0.1:9"  # where nothing listens
NAMES = ("train/loss", "val/loss", "gap")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    load_mlflow()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def client_of(uri: str):
    return load_mlflow().MlflowClient(uri)


def runs_in(uri: str) -> list:
    client = client_of(uri)
    return client.search_runs([each.experiment_id for each in client.search_experiments()])


def content(uri: str) -> dict:
    """The only run of a store, and how often each of its points is there."""
    (run,) = runs_in(uri)
    client, number = client_of(uri), run.info.run_id
    return {
        "points": Counter(
            (name, point.step, point.timestamp, str(point.value))
            for name in run.data.metrics
            for point in client.get_metric_history(number, name)
        ),
        "params": run.data.params,
        "tags": {name: text for name, text in run.data.tags.items() if not name.startswith("mlflow.")},
        "times": (run.info.start_time, run.info.end_time),
        "status": run.info.status,
        "files": sorted(
            file.path for folder in ("config", "figures", "notes") for file in client.list_artifacts(number, folder)
        ),
    }


def written(journal: Path) -> Counter:
    """Each point of a journal, once."""
    with Journal(journal, writing=False) as reader:
        return Counter(
            (name, step, record["time"], str(math.nan if value is None else value))
            for records, _ in reader.pieces()
            for record in records
            for name, value, step in record.get("metrics", ())
        )


def record(folder: Path, uri: str = NOWHERE, steps: int = 25, first: int = 0, end: str = "FINISHED") -> Path:
    """A run with everything in it; the journal."""
    logger = RunLogger(uri, "tests", "a-run", {"sweep": "s"}, None, 0, folder / "tracking.jsonl")
    (folder / "config.yaml").write_text("seed: 1\n")
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "rmse.png").write_bytes(b"png")
    log_params(logger, {"seed": 1, "model": {"hidden_dim": 8}})
    log_artifact(logger, folder / "config.yaml", "config")
    log_artifact(logger, folder / "plots", "figures")
    logger.log_text("hello", "notes/a.txt")
    for step in range(first, first + steps):
        logger.log_metrics({"train/loss": 1 / (1 + step), "gap": math.nan}, step)
    logger.log_metrics({"val/loss": 0.5}, first + steps)
    logger.end(end)
    return folder / "tracking.jsonl"


def assert_complete(uri: str, journal: Path, status: str = "FINISHED") -> None:
    """A store holds what a journal does."""
    found = content(uri)
    assert found["points"] == written(journal)
    assert set(found["points"].values()) == {1}
    assert found["params"] == {"seed": "1", "settings/model/hidden_dim": "8"}
    assert found["files"] == ["config/config.yaml", "figures/rmse.png", "notes/a.txt"]
    assert found["tags"]["sweep"] == "s"
    assert found["status"] == status


def test_a_run_that_never_reached_a_store_arrives_once(tmp_path, store, caplog):
    uri, journal = f"sqlite:///{store}", record(tmp_path)
    assert [item.levelname for item in caplog.records] == ["WARNING"] * 2
    assert "spacecast-sweep sync" in caplog.messages[-1]
    first = sync(journal, uri)
    assert (first.status, first.changed, first.postponed, first.refused) == ("FINISHED", True, 0, 0)
    assert_complete(uri, journal)
    before = content(uri)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert before["times"] == (lines[0]["time"], lines[-1]["time"])
    assert before["tags"][IDENTITY] == lines[0]["start"]["run"]
    again = sync(journal, uri)
    assert (again.sent, again.changed, again.run_id) == (0, False, first.run_id)
    (tmp_path / "tracking.json").unlink()  # nothing but the store knows
    again = sync(journal, uri)
    assert (again.sent, again.changed, again.run_id) == (3, False, first.run_id)  # the artifacts, once more
    assert content(uri) == before


def test_a_folder_that_was_moved_is_delivered_from_its_new_place(tmp_path, store):
    (tmp_path / "old").mkdir()
    record(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    sync(tmp_path / "new" / "tracking.jsonl", f"sqlite:///{store}")
    assert_complete(f"sqlite:///{store}", tmp_path / "new" / "tracking.jsonl")


@pytest.mark.parametrize("way", ["absolute", "up", "link"])
def test_a_journal_sends_no_file_from_elsewhere_to_an_address_of_its_own(way, tmp_path, store):
    """Somebody else may have written both. Who types the store knows where the file goes."""
    (tmp_path / "run").mkdir()
    secret = tmp_path / "secret.txt"
    secret.write_text("do not tell")
    journal, uri = record(tmp_path / "run", steps=1), f"sqlite:///{store}"
    named = {"absolute": str(secret), "up": "../secret.txt", "link": "plots"}[way]
    if way == "link":
        (tmp_path / "run" / "plots" / "secret.txt").symlink_to(secret)
    journal.write_text(journal.read_text().replace(NOWHERE, uri).replace('"config.yaml"', json.dumps(named)))
    outcome = sync(journal)
    assert outcome.refused == (2 if way == "link" else 1)
    assert "secret" not in " ".join(content(uri)["files"])
    (tmp_path / "run" / "tracking.json").unlink()
    assert sync(journal, uri).refused == 0
    assert "config/secret.txt" in content(uri)["files"]


class Crash(BaseException):
    """Stands for the death of the process."""


@pytest.mark.slow
def test_a_sync_that_dies_at_any_call_is_completed_by_the_next(tmp_path, fresh_store, monkeypatch):
    """Before and after each call that changes the store."""
    import mlflow.tracking

    monkeypatch.setattr("spacecast.tracking.journal.PIECE", 500)
    journal = record(tmp_path, steps=6)
    methods = ("create_run", "log_batch", "log_artifact", "log_artifacts", "log_text", "set_terminated", "set_tag")
    originals = {name: getattr(mlflow.tracking.MlflowClient, name) for name in methods}
    moment, died = 0, True
    while died:
        place = tmp_path / f"store{moment}"
        place.mkdir()
        shutil.copy(fresh_store, place / "mlflow.db")
        uri, calls, died = f"sqlite:///{place}/mlflow.db", iter(range(10**6)), False
        (tmp_path / "tracking.json").unlink(missing_ok=True)

        def dying(name, calls=calls, last=moment):
            def call(*words, **keywords):
                if next(calls) == last:
                    raise Crash
                result = originals[name](*words, **keywords)
                if next(calls) == last:
                    raise Crash
                return result

            return call

        with monkeypatch.context() as patch:
            for name in methods:
                patch.setattr(mlflow.tracking.MlflowClient, name, dying(name))
            try:
                sync(journal, uri)
            except Crash:
                died = True
        sync(journal, uri)
        assert_complete(uri, journal)
        moment += 1
    assert moment > 12


SYNC = """
import sys
from pathlib import Path
from spacecast.tracking.sync import sync
sync(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_two_at_once_and_one_that_is_killed_deliver_once(tmp_path, store):
    uri, journal = f"sqlite:///{store}", record(tmp_path, steps=3000)
    processes = [subprocess.Popen([sys.executable, "-c", SYNC, str(journal), uri]) for _ in range(3)]
    while not runs_in(uri):
        pass
    processes[0].kill()
    assert [process.wait(120) for process in processes][1:] == [0, 0]
    assert_complete(uri, journal)


def _log_and_die(folder: Path, uri: str) -> None:
    record(folder, uri, end="KILLED")
    logger = RunLogger(uri, journal=folder / "tracking.jsonl", system_metrics_seconds=0)
    for step in range(100, 200):
        logger.log_metrics({"train/loss": 1.0}, step)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("reachable", [True, False])
def test_a_killed_run_becomes_killed_with_everything_that_it_had_logged(tmp_path, store, reachable):
    uri = f"sqlite:///{store}"
    words = tmp_path, uri if reachable else NOWHERE
    process = multiprocessing.get_context("fork").Process(target=_log_and_die, args=words)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    journal = tmp_path / "tracking.jsonl"
    if reachable:
        assert content(uri)["status"] in ("RUNNING", "KILLED")  # the second start may not have come so far
    outcome = sync(journal, uri)
    assert outcome.status == "KILLED"
    assert_complete(uri, journal, "KILLED")
    assert sum(name == "train/loss" for name, *_ in content(uri)["points"]) == 125
    assert sync(journal, uri).sent == 0


def test_another_store_gets_all_of_a_run_with_artifacts_of_its_own(tmp_path, store, fresh_store):
    run_dir, other = tmp_path / "run", tmp_path / "other"
    run_dir.mkdir()
    other.mkdir()
    shutil.copy(fresh_store, other / "mlflow.db")
    first, second = f"sqlite:///{store}", f"sqlite:///{other}/mlflow.db"
    journal = record(run_dir, first)
    assert_complete(first, journal)
    sync(journal, second)
    assert sync(journal, first).sent == sync(journal, second).sent == 0
    store.unlink()
    shutil.rmtree(tmp_path / "mlruns")
    assert_complete(second, journal)
    (run,) = runs_in(second)
    assert Path(run.info.artifact_uri).is_relative_to(other)
    file = client_of(second).download_artifacts(run.info.run_id, "config/config.yaml", str(tmp_path))
    assert Path(file).read_text() == "seed: 1\n"


def test_a_store_that_was_set_back_or_lost_is_filled_again(tmp_path, store):
    uri = f"sqlite:///{store}"
    empty = store.read_bytes()
    record(tmp_path, uri, end="KILLED")
    backup = store.read_bytes()
    journal = record(tmp_path, uri, first=25)
    for old in (backup, empty):
        store.write_bytes(old)
        assert sync(journal, uri).sent > 25
        assert_complete(uri, journal)


def test_a_run_that_began_without_a_store_goes_on_with_it_as_one(tmp_path, store):
    uri = f"sqlite:///{store}"
    record(tmp_path, end="KILLED")
    journal = record(tmp_path, uri, first=20, steps=10)  # goes back a little, as to a checkpoint
    assert_complete(uri, journal)
    points = content(uri)["points"]
    assert sorted(step for name, step, *_ in points if name == "train/loss") == list(range(30))
    assert sync(journal, uri).sent == 0


def test_a_run_that_was_synced_goes_on_as_the_same(tmp_path, store):
    uri = f"sqlite:///{store}"
    number = sync(record(tmp_path, end="KILLED"), uri).run_id
    (tmp_path / "tracking.json").unlink()
    journal = record(tmp_path, uri, first=25)
    assert_complete(uri, journal)
    assert [run.info.run_id for run in runs_in(uri)] == [number]


def test_a_live_run_stays_running(tmp_path, store):
    uri = f"sqlite:///{store}"
    logger = RunLogger(NOWHERE, "tests", journal=tmp_path / "tracking.jsonl", system_metrics_seconds=0)
    logger.log_metrics({"train/loss": 1.0}, 1)
    assert sync(logger.path, uri, alive=True).status == "RUNNING"
    logger.log_metrics({"train/loss": 1.0}, 2)
    assert sync(logger.path, uri, alive=True).sent == 1
    assert content(uri)["status"] == "RUNNING"
    logger.end("FAILED")
    assert sync(logger.path, uri).status == content(uri)["status"] == "FAILED"


def test_a_deleted_run_is_left_alone(tmp_path, store):
    uri, journal = f"sqlite:///{store}", record(tmp_path)
    number = sync(journal, uri).run_id
    client_of(uri).delete_run(number)
    with pytest.raises(DeletedError, match=number):
        sync(journal, uri)
    client_of(uri).restore_run(number)
    assert sync(journal, uri).sent == 0


def test_stores_that_cannot_be_used_say_so(tmp_path):
    journal = record(tmp_path, steps=1)
    with pytest.raises(UnreachableError, match=r"^http://127.0.0.1:9 does not answer: "):
        sync(journal)
    with pytest.raises(UnreachableError, match="there is no folder /nowhere here"):
        sync(journal, "sqlite:////nowhere/mlflow.db")
    with pytest.raises(UserError, match="unknown scheme"):
        sync(journal, "ftp://host")
    journal.write_text('{"time":1,"tags":{}}\n')
    with pytest.raises(ValueError, match="does not say whose run it is"):
        sync(journal)


def test_artifacts_that_are_not_taken_are_tried_again(tmp_path, store, monkeypatch):
    uri, journal = f"sqlite:///{store}", record(tmp_path)

    def full(*_, **__):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.tracking.MlflowClient.log_artifact", full)
        outcome = sync(journal, uri)
    assert (outcome.postponed, outcome.status) == (2, "FINISHED")  # a text as well
    assert content(uri)["points"] == written(journal)
    assert sync(journal, uri).postponed == 0
    assert_complete(uri, journal)


def test_dead_runs_are_closed_and_ended_ones_get_their_status(tmp_path, store, caplog):
    uri = f"sqlite:///{store}"
    logger = RunLogger(uri, "tests", journal=tmp_path / "tracking.jsonl", system_metrics_seconds=0)
    logger.log_metrics({"train/loss": 1.0}, 1)
    assert logger.wait()
    close_abandoned(tmp_path)
    assert content(uri)["status"] == "KILLED"
    logger.end("FINISHED")
    client_of(uri).update_run(logger.run_id, status="RUNNING")
    close_abandoned(tmp_path)
    assert content(uri)["status"] == "FINISHED"
    close_abandoned(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    record(tmp_path / "other", steps=1)
    caplog.clear()
    close_abandoned(tmp_path / "other")
    assert "could not be closed" in caplog.text


def test_a_run_is_found_among_many_experiments(tmp_path, store, monkeypatch):
    from mlflow.tracking import MlflowClient

    uri, journal, search = f"sqlite:///{store}", record(tmp_path, steps=1), MlflowClient.search_experiments
    number = sync(journal, uri).run_id
    for name in "abcde":
        client_of(uri).create_experiment(name)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_experiments", lambda *words, **more: search(*words, **more, max_results=2))
        (tmp_path / "tracking.json").unlink()
        assert sync(journal, uri).run_id == number


def test_a_wrong_note_of_another_run_is_not_believed(tmp_path, store):
    uri, journal = f"sqlite:///{store}", record(tmp_path)
    note_delivered(journal, uri, "0" * 32, journal.stat().st_size)
    sync(journal, uri)
    assert_complete(uri, journal)
    assert read_delivered(journal, uri) == (runs_in(uri)[0].info.run_id, journal.stat().st_size)
