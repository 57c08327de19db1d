"""A data folder: whether it is there, who writes to it, and what lies in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.process import files
from spacecast.process.files import remove_leftovers
from spacecast.process.lock import FILE as LOCK
from spacecast.process.lock import exclusive

STORES = "*.zarr"


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def writable(folder: Path) -> bool:
    """True when the folder can be written to; for root, too, only when some write bit is set."""
    return os.access(folder, os.W_OK | os.X_OK) and bool(folder.stat().st_mode & 0o222)


def require_folder(root: Path, *, write: bool) -> None:
    """Raise a UserError unless the folder exists and, with `write`, can be written to."""
    if not root.is_dir():
        if root.exists():
            raise UserError(f"data folder {root} is a file; give a folder")
        raise UserError(f"data folder {root} does not exist; simulate, download or prepare data there first")
    if write and not writable(root):
        raise UserError(
            f"data folder {root} cannot be written to; change its permissions or choose another data folder"
        )


@contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Let one process at a time change a data folder, without what killed ones left; for a folder that is read-only, go
    without.
    """
    if not writable(root):
        yield
        return
    with exclusive(root / LOCK, f"data folder {root}") as alone:
        try:
            if alone:
                remove_leftovers(root, STORES)
            yield
        finally:
            if alone:
                remove_leftovers(root, STORES)


def write_text(target: Path, text: str) -> None:
    """Write a text file of a data folder as a whole, or raise a UserError."""
    try:
        files.write_text(target, text)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from error
