import math
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.core.types import ScoreRow
from spacecast.tracking import background
from spacecast.tracking import logger as module
from spacecast.tracking.logger import (
    RunLogger,
    log_artifact,
    log_params,
    log_score_to_come,
    log_scores,
    log_tags,
    tracked,
)
from spacecast.tracking.store import load_mlflow
from spacecast.tracking.sync import close_abandoned, sync


def _run(logger: RunLogger):
    logger.wait()
    return load_mlflow().MlflowClient(logger.tracking_uri).get_run(logger.run_id)


def _history(logger: RunLogger, name: str) -> list[tuple[int, float]]:
    logger.wait()
    client = load_mlflow().MlflowClient(logger.tracking_uri)
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(logger.run_id, name))


@pytest.fixture
def uri(store: Path) -> str:
    return f"sqlite:///{store}"


def _logger(uri: str, **options) -> RunLogger:
    logger = RunLogger(uri, "tests", "a-run", system_metrics_seconds=0, **options)
    logger.start()
    return logger


def test_a_run_that_has_begun_does_not_begin_again(tmp_path):
    path = tmp_path / "tracking.jsonl"
    logger = RunLogger(None, "tests", "a-run", system_metrics_seconds=0, journal=path)
    logger.log_tags({"before": "1"})
    logger.start()
    with tracked(logger):
        logger.log_tags({"after": "1"})
    assert path.read_text().count('"start"') == 1


def test_everything_arrives(uri, tmp_path):
    logger = _logger(uri, tags={"sweep": "s1"})
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "rmse.png").write_bytes(b"png")
    with tracked(logger):
        log_params(logger, {"seed": 1, "model": {"_target_": "a.b.C", "hidden_dim": 8}})
        log_tags(logger, {"graph_hash": "g"})
        log_artifact(logger, tmp_path / "config.yaml", "config")
        log_artifact(logger, tmp_path / "plots", "figures")
        logger.log_text("hello", "notes/a.txt")
        logger.log_metrics({"train/loss": 0.5, "epoch": 0, "bad(name)": float("nan"), "inf": float("inf")}, step=20)
    run = _run(logger)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a-run")
    assert run.data.params == {"seed": "1", "model": "C", "settings/model/hidden_dim": "8"}
    assert run.data.tags["sweep"] == "s1"
    assert run.data.tags["graph_hash"] == "g"
    assert _history(logger, "train/loss") == [(20, 0.5)]
    assert "inf" not in run.data.metrics
    artifacts = Path(run.info.artifact_uri)
    names = {str(path.relative_to(artifacts)) for path in artifacts.rglob("*.*")}
    assert names == {"config/config.yaml", "figures/rmse.png", "notes/a.txt"}


def test_the_score_that_runs_are_ranked_by_is_recorded_before_it_is_known(uri):
    """The first metric of a run is what MLflow's comparison of runs begins with."""
    logger = _logger(uri)
    log_score_to_come(logger)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    run = _run(logger)
    assert list(run.data.metrics) == ["test/rmse_ratio", "train/loss"]
    assert math.isnan(run.data.metrics["test/rmse_ratio"])
    log_scores(logger, [ScoreRow("skill", "mean", "1", 10.0, "all", 0.25)])
    run = _run(logger)
    assert run.data.metrics["test/rmse_ratio"] == 0.75
    assert next(iter(run.data.metrics)) == "test/rmse_ratio"


def test_the_machine_is_not_sampled_while_the_store_is_waited_for(tmp_path, monkeypatch):
    """Otherwise a sample is the first metric of a run whose store answers late."""
    begun: list[float] = []
    monkeypatch.setattr(module, "MachineMonitor", lambda *words: begun.append(words[1]) or NoMonitor())
    logger = RunLogger(None, journal=tmp_path / "tracking.jsonl", system_metrics_seconds=5.0)
    while_waiting: list[int] = []
    monkeypatch.setattr(logger, "wait", lambda _: while_waiting.append(len(begun)))
    logger.start()
    assert while_waiting == [0]
    assert begun == [5.0]
    logger.log_metrics({"train/loss": 1.0}, step=1)
    assert begun == [5.0]
    logger.end("FINISHED")
    assert begun == [5.0]


