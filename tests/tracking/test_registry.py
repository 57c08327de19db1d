"""Checkpoints in the model registry: once, the best one by its alias, and back to a file."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.tracking import registration
from spacecast.tracking.logger import RunLogger, tracked
from spacecast.tracking.mlflow_run import DeletedError
from spacecast.tracking.registration import check_model_name, check_sum, scored
from spacecast.tracking.registry import Wanted, parse, registered_file
from spacecast.tracking.store import load_mlflow
from spacecast.tracking.sync import sync

NOWHERE = "http://127.0.0.1:9"  # where nothing listens


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    load_mlflow()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def uri(store: Path) -> str:
    return f"sqlite:///{store}"


def client_of(uri: str):
    return load_mlflow().MlflowClient(uri)


def trained(folder: Path, uri: str, score: float = 0.5, data: str = "d", name: str = "m", **options) -> Path:
    """A training that has ended and is to be registered; the file is another one for each folder."""
    folder.mkdir(exist_ok=True)
    file = folder / "best.ckpt"
    file.write_bytes(f"weights of {folder.name}".encode())
    logger = RunLogger(uri, "tests", "a-run", None, None, 0, folder / "tracking.jsonl", register=name, **options)
    with tracked(logger):
        tags = {"data_hash": data, **scored("test/rmse_ratio", score, data_hash=data, settings={"steps": 3})}
        logger.log_model(file, tags, "a text")
    return file


def best(uri: str, name: str = "m") -> int:
    return int(client_of(uri).get_registered_model(name).aliases["best"])


def numbers(uri: str, name: str = "m") -> list[int]:
    return [int(version.version) for version in registration.versions(client_of(uri), name)]


def fetched(text: str, uri: str, folder: Path) -> Path:
    return registered_file(text, "checkpoint", uri, folder / "cache")


def refusal(text: str, uri: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        fetched(text, uri, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_version_is_the_file_and_says_what_it_is(uri, tmp_path):
    file = trained(tmp_path / "one", uri)
    (version,) = registration.versions(client_of(uri), "m")
    assert version.tags["spacecast.sha256"] == check_sum(file)
    assert version.tags["data_hash"] == "d"
    assert version.tags["spacecast.score"] == "0.5"
    assert json.loads(version.tags["spacecast.scored_on"]) == {"score": "test/rmse_ratio", "data_hash": "d", "steps": 3}
    assert (version.description, version.status) == ("a text", "READY")
    assert client_of(uri).get_run(version.run_id).data.tags["registered/m"].startswith("version 1, ")
    assert client_of(uri).get_registered_model("m").description
    for text in ("models:/m@best", "models:/m/1", "models:/m/latest", "models:/m@latest"):
        found = fetched(text, uri, tmp_path)
        assert (found.name, found.read_bytes()) == ("best.ckpt", file.read_bytes())
    assert found.is_relative_to(tmp_path / "mlruns")
    assert not (tmp_path / "cache").exists()  # it is here already


def test_mlflows_own_way_finds_it_too(uri, tmp_path):
    file = trained(tmp_path / "one", uri)
    mlflow = load_mlflow()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        found = mlflow.artifacts.download_artifacts("models:/m@best", dst_path=str(tmp_path))
    finally:
        mlflow.set_tracking_uri(before)
    assert (Path(found) / "best.ckpt").read_bytes() == file.read_bytes()


def test_best_is_the_lowest_score_on_the_same_data(uri, tmp_path):
    found = []
    cases = ((math.nan, "d"), (0.5, "d"), (0.7, "d"), (0.4, "d"), (0.1, "other"), (math.nan, "d"), (0.4, "d"))
    for number, (score, data) in enumerate(cases):
        trained(tmp_path / str(number), uri, score, data)
        found.append(best(uri))
    assert found == [1, 2, 2, 4, 4, 4, 4]
    assert numbers(uri) == [1, 2, 3, 4, 5, 6, 7]
    assert fetched("models:/m/latest", uri, tmp_path).read_bytes() == b"weights of 6"


def test_an_alias_that_was_moved_by_hand_stays_until_something_better_comes(uri, tmp_path):
    for number, score in enumerate((0.5, 0.3)):
        trained(tmp_path / str(number), uri, score)
    client_of(uri).set_registered_model_alias("m", "best", "1")
    trained(tmp_path / "worse", uri, 0.6)
    assert best(uri) == 1
    trained(tmp_path / "better", uri, 0.2)
    assert best(uri) == 4
    client_of(uri).delete_model_version("m", "4")  # its alias goes with it
    trained(tmp_path / "last", uri, 0.9)
    assert best(uri) == 2


def test_two_that_register_at_once_leave_the_alias_at_the_better_one(uri, tmp_path, monkeypatch):
    """The other one comes between the look at the alias and its move, or just after that."""
    for moment in ("_best", "versions"):
        name, original, calls = f"m-{moment}", getattr(registration, moment), iter(range(100))
        trained(tmp_path / f"{moment}-first", uri, 0.9, name=name)

        def meanwhile(*arguments, calls=calls, name=name, original=original, moment=moment):
            result = original(*arguments)
            if next(calls) == (0 if moment == "_best" else 1):
                trained(tmp_path / f"{moment}-other", uri, 0.2, name=name)
            return result

        with monkeypatch.context() as patch:
            patch.setattr(registration, moment, meanwhile)
            trained(tmp_path / f"{moment}-one", uri, 0.5, name=name)
        assert numbers(uri, name) == [1, 2, 3]
        assert registration.versions(client_of(uri), name)[best(uri, name) - 1].tags["spacecast.score"] == "0.2"


def test_it_is_registered_once_however_often_it_is_told(uri, tmp_path):
    file = trained(tmp_path / "one", uri)
    trained(tmp_path / "one", uri)  # the same command again
    journal = file.parent / "tracking.jsonl"
    assert journal.read_text().count('"model"') == 1
    assert (sync(journal).sent, sync(journal, uri).sent) == (0, 0)
    (file.parent / "tracking.json").unlink()  # nothing but the store knows
    assert (sync(journal).sent, numbers(uri)) == (0, [1])
    run_id = registration.versions(client_of(uri), "m")[0].run_id
    client_of(uri).delete_tag(run_id, "registered/m")  # as if it had ended between the two
    (file.parent / "tracking.json").unlink()
    assert (sync(journal).sent, numbers(uri)) == (1, [1])
    client_of(uri).delete_model_version("m", "1")  # nobody wants it there
    (file.parent / "tracking.json").unlink()
    sync(journal)
    assert numbers(uri) == []
    shutil.copytree(file.parent, tmp_path / "copy")
    client_of(uri).delete_run(run_id)
    with pytest.raises(DeletedError):
        sync(tmp_path / "copy" / "tracking.jsonl")


def test_a_training_without_a_store_is_registered_by_the_sync_after_it(uri, tmp_path, caplog):
    trained(tmp_path / "old", NOWHERE)
    ours = [item for item in caplog.records if str(tmp_path) in item.getMessage()]  # threads of other tests may speak
    assert [item.levelname for item in ours] == ["WARNING"] * 2
    (tmp_path / "old").rename(tmp_path / "new")
    outcome = sync(tmp_path / "new" / "tracking.jsonl", uri)
    assert (outcome.status, outcome.sent, outcome.postponed, outcome.refused) == ("FINISHED", 1, 0, 0)
    assert fetched("models:/m@best", uri, tmp_path).read_bytes() == b"weights of old"


def test_a_registry_that_fails_costs_a_warning_and_nothing_else(uri, tmp_path, caplog, monkeypatch):
    import mlflow.tracking

    def failing(*_, **__):
        raise OSError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.tracking.MlflowClient, "create_model_version", failing)
        trained(tmp_path / "one", uri)
        journal = tmp_path / "one" / "tracking.jsonl"
        warned = [item.getMessage() for item in caplog.records if item.levelname == "WARNING"]
        told = [each for each in warned if "is not reachable" not in each]  # threads of other tests may say so
        assert told[0] == "tracking: best.ckpt was not registered as model m: out of order"
        assert "spacecast-sweep sync" in told[-1]
        assert len(told) == 2
        client = client_of(uri)
        (run,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
        assert (run.info.status, numbers(uri)) == ("FINISHED", [])
        assert sync(journal).postponed == 1
    assert (sync(journal).postponed, numbers(uri), best(uri)) == (0, [1], 1)


def test_a_checkpoint_that_was_replaced_before_its_turn_is_left_out(uri, tmp_path, caplog):
    file = trained(tmp_path / "one", NOWHERE)
    file.write_bytes(b"of a later epoch")
    assert sync(file.parent / "tracking.jsonl", uri).refused == 1
    assert "no longer the checkpoint that was to be registered" in caplog.text
    file.unlink()
    (file.parent / "tracking.json").unlink()
    assert (sync(file.parent / "tracking.jsonl", uri).refused, numbers(uri)) == (1, [])


def test_a_journal_of_a_stranger_registers_no_file_from_elsewhere(uri, tmp_path):
    file = trained(tmp_path / "one", NOWHERE)
    file.rename(tmp_path / "best.ckpt")
    journal = file.parent / "tracking.jsonl"
    journal.write_text(journal.read_text().replace(NOWHERE, uri).replace('"best.ckpt"', '"../best.ckpt"'))
    assert (sync(journal).refused, numbers(uri)) == (1, [])


def test_nothing_is_registered_unless_it_is_asked_for(uri, tmp_path):
    trained(tmp_path / "one", uri, name=False)
    assert client_of(uri).search_registered_models() == []
    trained(tmp_path / "two", uri, name=True)
    assert numbers(uri, "tests") == [1]  # the experiment


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", "a b", "..", "-x", 300 * "x"])
def test_names_that_cannot_be_typed_back_are_refused(name):
    with pytest.raises(UserError, match="no name of a model"):
        check_model_name(name)
    assert check_model_name("Graph-EFM_2.1") == "Graph-EFM_2.1"


def test_what_may_be_typed():
    assert parse("models:/a.b@best", "k") == Wanted("a.b", alias="best")
    assert parse("models:/a@b@best", "k") == Wanted("a@b", alias="best")
    assert parse("models:/a/12", "k") == Wanted("a", version="12")
    assert parse("models:/a@latest", "k") == parse("models:/a/latest", "k") == Wanted("a", version="latest")
    for text in ("models:/", "models:/a", "models:/a/", "models:/a@", "models:/@best", "models:/a/Production",
                 "models:/a/1/best.ckpt", "models:/a@best/best.ckpt", "models://a/1"):  # fmt: skip
        with pytest.raises(UserError, match=r"type models:/NAME@best, models:/NAME/3 or models:/NAME/latest"):
            parse(text, "k")


def test_what_is_not_there_is_told_with_what_there_is(uri, store, tmp_path):
    trained(tmp_path / "one", uri, name="graph_fm")
    trained(tmp_path / "two", uri, name="graph_fm")
    client_of(uri).create_registered_model("empty")
    told = f"checkpoint=models:/graph-fm@best: {uri} has no model 'graph-fm'; did you mean 'graph_fm'?"
    assert refusal("models:/graph-fm@best", uri, tmp_path) == told
    assert refusal("models:/xyz/1", uri, tmp_path).endswith("has no model 'xyz'; valid: empty, graph_fm")
    assert refusal("models:/graph_fm@bets", uri, tmp_path).endswith("no alias 'bets' of graph_fm; did you mean 'best'?")
    assert refusal("models:/graph_fm/7", uri, tmp_path).endswith("has no version 7 of graph_fm; valid: 1, 2")
    assert "there is none to choose from" in refusal("models:/empty/latest", uri, tmp_path)
    assert "there is none to choose from" in refusal("models:/empty@best", uri, tmp_path)
    assert f"the MLflow store {NOWHERE} cannot be asked: " in refusal("models:/graph_fm@best", NOWHERE, tmp_path)
    nowhere = f"sqlite:///{tmp_path}/no/mlflow.db"
    assert f"there is no MLflow store {tmp_path}/no/mlflow.db" in refusal("models:/graph_fm@best", nowhere, tmp_path)
    assert not (tmp_path / "no").exists()
    assert "password" not in refusal("models:/m@best", "http://me:password@127.0.0.1:9", tmp_path)


def test_a_file_that_is_gone_or_another_one_is_refused(uri, tmp_path):
    trained(tmp_path / "one", uri)
    file = fetched("models:/m@best", uri, tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"!")
    assert "its check sum differs" in refusal("models:/m@best", uri, tmp_path)
    file.unlink()
    text = refusal("models:/m@best", uri, tmp_path)
    assert f"the file of version 1 is gone: there is no {file} here; choose another version" in text


@pytest.mark.parametrize("source", ["/etc", "file:///etc", "http://127.0.0.1:9/x", "runs:/{run}/checkpoints/../.."])
def test_versions_that_others_have_made_are_not_read(source, uri, tmp_path):
    file = trained(tmp_path / "one", uri)
    client, run_id = client_of(uri), registration.versions(client_of(uri), "m")[0].run_id
    client.create_model_version("m", source.format(run=run_id), tags={"spacecast.sha256": check_sum(file)})
    client.create_model_version("m", f"runs:/{run_id}/checkpoints/abc", run_id)
    for number in (2, 3):
        text = refusal(f"models:/m/{number}", uri, tmp_path)
        assert f"version {number} is no checkpoint that spacecast has registered" in text


def test_a_store_that_was_moved_with_its_folder_still_has_the_file(fresh_store, tmp_path):
    (tmp_path / "before").mkdir()
    shutil.copy(fresh_store, tmp_path / "before" / "mlflow.db")
    trained(tmp_path / "one", f"sqlite:///{tmp_path}/before/mlflow.db")
    (tmp_path / "before").rename(tmp_path / "after")
    found = fetched("models:/m@best", f"sqlite:///{tmp_path}/after/mlflow.db", tmp_path)
    assert found.is_relative_to(tmp_path / "after")


@pytest.fixture
def server(store: Path, tmp_path: Path):
    """Address of an MLflow server that keeps artifacts where only it can read them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{store}", "--artifacts-destination", str(tmp_path / "far")),
    ]
    with (tmp_path / "server.log").open("w") as output:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=tmp_path, env=environment, start_new_session=True
        )
    try:
        while True:
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
            except OSError:
                time.sleep(0.2)
            else:
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with its worker
        process.wait()


