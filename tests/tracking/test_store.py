import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.tracking import store as store_module
from spacecast.tracking.store import (
    _replace,
    _revision,
    check_uri,
    ensure_experiment,
    ensure_store,
    load_mlflow,
    sqlite_path,
)


def _client(uri: str):
    return load_mlflow().MlflowClient(uri)


def test_sqlite_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_uri("sqlite:///sub/mlflow.db") == f"sqlite:///{tmp_path}/sub/mlflow.db"
    assert check_uri("sqlite:////abs/mlflow.db") == "sqlite:////abs/mlflow.db"
    assert check_uri("sqlite:///m.db?timeout=9") == f"sqlite:///{tmp_path}/m.db?timeout=9"
    assert sqlite_path("http://node:5000") is None


@pytest.mark.parametrize("uri", ["http://node:5000", "https://a.example", "postgresql+psycopg2://u@h/d", "databricks"])
def test_servers_pass_unchanged(uri):
    assert check_uri(uri) == uri
    assert ensure_store(uri) == uri


@pytest.mark.parametrize("uri", ["file:./mlruns", "file:///tmp/mlruns", "mlruns", "./mlruns", "/tmp/mlruns"])
def test_the_file_store_is_refused_with_what_to_type(uri):
    with pytest.raises(UserError, match=r"type logger\.tracking_uri=sqlite:////.*mlruns/mlflow\.db") as error:
        check_uri(uri)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "sqlite:mlflow.db", "ftp://host/x"])
def test_other_addresses_are_refused(uri):
    with pytest.raises(UserError, match=r"type sqlite:////"):
        check_uri(uri)


def test_a_fresh_store_is_complete_and_leaves_nothing_behind(fresh_store):
    assert sorted(path.name for path in fresh_store.parent.iterdir()) == ["mlflow.db"]
    experiment = _client(f"sqlite:///{fresh_store}").get_experiment("0")
    assert Path(experiment.artifact_location).is_relative_to(fresh_store.parent)


def test_what_a_dead_process_left_is_replaced(tmp_path):
    path = tmp_path / "mlflow.db"
    (tmp_path / ".mlflow.db.partial-1.db").write_text("half a store")
    (tmp_path / ".mlflow.db.partial-1.db-journal").write_text("and its journal")
    _replace(path, lambda _, temporary: temporary.write_text("whole"))
    assert [found.name for found in tmp_path.iterdir()] == ["mlflow.db"]
    with pytest.raises(ZeroDivisionError):
        _replace(path, lambda _, temporary: temporary.write_text(str(1 / 0)))
    assert path.read_text() == "whole"


def test_a_second_call_changes_nothing(fresh_store):
    before = fresh_store.read_bytes()
    ensure_store(f"sqlite:///{fresh_store}")
    assert fresh_store.read_bytes() == before


def test_an_empty_file_counts_as_no_store(tmp_path):
    path = tmp_path / "mlflow.db"
    path.touch()
    assert _revision(path) is None
    sqlite3.connect(path).execute("PRAGMA user_version = 1").connection.close()
    assert _revision(path) is None


def test_foreign_and_damaged_files_are_named(tmp_path, store):
    text = tmp_path / "text.db"
    text.write_text("this is not a database, not at all")
    with pytest.raises(UserError, match="no MLflow store"):
        ensure_store(f"sqlite:///{text}")
    assert text.read_text().startswith("this is")
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM alembic_version")
    with pytest.raises(UserError, match="damaged"):
        ensure_store(f"sqlite:///{store}")


def test_a_store_that_is_only_locked_or_cannot_be_opened_is_to_be_left_where_it_is(tmp_path, store, monkeypatch):
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.1)
    (tmp_path / "folder.db").mkdir()
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        for path, why in ((store, "database is locked"), (tmp_path / "folder.db", "unable to open database file")):
            with pytest.raises(UserError) as caught:
                ensure_store(f"sqlite:///{path}")
            assert str(caught.value) == f"MLflow store {path} is locked or cannot be opened ({why}); try again later"


def test_a_store_of_a_newer_mlflow_is_refused_unchanged(store):
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffffffff'")
    connection.close()
    before = store.read_bytes()
    with pytest.raises(UserError, match="unknown here"):
        ensure_store(f"sqlite:///{store}")
    assert store.read_bytes() == before


def test_an_older_store_is_upgraded_and_kept_beside(tmp_path):
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path = tmp_path / "mlflow.db"
    load_mlflow()
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    config = _get_alembic_config(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "451aebb31d03")  # the first of all migrations
    engine.dispose()
    before = path.read_bytes()
    ensure_store(f"sqlite:///{path}")
    assert _client(f"sqlite:///{path}").search_experiments()
    assert (tmp_path / "mlflow.db.old").read_bytes() == before
    assert not list(tmp_path.glob(".*.partial*"))


def test_an_unwritable_place_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ensure_store(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_experiments_are_made_once_and_restored(store):
    uri = f"sqlite:///{store}"
    client = _client(uri)
    number = ensure_experiment(client, uri, "space weather/α")
    assert ensure_experiment(client, uri, "space weather/α") == number
    assert Path(client.get_experiment(number).artifact_location).parent == store.parent / "mlruns"
    client.delete_experiment(number)
    assert ensure_experiment(client, uri, "space weather/α") == number
    assert client.get_experiment(number).lifecycle_stage == "active"


@pytest.mark.slow
def test_eight_processes_on_a_fresh_store_lose_nothing(tmp_path):
    """Left to MLflow, processes that create one store together break it for good."""
    uri, steps = f"sqlite:///{tmp_path}/mlflow.db", 1000
    command = [sys.executable, str(Path(__file__).with_name("writers.py")), uri, "8", str(steps)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert json.loads(done.stdout) == [0] * 8, done.stderr
    assert "wait in tracking.jsonl" not in done.stderr
    client = _client(uri)
    runs = client.search_runs([client.get_experiment_by_name("race").experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"run-{number}" for number in range(8)]
    for run in runs:
        number = int(run.data.params["seed"])
        assert (run.info.status, run.info.run_name) == ("FINISHED", f"run-{number}")
        points = client.get_metric_history(run.info.run_id, "train/loss")
        assert sorted((point.step, point.value) for point in points) == [(k, float(number + k)) for k in range(steps)]
        assert len(client.get_metric_history(run.info.run_id, "train/lr")) == steps
        assert [file.path for file in client.list_artifacts(run.info.run_id, "config")] == ["config/config.yaml"]
