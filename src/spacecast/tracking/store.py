"""The MLflow store: which addresses are accepted, and how it is created once, safely, by any number of processes."""

import glob
import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

from spacecast.core.errors import UserError
from spacecast.core.text import as_typed
from spacecast.process.files import atomic_write, remove_leftovers
from spacecast.process.lock import exclusive
from spacecast.tracking.artifacts import FOLDER, artifact_folder, follow_store, location_of
from spacecast.tracking.description import DESCRIPTION, NOTE

log = logging.getLogger(__name__)

LOCK_SECONDS, BUSY_SECONDS = 300.0, 20.0
_QUERY = re.compile(r"\?[\w.]+=[^/?&]*(&[\w.]+=[^/?&]*)*$")
_UNREADABLE = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # a query to MLflow, and a sign that it decodes
_REMOTE = ("http", "https", "databricks", "databricks-uc", "postgresql", "mysql", "mssql")


def load_mlflow() -> Any:
    """Import MLflow: telemetry off, a dead server given up after seconds, not minutes, its chatter muted."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # its traceback; our own warning is one line
    return mlflow


def check_uri(uri: str | os.PathLike[str], key: str = "logger.tracking_uri") -> str:
    """Return a tracking URI as MLflow takes it, a relative sqlite path made absolute; `key` is what a user typed.

    Raises:
        UserError: for MLflow's file store, a plain folder, an in-memory database or an unknown scheme.

    """
    text = str(uri)
    scheme, colon, rest = text.partition(":")
    if scheme.split("+")[0] in _REMOTE:
        return text
    if scheme == "sqlite":
        path = sqlite_path(text)
        if path is None:
            raise UserError(f"{key}={text} names no file; type sqlite:////absolute/path/mlflow.db")
        if sign := _UNREADABLE.search(str(path)):
            raise UserError(
                f"{key}={text}: MLflow opens no store whose path has {sign.group()!r} in it; rename that folder, or "
                f"type {key}=sqlite:////OTHER/FOLDER/mlflow.db"
            )
        return f"sqlite:///{path}{_split(text)[1]}"
    if scheme == "file" or not colon:
        path = Path((rest if colon else text).removeprefix("//")).expanduser().absolute() / "mlflow.db"
        typed = as_typed(f"{key}=sqlite:///{path}")
        raise UserError(
            f"{key}={text}: MLflow no longer writes folders of files; type {typed}"
        )
    raise UserError(
        f"{key}={text}: unknown scheme {scheme!r}; type sqlite:////path/mlflow.db or http://host:port"
    )


StoreUri = Annotated[str, check_uri]  # text of the configuration that is recorded as `check_uri` returns it


def sqlite_path(uri: str) -> Path | None:
    """Absolute path of a sqlite store; None for any other store."""
    if not uri.startswith("sqlite:///"):
        return None
    name = _split(uri)[0]
    return None if name in ("", ":memory:") else Path(name).expanduser().absolute()


def _split(uri: str) -> tuple[str, str]:
    """File and query of a sqlite address; a question mark may be part of a path, options at the end are a query."""
    text = uri.removeprefix("sqlite:///")
    query = _QUERY.search(text)
    return (text[: query.start()], query.group()) if query else (text, "")


def ensure_store(uri: str) -> str:
    """Create the store, or bring it to the schema of the installed MLflow, before anything is written to it.

    A sqlite file is made under a file lock as a temporary sibling and then renamed, so any number of processes may
    call this at the same time, and one that dies leaves no half-made store. An older store is upgraded in a copy; the
    file as it was stays beside it with the ending `.old`. A store that was moved finds its artifacts again. Servers and
    other databases look after themselves.

    Returns:
        The URI with an absolute path.

    Raises:
        UserError: the address is not acceptable, or the file is no MLflow store of this or an older MLflow, or it is
            locked or cannot be opened now.
        OSError: the folder cannot be written.

    """
    uri = check_uri(uri)
    path = sqlite_path(uri)
    if path is None:
        return uri
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_name(f"{path.name}.lock"), f"MLflow store {path}", LOCK_SECONDS):
        load_mlflow()
        found = _revision(path)
        if found is None:
            _replace(path, _create)
        elif found not in (schemas := _schemas()).get_heads():
            if found not in {schema.revision for schema in schemas.walk_revisions()}:
                raise UserError(f"MLflow store {path} has schema {found}, unknown here; upgrade mlflow or move it away")
            _replace(path, _upgrade)
        try:
            follow_store(path, BUSY_SECONDS)
        except sqlite3.Error as error:
            raise UserError(f"MLflow store {path} is locked or cannot be changed ({error}); try again later") from error
    return uri


def ensure_experiment(client: Any, uri: str, name: str) -> str:
    """Number of the experiment of that name, made if absent, with a description where nobody has given it one.

    Artifacts of a sqlite store lie in `mlruns` beside it.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        path = sqlite_path(uri)
        location = location_of(artifact_folder(path, name)) if path else None
        try:
            return str(client.create_experiment(name, artifact_location=location, tags={NOTE: DESCRIPTION}))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    if not found.tags.get(NOTE):
        client.set_experiment_tag(found.experiment_id, NOTE, DESCRIPTION)
    return str(found.experiment_id)


def _revision(path: Path) -> str | None:
    """Schema revision of a store; None when there is no file or an empty one."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            query = "SELECT version_num FROM alembic_version"
            rows = connection.execute(query).fetchall() if "alembic_version" in tables else []
    except sqlite3.OperationalError as error:  # locked, no permission, failing disk: nothing is wrong with the store
        raise UserError(f"MLflow store {path} is locked or cannot be opened ({error}); try again later") from error
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} is no MLflow store ({error}); move it away or set logger.tracking_uri") from error
    if not tables:
        return None
    if len(rows) != 1 or "experiments" not in tables:
        raise UserError(f"MLflow store {path} is damaged (its creation was cut short); move it away to get a new one")
    return str(rows[0][0])


def _schemas() -> Any:
    """All versions of the schema that the installed MLflow knows, as it keeps them for Alembic."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(load_mlflow().__file__).parent / "store" / "db_migrations"))


def _replace(path: Path, make: Callable[[Path, Path], None]) -> None:
    """Let `make(path, temporary)` write the new store, then put it in place in one step. Call it under the lock."""
    remove_leftovers(path.parent, glob.escape(path.name))  # of a process that died
    with atomic_write(path) as temporary:
        make(path, temporary)


def _create(path: Path, temporary: Path) -> None:
    """Write a fresh store."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{temporary}", location_of(path.parent / FOLDER))
    store.engine.dispose()
    log.info("created the MLflow store %s", path)


def _upgrade(path: Path, temporary: Path) -> None:
    """Copy a store and upgrade the copy; keep the old one beside it."""
    from mlflow.db import upgrade

    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as source, closing(sqlite3.connect(temporary)) as target:
        source.backup(target)
    try:
        upgrade.callback(f"sqlite:///{temporary}")  # what `mlflow db upgrade` does
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"MLflow store {path} cannot be upgraded ({reason}); it is unchanged: move it away") from error
    old = path.with_name(f"{path.name}.old")
    old.unlink(missing_ok=True)
    old.hardlink_to(path)
    log.warning("upgraded the MLflow store %s; the store as it was: %s", path, old.name)