class NoMonitor:
    def stop(self) -> None:
        """There is nothing to stop."""


def test_hundreds_of_values_in_one_go(uri):
    logger = _logger(uri)
    logger.log_hyperparams({f"p{number}": number for number in range(230)})
    leads = range(1, 11)
    log_scores(logger, [ScoreRow("rmse", f"v{v}", "nT", 10.0 * k, "all", float(k)) for v in range(110) for k in leads])
    run = _run(logger)
    assert len(run.data.params) == 230
    assert run.data.metrics["test_rmse_by_lead_s/v7"] == 10.0
    assert _history(logger, "test_rmse_by_lead_s/v109") == [(10 * k, float(k)) for k in range(1, 11)]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(75), "KILLED")]
)
def test_the_status_tells_how_it_ended(uri, error, status):
    logger = _logger(uri)
    def work() -> None:
        with tracked(logger):
            logger.finalize("success")  # the end of a fit is not the end of the run
            assert _run(logger).info.status == "RUNNING"
            raise error

    with pytest.raises(type(error)):
        work()
    assert _run(logger).info.status == status
    if status == "FAILED":
        assert _run(logger).data.tags["error"] == "ValueError: broken"


@pytest.mark.parametrize(("word", "status"), [("success", "FINISHED"), ("failed", "FAILED")])
def test_finalize_alone_ends_the_run(uri, word, status):
    logger = _logger(uri)
    logger.finalize(word)
    assert _run(logger).info.status == status