@pytest.mark.slow
def test_a_server_takes_it_and_gives_it_back_once(server, tmp_path, monkeypatch):
    file = trained(tmp_path / "one", server)
    trained(tmp_path / "two", server, 0.7)
    assert (numbers(server), best(server)) == ([1, 2], 1)
    found = fetched("models:/m@best", server, tmp_path)
    assert found == tmp_path / "cache" / f"m-1-{check_sum(file)[:16]}" / "best.ckpt"
    assert found.read_bytes() == file.read_bytes()
    assert [path.name for path in found.parent.iterdir()] == ["best.ckpt"]
    found.write_bytes(b"cut sh")
    assert fetched("models:/m/1", server, tmp_path).read_bytes() == file.read_bytes()
    assert "did you mean 'best'" in refusal("models:/m@bset", server, tmp_path)
    assert "has no model 'n'; valid: m" in refusal("models:/n@best", server, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.tracking.MlflowClient.download_artifacts", None)
        assert fetched("models:/m/1", server, tmp_path) == found  # not a second time
    for stored in (tmp_path / "far").rglob("best.ckpt"):
        stored.write_bytes(b"something else")
    assert fetched("models:/m/1", server, tmp_path) == found
    assert "its check sum differs" in refusal("models:/m/2", server, tmp_path)
    for stored in (tmp_path / "far").rglob("best.ckpt"):
        stored.unlink()
    assert "the file of version 2 is gone" in refusal("models:/m/2", server, tmp_path)
    (tmp_path / "blocked").touch()
    with pytest.raises(UserError, match=r"cannot write there .*; choose another paths\.data_dir"):
        registered_file("models:/m/2", "checkpoint", server, tmp_path / "blocked")
