"""A Lightning logger for MLflow that never stops a training, and what a run tells it."""

import logging
import math
import os
import socket
import uuid
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from spacecast.core.errors import UserError
from spacecast.core.text import as_typed
from spacecast.core.types import ScoreRow
from spacecast.tracking.background import BackgroundDelivery
from spacecast.tracking.delivered import one_at_a_time
from spacecast.tracking.journal import Journal, RunSummary, summarise
from spacecast.tracking.machine import PREFIX, MachineMonitor, job_number
from spacecast.tracking.mlflow_run import MlflowRun
from spacecast.tracking.names import MAX_VALUE, RANKED_BY, RENAMED, Point, choose_params, clean, score_points, units_tag
from spacecast.tracking.registration import ModelName, check_sum
from spacecast.tracking.store import StoreUri, check_uri

log = logging.getLogger(__name__)

START_SECONDS = 30.0  # the most that a start waits for the store,
END_SECONDS = {"FINISHED": 60.0, "FAILED": 60.0, "KILLED": 15.0}  # and an end; who kills is impatient
LOCK_SECONDS = 60.0


class RunLogger(Logger):
    """One MLflow run.

    A record goes into the journal in the run folder, which takes microseconds; a thread carries it to the store. So
    nothing here waits for it or raises because of it, and what it does not take outlives the process. Rank 0 writes.

    Args:
        tracking_uri: `sqlite:////path/mlflow.db`, a server or a database; see `store.check_uri`. None: no store, and
            everything stays in the journal.
        experiment: name of the experiment, made if absent.
        run_name: says what differs from other runs.
        choices: the chosen members of groups, recorded as parameters, for example `model` to `keisler`.
        tags: plain text.
        run_id: a run of that store to continue; a journal knows its own.
        system_metrics_seconds: sampling interval of CPU, memory, disk, network and GPU use; 0 turns it off.
        register: name under which a checkpoint is registered, see `log_model`; True: that of the experiment.
        journal: file that keeps every record; a run that has one goes on. None: what is not delivered when the process
            ends is lost.
        retry_seconds: pause after the store has failed.
        checkpoint: whether the best checkpoint of a training becomes an artifact, `checkpoints/best.ckpt`.

    Raises:
        UserError: when the tracking URI is one that MLflow does not accept, or there is neither store nor journal.

    """

    def __init__(
        self,
        tracking_uri: StoreUri | None,
        experiment: str = "spacecast",
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        system_metrics_seconds: float = 10.0,
        journal: str | Path | None = None,
        retry_seconds: float = 30.0,
        register: bool | ModelName = False,
        choices: Mapping[str, Any] | None = None,
        checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not tracking_uri and not journal:
            raise UserError("logger.tracking_uri and logger.journal are both null; give one of them, or logger=none")
        self.tracking_uri = check_uri(tracking_uri) if tracking_uri else None
        self.path = Path(journal).absolute() if journal else None
        self._experiment_name = experiment
        self._run_name = run_name
        self._tags = {clean(name): str(value) for name, value in (tags or {}).items()}
        self.choices, self.checkpoint = dict(choices or {}), checkpoint
        self._run_id = run_id
        self._system_metrics_seconds = system_metrics_seconds
        self._retry_seconds = retry_seconds
        self.registers = clean(experiment) if register is True else register or ""
        self._models: set[tuple[str, str]] = set()
        self._identity = ""
        self._logged: dict[str, int] = {}  # last step of each metric in earlier processes
        self._journal: Journal | None = None
        self._delivery: BackgroundDelivery | None = None
        self._monitor: MachineMonitor | None = None
        self._tracked = False

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._experiment_name

    @property
    def run_id(self) -> str | None:
        """Identifier of the run, None until the store has given one."""
        return (self._delivery.run_id if self._delivery else "") or self._run_id

    version = run_id

    @rank_zero_only
    def start(self) -> None:
        """Open the run now instead of at the first record, and give the store some time to answer."""
        if self._journal is None:
            self._begin()
        self.wait(START_SECONDS)
        self._open()

    def wait(self, seconds: float = END_SECONDS["FINISHED"]) -> bool:
        """Wait until the store has everything; False when it does not take it."""
        return self._delivery is None or self._delivery.wait(seconds)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars at a training step; a run that goes on skips the steps that it has logged before."""
        self._open()
        named = {clean(RENAMED.get(name, name)): float(value) for name, value in metrics.items()}
        points = [Point(name, value, int(step or 0)) for name, value in named.items()]
        self.log_points([point for point in points if point.step > self._logged.get(point.name, -1)])

    @rank_zero_only
    def log_points(self, points: Iterable[Point]) -> None:
        """Log values with steps of their own; MLflow has no infinity, so they are left out."""
        rows = [(name, None if math.isnan(value) else float(value), int(step)) for name, value, step in points]
        if finite := [row for row in rows if row[1] not in (math.inf, -math.inf)]:
            self._open().append(metrics=finite)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Log parameters; MLflow never changes one, so a changed value becomes the tag `resume/<name>`."""
        values = vars(params) if isinstance(params, Namespace) else params
        self._open().append(params={clean(str(name)): str(value)[:MAX_VALUE] for name, value in values.items()})

    @rank_zero_only
    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, replacing those of the same name."""
        self._open().append(tags={clean(name): str(value)[:5000] for name, value in tags.items()})

    @rank_zero_only
    def log_file(self, path: Path, folder: str = "") -> None:
        """Upload a file, or everything in a folder, as artifacts."""
        self._open().append(file={"path": self._told(path), "folder": folder})

    @rank_zero_only
    def log_text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        self._open().append(text={"text": text, "name": name})

    @rank_zero_only
    def log_model(self, path: Path, tags: Mapping[str, str], description: str) -> None:
        """Register a checkpoint, a file `best.ckpt`, once; see `registration.register`."""
        name, total, journal = self.registers, check_sum(path), self._open()
        if name and (name, total) not in self._models:
            told = {"name": name, "path": self._told(path), "sha256": total}
            journal.append(model={**told, "tags": dict(tags), "description": description})
            self._models.add((name, total))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by Lightning at the end of each fit or test; inside `tracked` the run goes on."""
        if not self._tracked:
            self.end("FINISHED" if status in ("success", "finished") else "FAILED")

    @rank_zero_only
    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED; what the store does not take now waits in the journal."""
        journal = self._journal or self._begin()
        if self._monitor is not None:
            self._monitor.stop()
        journal.append(end=status)
        self._run_id, delivery = self.run_id, self._delivery
        self._journal = self._delivery = self._monitor = None
        if delivery is None:
            journal.close()
            log.info("tracking: recorded in %s; spacecast-sweep sync --to URI delivers it", self.path)
        elif (waiting := delivery.close(END_SECONDS[status])) and self.path:
            command = as_typed("spacecast-sweep", "sync", self.path.parent)
            text = "tracking: %d records of this run wait in %s; %s delivers them"
            log.warning(text, waiting, self.path.name, command)
        elif waiting:
            log.warning("tracking: %d records of this run were not delivered and are lost", waiting)

    def _told(self, path: Path) -> str:
        """A path as journals tell it, relative to their folder where it lies in that."""
        path, home = path.absolute(), self.path.parent if self.path else Path()
        return str(path.relative_to(home) if path.is_relative_to(home) else path)

    def _open(self) -> Journal:
        """The journal, for a record; from now on the machine is sampled."""
        journal = self._journal or self._begin()
        if self._monitor is None and self._system_metrics_seconds > 0:
            first = 1 + max((step for name, step in self._logged.items() if name.startswith(PREFIX)), default=-1)
            self._monitor = MachineMonitor(self.log_metrics, self._system_metrics_seconds, first)
        return journal

    def _begin(self) -> Journal:
        """Open the journal: the run begins or, also after an end, goes on."""
        journal = self._journal = Journal(self.path)
        summary, place = summarise(journal), journal.size
        if not self._identity:
            self._logged = {name: step for name, (step, _, _) in summary.latest.items()}
        self._models |= summary.models
        self._identity = summary.run or self._identity or uuid.uuid4().hex
        run = {"run": self._identity, "experiment": self._experiment_name, "name": self._run_name, "tags": self._tags}
        process = {"host": socket.gethostname(), "pid": os.getpid(), "job": job_number(os.environ)}
        journal.append(start={**run, "store": self.tracking_uri, **process})
        summary.add(journal.read(place)[0])
        if self.tracking_uri:
            open_run = partial(self._open_run, self.tracking_uri, summary)
            self._delivery = BackgroundDelivery(journal, self.tracking_uri, open_run, self._retry_seconds)
        return journal

    def _open_run(self, uri: str, summary: RunSummary, hint: str, anew: bool) -> MlflowRun:
        """Find or make the run in the store, one process at a time."""
        with one_at_a_time(self.path, LOCK_SECONDS):
            folder = self.path.parent if self.path else None
            return MlflowRun(uri, summary, (hint, self._run_id or ""), folder, anew=anew)

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process without files, connections and threads."""
        return {**self.__dict__, "_journal": None, "_delivery": None, "_monitor": None}


@contextmanager
def tracked(logger: object) -> Iterator[None]:
    """A run that begins, or goes on, with the block, whether or not the store can be reached.

    It ends with the block: FINISHED, KILLED when interrupted, FAILED with the error as tag `error` otherwise. Any other
    logger, or None, passes through untouched.
    """
    if not isinstance(logger, RunLogger):
        yield
        return
    logger._tracked = True
    logger.start()
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


def log_params(logger: object, config: Mapping[str, Any], *, on_mesh: bool = True, **facts: Any) -> None:
    """Log about fifty parameters chosen from a plain configuration, see `names.choose_params`.

    `on_mesh` says whether the model uses the mesh of the configuration. `facts` are recorded besides: `parameters`, the
    number of trained numbers. Other loggers than ours are left alone.
    """
    if isinstance(logger, RunLogger):
        logger.log_hyperparams(choose_params(config, logger.choices, on_mesh=on_mesh) | facts)


def log_score_to_come(logger: object, split: str = "test") -> None:
    """Record the score that runs are ranked by as not known yet.

    Where MLflow compares runs it draws the metric that was recorded first: without this, how busy the processor was.
    """
    if isinstance(logger, RunLogger):
        logger.log_metrics({f"{split}/{RANKED_BY}": math.nan})


def log_tags(logger: object, tags: Mapping[str, Any]) -> None:
    """Set tags, for example those of `provenance`."""
    if isinstance(logger, RunLogger):
        logger.log_tags(tags)


def log_artifact(logger: object, path: str | Path, folder: str = "") -> None:
    """Upload a file or a folder; MLflow's comparison of runs shows what lies in no folder, so pictures do."""
    if isinstance(logger, RunLogger):
        logger.log_file(Path(path), folder)


def log_scores(logger: object, rows: Iterable[ScoreRow], split: str = "test") -> None:
    """Log scores by lead, see `names.score_points`, and the units of the variables."""
    if isinstance(logger, RunLogger):
        rows = list(rows)
        logger.log_points(score_points(rows, split))
        logger.log_tags(units_tag(rows))


def no_logger(**_: Any) -> None:
    """The target of `logger=none`; what other loggers take is ignored, so that scripts and own settings may give it."""
