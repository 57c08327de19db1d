"""A Lightning logger for MLflow that never stops a training, and what a run tells it."""

import logging
import math
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from spacecast.tracking.names import MAX_VALUE, Point, Score, choose_params, clean, score_points
from spacecast.tracking.outbox import Outbox, Record
from spacecast.tracking.store import check_uri, ensure_experiment, ensure_store, load_mlflow

log = logging.getLogger(__name__)

_BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # the most that one call of MLflow takes
_HOPELESS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")


class RunLogger(Logger):
    """One MLflow run.

    Nothing here raises because of the store: what cannot be delivered waits in memory, a warning says so once. Only
    rank 0 of a distributed training writes.

    Args:
        tracking_uri: `sqlite:////path/mlflow.db`, a server or a database; see `store.check_uri`.
        experiment: name of the experiment, made if absent.
        run_name: says what differs from other runs.
        tags: plain text.
        run_id: a run of that store to continue.
        system_metrics_seconds: sampling interval of CPU, memory, disk, network and GPU use; 0 turns it off.
        retry_seconds: pause after the store has failed.

    Raises:
        UserError: when the tracking URI is one that MLflow does not accept.

    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str = "spacecast",
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        system_metrics_seconds: float = 10.0,
        retry_seconds: float = 30.0,
    ) -> None:
        super().__init__()
        self.tracking_uri = check_uri(tracking_uri)
        self.run_id = run_id
        self._experiment_name = experiment
        self._run_name = run_name
        self._tags = {clean(name): str(value) for name, value in (tags or {}).items()}
        self._system_metrics_seconds = system_metrics_seconds
        self._outbox = Outbox(self._deliver, _hopeless, retry_seconds)
        self._client: Any = None
        self._monitor: Any = None
        self._tracked = False
        self._params: dict[str, str] = {}
        self._resumed_at: dict[str, int] = {}

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._experiment_name

    @property
    def version(self) -> str | None:
        """Identifier of the run, None until the store has given one."""
        return self.run_id

    @rank_zero_only
    def start(self) -> None:
        """Open the run now instead of at the first record."""
        self._outbox.send(Record("log_batch", {}))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars at a training step; a resumed run skips the steps that it has logged before."""
        points = [Point(clean(name), float(value), int(step or 0)) for name, value in metrics.items()]
        self.log_points([point for point in points if point.step > self._resumed_at.get(point.name, -1)])

    @rank_zero_only
    def log_points(self, points: Iterable[Point]) -> None:
        """Log values with steps of their own in as few calls as possible."""
        now = int(time.time() * 1000)
        finite = [point for point in points if not math.isinf(point.value)]
        self._send_batch("metrics", [(point.name, point.value, now, point.step) for point in finite])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Log parameters; MLflow never changes one, so a changed value becomes the tag `resume/<name>`."""
        values = vars(params) if isinstance(params, Namespace) else params
        texts = {clean(str(name)): str(value)[:MAX_VALUE] for name, value in values.items()}
        changed = {name: text for name, text in texts.items() if self._params.get(name, text) != text}
        fresh = {name: text for name, text in texts.items() if name not in self._params}
        self._params |= fresh
        self._send_batch("params", list(fresh.items()))
        self.log_tags({f"resume/{name}": text for name, text in changed.items()})

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, replacing those of the same name."""
        self._send_batch("tags", [(clean(name), str(value)[:5000]) for name, value in tags.items()])

    @rank_zero_only
    def log_file(self, path: Path, folder: str = "") -> None:
        """Upload a file, or everything in a folder, as artifacts."""
        method, key = ("log_artifacts", "local_dir") if path.is_dir() else ("log_artifact", "local_path")
        self._outbox.send(Record(method, {key: str(path), "artifact_path": folder or None}))

    @rank_zero_only
    def log_text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self._outbox.send(Record("log_text", {"text": text, "artifact_file": name}))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by Lightning at the end of each fit or test; inside `tracked` the run goes on."""
        if not self._tracked:
            self.end("FINISHED" if status in ("success", "finished") else "FAILED")

    @rank_zero_only
    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED and try a last time to deliver what waits."""
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self._outbox.send(Record("set_terminated", {"status": status}))
        if not self._outbox.flush():
            count = len(self._outbox.waiting)
            log.warning("tracking: %d records of this run were not delivered to %s", count, self.tracking_uri)

    def _send_batch(self, kind: str, rows: list[Any]) -> None:
        """Send parameters, tags or metrics in pieces of the size that MLflow takes."""
        size = _BATCH[kind]
        for start in range(0, len(rows), size):
            self._outbox.send(Record("log_batch", {kind: rows[start : start + size]}))

    def _deliver(self, record: Record) -> None:
        """Hand one record to MLflow; raises what MLflow raises."""
        if self._client is None:
            self._open()
        arguments = dict(record.arguments)
        if record.method == "log_batch":
            from mlflow.entities import Metric, Param, RunTag

            kinds = {"metrics": Metric, "params": Param, "tags": RunTag}
            arguments = {kind: [kinds[kind](*row) for row in rows] for kind, rows in arguments.items()}
            if not arguments:
                return
        getattr(self._client, record.method)(self.run_id, **arguments)

    def _open(self) -> None:
        """Create the run, or set the one to be continued RUNNING again."""
        uri = ensure_store(self.tracking_uri)
        client = load_mlflow().MlflowClient(uri)
        experiment = ensure_experiment(client, uri, self._experiment_name)
        resumed = self._resume(client) if self.run_id else False
        if not resumed:
            self.run_id = client.create_run(experiment, run_name=self._run_name, tags=self._tags).info.run_id
        self._client = client
        if self._system_metrics_seconds > 0 and self._monitor is None:
            self._monitor = _start_monitor(str(self.run_id), uri, self._system_metrics_seconds, resumed)

    def _resume(self, client: Any) -> bool:
        """Reopen a run; False when the store does not have it."""
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            run = None
        if run is None or run.info.lifecycle_stage == "deleted":
            log.warning("tracking: %s has no run %s to continue; a new run is made", self.tracking_uri, self.run_id)
            return False
        client.update_run(self.run_id, status="RUNNING")
        for name, value in self._tags.items():
            client.set_tag(self.run_id, name, value)
        self._params = dict(run.data.params) | self._params
        for name in run.data.metrics:
            if not name.startswith("system/"):
                self._resumed_at[name] = max(metric.step for metric in client.get_metric_history(self.run_id, name))
        return True

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process without the connection and the monitor thread."""
        return {**self.__dict__, "_client": None, "_monitor": None}


def _hopeless(error: Exception) -> bool:
    """True for a record that MLflow would refuse for ever."""
    return getattr(error, "error_code", "") in _HOPELESS or isinstance(error, FileNotFoundError)


def _start_monitor(run_id: str, uri: str, seconds: float, resumed: bool) -> Any:
    """Sample the machine in a thread of MLflow's."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=seconds, resume_logging=resumed, tracking_uri=uri)
    monitor.start()
    return monitor