def test_a_run_goes_on_under_its_identifier(uri, tmp_path):
    journal = tmp_path / "tracking.jsonl"
    first = _logger(uri, journal=journal)
    with tracked(first):
        first.log_hyperparams({"optimizer/lr": 0.1, "seed": 1})
        for step in (1, 2, 3):
            first.log_metrics({"train/loss": float(step)}, step)
    second = _logger(uri, journal=journal)
    assert second.run_id == first.run_id
    assert _run(second).info.status == "RUNNING"
    second.log_hyperparams({"optimizer/lr": 0.2, "seed": 1, "new": 5})
    for step in (2, 3, 4):
        second.log_metrics({"train/loss": float(step)}, step)
    run = _run(second)
    assert run.data.params == {"optimizer/lr": "0.1", "seed": "1", "new": "5"}
    assert run.data.tags["resume/optimizer/lr"] == "0.2"
    assert _history(second, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_a_given_run_is_continued(uri):
    first = _logger(uri)
    first.end("KILLED")
    second = _logger(uri, run_id=first.run_id)
    assert (second.run_id, _run(second).info.status) == (first.run_id, "RUNNING")


def test_after_an_end_the_same_run_goes_on(uri, tmp_path):
    """As when one trainer fits and then tests."""
    for options in ({}, {"journal": tmp_path / "tracking.jsonl"}):
        logger = _logger(uri, **options)
        logger.finalize("success")
        before = logger.run_id
        logger.log_metrics({"test/loss": 1.0}, 0)
        assert (_run(logger).info.run_id, _run(logger).info.status) == (before, "RUNNING")
        assert _history(logger, "test/loss") == [(0, 1.0)]


def test_an_unknown_run_is_made_anew_with_a_warning(uri, caplog):
    logger = _logger(uri, run_id="0" * 32)
    assert logger.run_id != "0" * 32
    assert "no run 00000000" in caplog.text


def test_a_deleted_run_is_made_anew_by_the_next_start_but_not_in_the_midst(uri, tmp_path, caplog):
    journal = tmp_path / "tracking.jsonl"
    first = _logger(uri, journal=journal)
    client = load_mlflow().MlflowClient(uri)
    client.delete_run(first.run_id)
    for step in range(2):
        first.log_metrics({"train/loss": 1.0}, step)
        assert not first.wait()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "was deleted in the store; nothing more is sent" in caplog.text
    first.end("FAILED")
    second = _logger(uri, journal=journal)
    assert second.run_id != first.run_id
    assert _history(second, "train/loss") == [(0, 1.0), (1, 1.0)]


def _locked(*_, **__):
    raise load_mlflow().MlflowException("database is locked", error_code=1)


def test_the_store_that_goes_away_and_comes_back_loses_nothing(uri, caplog, monkeypatch, tmp_path):
    for options in ({}, {"journal": tmp_path / "tracking.jsonl"}):
        logger = _logger(uri, **options)
        caplog.clear()
        with monkeypatch.context() as patch:
            patch.setattr("mlflow.tracking.MlflowClient.log_batch", _locked)
            for step in range(3):
                logger.log_metrics({"train/loss": 1.0}, step)
                assert not logger.wait()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        logger.log_metrics({"train/loss": 1.0}, 3)
        assert [step for step, _ in _history(logger, "train/loss")] == [0, 1, 2, 3]
        assert "takes records again" in caplog.text


def test_a_store_that_is_down_is_left_alone_for_a_while(uri, monkeypatch):
    monkeypatch.setattr("mlflow.tracking.MlflowClient.log_batch", _locked)
    logger, pauses = _logger(uri), []
    bell = logger._delivery._urgent
    rung = bell.wait
    monkeypatch.setattr(bell, "wait", lambda seconds: pauses.append(seconds) or rung(seconds))
    for step in range(4):
        logger.log_metrics({"train/loss": 1.0}, step)
        assert not logger.wait()
    assert pauses[-2] > 5 * background.INTERVAL
    assert pauses[-1] == 2 * pauses[-2]


def test_training_does_not_wait_for_a_store_that_is_locked(uri, store):
    logger = _logger(uri)
    with closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for step in range(200):  # comes to its end although nobody frees the store
            logger.log_metrics({"train/loss": 1.0}, step)
        assert not logger.wait(0.5)
        other.rollback()
    assert len(_history(logger, "train/loss")) == 200


def test_neither_start_nor_training_nor_end_wait_for_a_server_that_hangs(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # or the thread asks for minutes after the test
    monkeypatch.setattr(module, "START_SECONDS", 0.2)
    monkeypatch.setattr(module, "END_SECONDS", {"FINISHED": 0.2})
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        logger = RunLogger(uri, "tests", journal=tmp_path / "tracking.jsonl")
        with tracked(logger):
            for step in range(200):
                logger.log_metrics({"train/loss": 1.0}, step)
        told = list(caplog.messages)  # before the server is gone
    assert told == [
        f"tracking: 202 records of this run wait in tracking.jsonl; spacecast-sweep sync {tmp_path} delivers them"
    ]


def test_what_a_store_refuses_does_not_take_the_rest_along(uri, caplog):
    logger = _logger(uri)
    for step in range(40):
        logger.log_metrics({"train/loss": 1.0, "x" * 300: 1.0} if step == 7 else {"train/loss": 1.0}, step)
    assert len(_history(logger, "train/loss")) == 40
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the store refused metric xxx" in caplog.text


def test_artifacts_that_are_not_taken_hold_nothing_up(uri, tmp_path, monkeypatch, caplog):
    logger = _logger(uri, journal=tmp_path / "tracking.jsonl")
    (tmp_path / "a.txt").write_text("a")

    def full(*_, **__):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.tracking.MlflowClient.log_artifact", full)
        log_artifact(logger, tmp_path / "a.txt")
        logger.log_metrics({"train/loss": 1.0}, 1)
        assert _history(logger, "train/loss") == [(1, 1.0)]
    assert "artifact a.txt was not taken: no space left" in caplog.text
    logger.end("FINISHED")
    client = load_mlflow().MlflowClient(uri)
    assert [found.path for found in client.list_artifacts(logger.run_id)] == ["a.txt"]
    assert len(_history(logger, "train/loss")) == 1


def test_an_unreachable_server_warns_and_training_goes_on(caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logger = RunLogger(f"http://127.0.0.1:{port}", "tests")
    with tracked(logger):
        logger.log_metrics({"train/loss": 1.0}, 1)
    assert logger.run_id is None
    assert logger.version is None
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "not delivered" in caplog.messages[-1]


def test_a_full_or_read_only_place_warns_and_training_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    logger = RunLogger(f"sqlite:///{tmp_path}/file/mlflow.db", "tests")
    logger.start()
    logger.log_metrics({"train/loss": 1.0}, 1)
    assert len(caplog.records) == 1


def test_a_full_run_folder_costs_a_warning_and_everything_arrives(uri, tmp_path, caplog):
    (tmp_path / "tracking.jsonl").symlink_to("/dev/full")
    logger = _logger(uri, journal=tmp_path / "tracking.jsonl")
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
    assert len(_history(logger, "train/loss")) == 3
    logger.end("FINISHED")
    assert _run(logger).info.status == "FINISHED"
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_missing_picture_is_told_and_the_rest_goes_on(uri, tmp_path, caplog):
    logger = _logger(uri)
    log_artifact(logger, tmp_path / "absent.png", "figures")
    logger.log_metrics({"train/loss": 1.0}, 1)
    assert _history(logger, "train/loss") == [(1, 1.0)]
    assert "absent.png" in caplog.text


def test_without_a_store_everything_stays_in_the_journal(tmp_path, uri, caplog):
    logger = RunLogger(None, "tests", "a-run", journal=tmp_path / "tracking.jsonl", system_metrics_seconds=0)
    with tracked(logger):
        logger.log_metrics({"train/loss": 1.0}, 1)
    assert (logger.run_id, logger.wait(), caplog.messages) == (None, True, [])
    with pytest.raises(ValueError, match="told no store; give one with --to"):
        sync(logger.path)
    close_abandoned(tmp_path)
    logger.tracking_uri, logger._run_id = uri, sync(logger.path, uri).run_id
    assert (_run(logger).info.status, _history(logger, "train/loss")) == ("FINISHED", [(1, 1.0)])
    with pytest.raises(UserError, match="give one of them, or logger=none"):
        RunLogger(None)


def test_the_file_store_is_refused_at_once():
    with pytest.raises(UserError, match="sqlite:////"):
        RunLogger("file:./mlruns")


@pytest.mark.parametrize("other", [None, object()])
def test_other_loggers_pass_through(other, tmp_path, monkeypatch):
    """Nothing is written, and an error is what it was."""
    monkeypatch.chdir(tmp_path)
    with tracked(other):
        log_params(other, {"seed": 1})
        log_scores(other, [])
        log_tags(other, {})
        log_artifact(other, "x")
    with pytest.raises(KeyError, match="of the block"), tracked(other):
        raise KeyError("of the block")
    assert not list(tmp_path.iterdir())


def test_the_machine_is_sampled(uri):
    logger = RunLogger(uri, "tests", system_metrics_seconds=0.2)
    with tracked(logger):
        end = time.monotonic() + 600  # only ends a test that hangs
        while time.monotonic() < end:
            if any(name.startswith("system/") for name in _run(logger).data.metrics):
                break
            time.sleep(0.1)
    assert "system/cpu_utilization_percentage" in _run(logger).data.metrics


def test_only_rank_zero_writes(uri, monkeypatch):
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = _logger(uri)
    with tracked(logger):
        logger.log_metrics({"train/loss": 1.0}, 1)
    assert logger.run_id is None


def test_lightning_trains_with_it(uri):
    import pytorch_lightning as pl
    import torch

    class Line(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch):
            loss = (self.weight - 1).square().sum()
            self.log("train/loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    logger = _logger(uri)
    trainer = pl.Trainer(max_steps=6, logger=logger, log_every_n_steps=2, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    trainer.fit(Line(), torch.utils.data.DataLoader([0.0] * 6))
    assert [step for step, _ in _history(logger, "train/loss")] == [1, 3, 5]
    assert _run(logger).info.status == "FINISHED"
