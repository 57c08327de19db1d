"""Files and folders that appear whole or not at all: they are written beside their place and renamed."""

import glob
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MARK = ".partial-"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path beside a file or folder to write to; it takes that place when the block ends well, else it vanishes.

    Any number of processes may do this for one place: each has a path of its own, with the suffix of the place, and
    the last one stays. What is kept beside it under the same name and a further ending, such as the journal of a
    database, vanishes in any case.

    Args:
        path: the place, in a folder that exists.

    Raises:
        OSError: nothing can be written there; what was there is as before.

    """
    partial = path.with_name(f".{path.name}{MARK}{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield partial
        if partial.is_dir() and path.exists():
            path.rename(partial.with_name(f"{partial.name}.old"))
        partial.replace(path)
    finally:
        _remove(partial)


def write_text(path: Path, text: str) -> None:
    """Write a text file: a reader sees the old or the new one, never half of it."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write plain values in the same way."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; empty where there is no file, or another one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sync_file(path: Path) -> None:
    """Bring a file to the disk, so that it survives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make renames in a folder last, where the system can."""
    with suppress(OSError):
        sync_file(path)


def leftovers(folder: Path, pattern: str) -> list[Path]:
    """What processes that write now, or were killed while they did, have beside the places of a pattern of names."""
    return list(folder.glob(f".{pattern}{MARK}*"))


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove what killed processes left half-written; call it where nothing else writes."""
    for path in leftovers(folder, pattern):
        _remove(path)


def _remove(partial: Path) -> None:
    """Remove a path of `atomic_write` and all whose names begin with it."""
    for path in partial.parent.glob(f"{glob.escape(partial.name)}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
