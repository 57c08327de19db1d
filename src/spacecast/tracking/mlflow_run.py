"""From the journal of a run to a run in an MLflow store: found by its identity or made, filled, closed."""

import logging
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spacecast.tracking.colours import give_colour
from spacecast.tracking.delivered import without_password
from spacecast.tracking.journal import Record, RunSummary
from spacecast.tracking.registration import IDENTITY, ReplacedError, register
from spacecast.tracking.store import ensure_experiment, ensure_store, load_mlflow

log = logging.getLogger(__name__)

_BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # the most that one call of MLflow takes
_OUTSIDE = "lies outside of the run folder; a store that is typed takes it (--to)"
_HOPELESS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")


class DeletedError(RuntimeError):
    """The run was deleted in the store, so nobody wants it there."""


class MlflowRun:
    """One run in one store.

    Every record may be sent twice: a store keeps one point of a metric with the same step, time and value, parameters
    and tags are compared with what is there, and artifacts replace each other.

    Args:
        uri: the store; see `store.check_uri`.
        summary: whose run.
        hints: identifiers that the run may have there; the tag is searched for when none of them is known.
        folder: where the files of the journal lie.
        anew: make another run where it was deleted.
        inside: send files of that folder only. A journal that somebody else has written may name any file.

    `sent` counts points, parameters, tags and files that the store has taken, `refused` what it never will, `postponed`
    artifacts and models that it did not take now although it answers.

    Raises:
        UserError, OSError, MlflowException: the store cannot be used now.
        DeletedError: the run was deleted there.

    """

    def __init__(
        self,
        uri: str,
        summary: RunSummary,
        hints: Sequence[str] = (),
        folder: Path | None = None,
        *,
        anew: bool = False,
        inside: bool = False,
    ) -> None:
        self.client, uri = connect(uri)
        run = find_run(self.client, summary.run, hints)
        if run is not None and run.info.lifecycle_stage == "deleted":
            if not anew:
                raise DeletedError(f"run {run.info.run_id} was deleted in the store")
            run = None
        self.created = run is None
        if run is None:
            for hint in [hint for hint in hints if hint][:1]:
                log.warning("tracking: %s has no run %s to continue; a new run is made", without_password(uri), hint)
            tags = {IDENTITY: summary.run}
            experiment = ensure_experiment(self.client, uri, summary.experiment)
            run = self.client.create_run(experiment, start_time=summary.began, run_name=summary.name, tags=tags)
            give_colour(self.client, experiment, run.info.run_id)
        self.run_id = str(run.info.run_id)
        self.status = str(run.info.status)
        self.metrics = dict(run.data.metrics)
        self.sent = self.refused = self.postponed = 0
        self._folder, self._inside, self._identity = folder or Path(), inside, summary.run
        self._params = dict(run.data.params)
        self._tags = dict(run.data.tags)
        self._seen: dict[str, set[tuple[int, int]]] = {}
        if self._tags.get(IDENTITY) != summary.run:
            self.client.set_tag(self.run_id, IDENTITY, summary.run)

    def send(self, records: Iterable[Record], *, compare: bool = False) -> None:
        """Hand records over, in order, in as few calls as possible; raises what MLflow raises.

        Args:
            records: starts and ends change nothing but tags here, see `set_status`.
            compare: leave out points that the store has already; without that the store does.

        """
        points: list[tuple[str, float, int, int]] = []
        params: dict[str, str] = {}
        tags: dict[str, str] = {}
        files: list[Record] = []
        models: list[Record] = []
        for record in records:
            time = record["time"]
            for name, value, step in record.get("metrics", ()):
                points.append((name, math.nan if value is None else value, time, step))
            for name, text in record.get("params", {}).items():
                if (self._params | params).get(name, text) != text:
                    tags[f"resume/{name}"] = text  # MLflow never changes a parameter
                elif name not in self._params:
                    params[name] = text
            tags |= record.get("tags", {}) | record.get("start", {}).get("tags", {})
            files += [record] if "file" in record or "text" in record else []
            models += [record["model"]] if "model" in record else []
        self._batches("params", list(params.items()))
        self._params |= params
        self._batches("tags", [(name, text) for name, text in tags.items() if self._tags.get(name) != text])
        self._tags |= tags
        self._batches("metrics", [point for point in points if not (compare and self._has(*point))])
        for record in files:
            self._artifact(record)
        for model in models:
            self._model(model)

    def set_status(self, status: str, time: int | None = None) -> None:
        """Set how the run stands; what is no longer RUNNING has an end [ms]."""
        if status == self.status:
            return
        if status == "RUNNING":
            self.client.update_run(self.run_id, status=status)
        else:
            self.client.set_terminated(self.run_id, status, time)
        self.status = status

    def _has(self, name: str, _: float, time: int, step: int) -> bool:
        """Whether the store has a point."""
        if name not in self._seen:
            history = [] if self.created else self.client.get_metric_history(self.run_id, name)
            self._seen[name] = {(point.step, point.timestamp) for point in history}
        return (step, time) in self._seen[name]

    def _batches(self, kind: str, rows: Sequence[Any]) -> None:
        """Send points, parameters or tags in pieces of the size that MLflow takes."""
        for start in range(0, len(rows), _BATCH[kind]):
            self._batch(kind, rows[start : start + _BATCH[kind]])

    def _batch(self, kind: str, rows: Sequence[Any]) -> None:
        """One call; what is refused is found by halving and dropped with a warning."""
        from mlflow.entities import Metric, Param, RunTag

        entity = {"metrics": Metric, "params": Param, "tags": RunTag}[kind]
        try:
            self.client.log_batch(self.run_id, **{kind: [entity(*row) for row in rows]})
        except Exception as error:
            if getattr(error, "error_code", "") not in _HOPELESS:
                raise
            self._check()
            if len(rows) == 1:
                self._refuse(f"{kind.removesuffix('s')} {rows[0][0]}", error)
            else:
                self._batch(kind, rows[: len(rows) // 2])
                self._batch(kind, rows[len(rows) // 2 :])
        else:
            self.sent += len(rows)

    def _artifact(self, record: Record) -> None:
        """Upload a file, a folder or a text."""
        text, file = record.get("text", {}), record.get("file", {})
        name, folder = text.get("name") or file["path"], file.get("folder") or None
        path = self._folder / name
        if file and not path.exists():
            self._refuse(f"artifact {name}", "there is no such file")
            return
        if file and self._inside and not _lies_in(path, self._folder):
            self._refuse(f"artifact {name}", f"it {_OUTSIDE}")
            return
        try:
            if text:
                self.client.log_text(self.run_id, text["text"], name)
            elif path.is_dir():
                self.client.log_artifacts(self.run_id, str(path), folder)
            else:
                self.client.log_artifact(self.run_id, str(path), folder)
        except Exception as error:  # noqa: BLE001 - artifacts lie elsewhere than the rest, and must not hold it up
            self._check()  # raises when it is the store itself that does not answer
            log.warning("tracking: artifact %s was not taken: %s", name, reason(error))
            self.postponed += 1
        else:
            self.sent += 1

    def _model(self, told: Mapping[str, Any]) -> None:
        """Register a checkpoint. The run remembers it, for a version that somebody deletes is not wanted again."""
        name, path, tag = told["name"], self._folder / told["path"], f"registered/{told['name']}"
        if self._tags.get(tag, "").endswith(told["sha256"]):
            return
        if self._inside and not _lies_in(path, self._folder):
            self._refuse(f"model {name}", f"{path} {_OUTSIDE}")
            return
        try:
            version = register(self.client, self.run_id, self._identity, told, path)
        except (FileNotFoundError, ReplacedError) as error:
            self._refuse(f"model {name}", error)
        except Exception as error:  # noqa: BLE001 - as for artifacts
            self._check()
            if getattr(error, "error_code", "") in _HOPELESS:
                self._refuse(f"model {name}", error)
                return
            log.warning("tracking: %s was not registered as model %s: %s", path.name, name, reason(error))
            self.postponed += 1
        else:
            self._tags[tag] = f"version {version}, sha256 {told['sha256']}"
            self._batches("tags", [(tag, self._tags[tag])])

    def _check(self) -> None:
        """Raise when the store does not answer or the run was deleted."""
        if self.client.get_run(self.run_id).info.lifecycle_stage == "deleted":
            raise DeletedError(f"run {self.run_id} was deleted in the store")

    def _refuse(self, what: str, why: object) -> None:
        """Tell what will never arrive."""
        log.warning("tracking: the store refused %s: %s", what, reason(why))
        self.refused += 1


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file, or a folder with all that is in it, lies in a folder, links followed."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return all(each.resolve().is_relative_to(folder.resolve()) for each in found)


def connect(uri: str) -> tuple[Any, str]:
    """A client for a store that is made if absent, and the address as MLflow takes it."""
    uri = ensure_store(uri)
    return load_mlflow().MlflowClient(uri), uri


def find_run(client: Any, identity: str, hints: Iterable[str] = ()) -> Any:
    """The run with one of these identifiers, or with this identity as its tag; None where there is none."""
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    for hint in filter(None, hints):
        try:
            return client.get_run(hint)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    page = client.search_experiments(view_type=ViewType.ALL)
    found = []
    while page:
        numbers = [experiment.experiment_id for experiment in page]
        found += client.search_runs(numbers, f"tags.`{IDENTITY}` = '{identity}'", ViewType.ALL)
        page = client.search_experiments(view_type=ViewType.ALL, page_token=page.token) if page.token else []
    return min(found, key=lambda run: run.info.lifecycle_stage == "deleted", default=None)


def reason(error: object) -> str:
    """One line of an error: what the system said, where that is behind it."""
    inner = error
    while isinstance(inner, BaseException) and (inner.__cause__ or inner.__context__):
        inner = inner.__cause__ or inner.__context__
    if isinstance(inner, OSError | sqlite3.Error) and str(inner):
        error = inner
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
