"""Writing and finding the checkpoint files of a run, so that a kill or a full disk never costs more than the newest."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from spacecast.checkpoint.content import load_checkpoint
from spacecast.core.errors import UserError
from spacecast.process.files import atomic_write, sync_file, sync_folder

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
PROGRESS = "progress"  # the entry of a checkpoint that holds how far the training is


def write_whole(content: Any, path: Path, *, keep: Path | None = None, also: Path | None = None) -> None:
    """Write a checkpoint so that at every moment each name is absent or stands for a complete file.

    Args:
        content: what `torch.save` takes; bytes: the file as it is.
        path: where to; replaced.
        keep: the file that was at `path` goes here.
        also: second name of the new file, put in place first.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        with partial.open("wb") as stream:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                torch.save(content, stream)
        sync_file(partial)
        if also is not None:
            _second_name(partial, also)
        if keep is not None and path.exists():
            _second_name(path, keep)
    sync_folder(path.parent)


def _second_name(path: Path, other: Path) -> None:
    """Let another name stand for a file: by a link, or by a copy where the file system has none."""
    with atomic_write(other) as partial:
        try:
            partial.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, partial)
            sync_file(partial)


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a folder that can be read, and its content; None where there is none.

    Args:
        folder: holds `last.ckpt` and `previous.ckpt`.

    Raises:
        UserError: there are some, but all are damaged.

    """
    fault: UserError | None = None
    for path in (folder / LAST, folder / PREVIOUS):
        if path.is_file():
            try:
                return path, load_checkpoint(path)
            except UserError as error:
                fault = error
                log.warning("%s; looking for the one before", error)
    if fault is not None:
        raise UserError(f"no checkpoint in {folder} can be read: remove them to start anew") from fault
    return None


def bring_best(source: Path, folder: Path, score: float) -> bool:
    """Let the best checkpoint beside another run's checkpoint stand in a folder too, if it is of this score.

    Args:
        source: the checkpoint that a new run goes on from.
        folder: checkpoints of the new run.
        score: the best that `source` knows of.

    """
    found = source.parent / BEST
    if not found.is_file():
        return False
    try:
        if load_checkpoint(found).get(PROGRESS, {}).get("best") != score:
            return False  # of an epoch that comes after `source`
        folder.mkdir(parents=True, exist_ok=True)
        _second_name(found, folder / BEST)
    except (UserError, OSError) as error:
        log.warning("%s is not taken over: %s", found, error)
        return False
    return True
