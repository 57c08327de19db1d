"""Where the artifacts of a store in a file lie: in `mlruns` beside it, also after its folder was moved or copied."""

import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

log = logging.getLogger(__name__)

FOLDER = "mlruns"
_COLUMNS = (("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def artifact_folder(store: Path, experiment: str) -> Path:
    """Folder of an experiment's artifacts.

    Args:
        store: file of the store.
        experiment: its name.

    """
    return store.parent / FOLDER / re.sub(r"[^\w.-]+", "_", experiment)


def location_of(folder: Path) -> str:
    """A folder as MLflow reads it: the path, or an address where signs have to be escaped that it would read."""
    return folder.as_uri() if set("%#?;") & set(str(folder)) else str(folder)


def local_folder(location: str) -> Path | None:
    """The folder that MLflow would write to; None where that is on a server."""
    if location.startswith("/"):
        return Path(url2pathname(location))
    parts = urlsplit(location)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" and not parts.netloc else None


def follow_store(store: Path, seconds: float) -> None:
    """Let the artifacts of a store that was moved or copied with its folder lie in the folder beside it again.

    MLflow keeps absolute paths, and would make the old ones anew. What was put elsewhere on purpose stays there: only
    experiments in a folder `mlruns` are looked at, whose artifacts are no longer at the old place, or lie beside the
    store as well.

    Args:
        store: file of the store, of the schema of the installed MLflow.
        seconds: how long to wait for others that write to it.

    Raises:
        sqlite3.Error: it cannot be written to now.

    """
    with closing(sqlite3.connect(store, timeout=seconds)) as connection:
        rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        moved = [(number, old, new) for number, old in rows if (new := _place_now(store, old or ""))]
        count = sum(_move(connection, number, old, new) for number, old, new in moved)
        connection.commit()
    if count:
        log.info("the MLflow store %s was moved; artifacts lie in %s now", store, store.parent / FOLDER)


def _place_now(store: Path, location: str) -> str:
    """Where an experiment's artifacts have moved to; empty where they have not."""
    before = local_folder(location)
    if before is None or before.parent.name != FOLDER:
        return ""
    now = store.parent / FOLDER / before.name
    if now == before or (before.exists() and (not now.exists() or now.samefile(before))):
        return ""
    return location_of(now)


def _move(connection: sqlite3.Connection, experiment: int, old: str, new: str) -> int:
    """Change the place of an experiment and of what is in it; how many runs and models that are."""
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, experiment))
    count = 0
    for table, column in _COLUMNS:
        query = (
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE experiment_id = ? AND substr({column}, 1, ?) = ?"
        )
        count += connection.execute(query, (new, len(old) + 1, experiment, len(old) + 1, f"{old}/")).rowcount
    return count