def make_logger(
    tracking_uri: str,
    experiment: str = "spacecast",
    run_name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    system_metrics_seconds: float = 10.0,
) -> RunLogger:
    """Open an MLflow run, or continue `run_id`; see `RunLogger`.

    Returns:
        The logger, also when the store is out of reach: then it warns and tries again later.

    Raises:
        UserError: when the tracking URI is one that MLflow does not accept.

    """
    logger = RunLogger(tracking_uri, experiment, run_name, tags, run_id, system_metrics_seconds)
    logger.start()
    return logger


@contextmanager
def tracked(logger: object) -> Iterator[None]:
    """End the run with the block: FINISHED, KILLED when interrupted, FAILED with the error as tag `error` otherwise.

    Any other logger, or None, passes through untouched.
    """
    if not isinstance(logger, RunLogger):
        yield
        return
    logger._tracked = True
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        logger.end("KILLED")
        raise
    except BaseException as error:
        logger.log_tags({"error": f"{type(error).__name__}: {error}"[:500]})
        logger.end("FAILED")
        raise
    else:
        logger.end("FINISHED")
    finally:
        logger._tracked = False


def log_params(logger: object, config: Mapping[str, Any]) -> None:
    """Log about fifty parameters chosen from a resolved configuration of plain types."""
    if isinstance(logger, RunLogger):
        logger.log_hyperparams(choose_params(config))


def log_tags(logger: object, tags: Mapping[str, Any]) -> None:
    """Set tags, for example those of `provenance`."""
    if isinstance(logger, RunLogger):
        logger.log_tags(tags)


def log_artifact(logger: object, path: str | Path, folder: str = "") -> None:
    """Upload a file or a folder, for example `config.yaml` to `config`, a picture to `figures`."""
    if isinstance(logger, RunLogger):
        logger.log_file(Path(path), folder)


def log_scores(logger: object, rows: Iterable[Score], split: str = "test") -> None:
    """Log scores by lead; see `names.score_points`."""
    if isinstance(logger, RunLogger):
        logger.log_points(score_points(rows, split))
