"""Fetches a published data set or model: sizes told before, each file checked, the commit noted."""

import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from spacecast.core.errors import UserError
from spacecast.core.text import several, shown
from spacecast.data.hub import KEPT, RemoteFile, Repository, explained, fetch_file, list_repository
from spacecast.process.files import read_json, write_json
from spacecast.process.lock import exclusive
from spacecast.process.progress import ProgressCallback

log = logging.getLogger(__name__)

RECORD = "spacecast-download.json"  # what was fetched
PARTIAL = ".spacecast-download"  # files under way
LOCK = ".spacecast-download.lock"
WORKERS = 8  # files at a time
SECONDS = 0.5  # between two looks at how far they are
GRACE = 1.0  # seconds for them to end


class StoppedError(Exception):
    """Ends the transfers that are under way."""


def download(
    name: str,
    folder: Path,
    *,
    revision: str | None = None,
    only: Sequence[str] = (),
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> Repository:
    """Fetch what a folder lacks of a repository; what is there and right is left alone.

    A file appears under its name when its check sum is right. Which commit the folder holds is noted beside the files,
    before the first of them, and what is fetched later is of the same one.

    Args:
        name: OWNER/NAME on Hugging Face.
        folder: where to; made when absent.
        revision: a commit, branch or tag; None: the commit that was noted there, or else the newest.
        only: patterns of paths, of which one must fit; none: all.
        overwrite: replace files of other origin.
        progress: called with how far it is, in MB.

    Returns:
        The repository at its commit.

    Raises:
        UserError: there is no network, no such repository, no room, or a file stays damaged.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={folder}: cannot write there ({error.strerror}); choose another folder") from error
    with exclusive(folder / LOCK, f"output={folder}", 0.0, "wait, or choose another folder"):
        noted = read_json(folder / RECORD)
        before = _noted_revision(noted, name, folder)
        repository = list_repository(name, revision or before)
        if before is not None and before != repository.revision:
            raise UserError(
                f"output={folder} holds {name} at revision {before}, not {repository.revision}: give another folder, "
                "or leave revision out"
            )
        files = _selected(repository, only)
        lacking = _lacking(folder, files, noted, overwrite=overwrite)
        _check_room(repository, folder, files, lacking)
        patterns = [] if not only or (noted and not noted["only"]) else [*noted.get("only", []), *only]
        begun = noted["begun"] if isinstance(noted.get("begun"), int) else int(time.time())
        note = {
            "repository": name,
            "kind": repository.kind,
            "revision": repository.revision,
            "only": list(dict.fromkeys(patterns)),
            "begun": begun,
        }
        with explained(name, repository.revision):
            write_json(folder / RECORD, {**note, "complete": False})
            _fetch_all(repository, lacking, folder, begun, progress)
            write_json(folder / RECORD, {**note, "complete": True})
    log.info("%s checked, all as published", several(len(files), "file"))
    return repository


def _noted_revision(noted: dict[str, Any], name: str, folder: Path) -> str | None:
    """The commit that an earlier download there was of.

    Raises:
        UserError: it was of something else, or the note is none.

    """
    if not noted:
        return None
    known = {"repository": str, "revision": str, "only": list}
    if not all(isinstance(noted.get(key), kind) for key, kind in known.items()):
        raise UserError(f"{folder / RECORD} is not as it was written; remove it to fetch the newest revision")
    if noted["repository"] != name:
        raise UserError(f"output={folder} holds {shown(noted['repository'])}; give another folder for {name}")
    log.info("revision %s, noted in %s", noted["revision"], folder / RECORD)
    revision: str = noted["revision"]
    return revision


def _selected(repository: Repository, only: Sequence[str]) -> list[RemoteFile]:
    """The files that are wanted.

    Raises:
        UserError: there are none, or one has a name that is needed here.

    """
    for file in repository.files:
        if file.path.partition("/")[0] in (RECORD, PARTIAL, LOCK):
            raise UserError(
                f"{repository.name} holds a file {shown(file.path)}, whose place is taken; nothing is fetched"
            )
    patterns = [f"{pattern}*" if pattern.endswith("/") else pattern for pattern in only]
    found = [f for f in repository.files if not only or any(fnmatchcase(f.path, pattern) for pattern in patterns)]
    if not found:
        names = list(dict.fromkeys(file.path.partition("/")[0] for file in repository.files))
        there = f"it holds {', '.join(map(shown, names[:20]))}" if names else "it is empty"
        raise UserError(f"no file of {repository.name} fits only={list(only)}; {there}")
    return found


def _lacking(folder: Path, files: Sequence[RemoteFile], noted: dict[str, Any], *, overwrite: bool) -> list[RemoteFile]:
    """The files that are not there, or are not what they should be.

    Raises:
        UserError: one of another origin is in the way.

    """
    there = [file for file in files if (folder / file.path).exists()]
    with ThreadPoolExecutor(WORKERS) as pool:
        good = pool.map(lambda file: is_intact(folder / file.path, file), there)
        right = {file for file, whole in zip(there, good, strict=True) if whole}
    wrong = [file for file in there if file not in right]
    if wrong and not noted and not overwrite:
        raise UserError(
            f"output={folder} holds a file {shown(wrong[0].path)} that is another one than the published: give another "
            "folder, or overwrite=true to replace it"
        )
    for file in wrong:
        log.warning("%s is damaged or was changed: it is fetched again", folder / file.path)
    return [file for file in files if file not in right]


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Whether a file on the disk has the size and the check sum of a published one."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(b"blob %d\0" % file.size)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == file.digest


def _check_room(
    repository: Repository, folder: Path, files: Iterable[RemoteFile], lacking: Sequence[RemoteFile]
) -> None:
    """Tell how much there is to fetch.

    Raises:
        UserError: the disk has no room for it.

    """
    total, needed = (sum(file.size for file in group) for group in (files, lacking))
    free = shutil.disk_usage(folder).free
    log.info(
        "%s (%s, revision %s): %s, of which %s in %s are to be fetched into %s, where %s are free",
        repository.name, repository.kind, repository.revision,
        in_words(total), in_words(needed), several(len(lacking), "file"), folder, in_words(free),
    )  # fmt: skip
    if needed > free:
        raise UserError(
            f"{repository.name} needs {in_words(needed)}, {folder} has {in_words(free)} free: make room, give "
            "output=DIR on another disk, or only=[PATTERN,...] for a part of it"
        )


def in_words(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _fetch_all(
    repository: Repository, files: Sequence[RemoteFile], folder: Path, begun: int, progress: ProgressCallback | None
) -> None:
    """Fetch files side by side; the first error, or a signal, ends all.

    No transfer that hangs can keep the process: its threads end with it. All files have the time at which the first
    download began, so that none seems to be newer than what was made of it.
    """
    partial, stop = folder / PARTIAL, threading.Event()
    come = dict.fromkeys((file.path for file in files), 0)
    total = sum(file.size for file in files)
    left, ended = SimpleQueue[RemoteFile](), SimpleQueue[Exception | None]()
    for file in files:
        left.put(file)

    def work() -> None:
        """Fetch what is left, one file after the other."""
        with suppress(Empty):
            while not stop.is_set():
                file = left.get_nowait()
                try:
                    os.utime(_fetch(repository, file, folder, come, stop), (begun, begun))
                    ended.put(None)
                except Exception as error:  # noqa: BLE001 - raised in the main thread
                    ended.put(error)

    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(WORKERS, len(files)))]
    try:
        for thread in threads:
            thread.start()
        number = 0
        while number < len(files):
            with suppress(Empty):
                error = ended.get(timeout=SECONDS)
                number += 1
                if error is not None:
                    raise error
            if progress is not None:
                progress(f"MB of {repository.name}", min(sum(come.values()), total) // 10**6, total // 10**6)
    finally:
        stop.set()
        until = time.monotonic() + GRACE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0))
        shutil.rmtree(partial, ignore_errors=True)


def _fetch(repository: Repository, file: RemoteFile, folder: Path, come: dict[str, int], stop: threading.Event) -> Path:
    """Fetch one file to its place, which is returned; one that comes damaged a second time.

    Raises:
        UserError: it is damaged then as well.

    """

    def count(number: int) -> None:
        if stop.is_set():
            raise StoppedError
        come[file.path] += number

    for again in (False, True):
        count(-come[file.path])
        path, target = fetch_file(repository, file.path, folder / PARTIAL, count, again=again), folder / file.path
        if is_intact(path, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            come[file.path] = file.size
            return target
        path.unlink()
        log.warning("%s has come damaged%s", file.path, "" if again else "; fetching it again")
    raise UserError(
        f"{file.path} of {repository.name} comes with another check sum than the hub says it has; {KEPT}, try it later"
    )
