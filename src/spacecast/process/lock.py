"""One process at a time works in a folder or on a file.

Locks are record locks of POSIX. They go with the process however that ends, and belong to no child of it, such as the
workers that read data; those of `flock`, which the package filelock uses, live on in every child that was forked.
"""

import fcntl
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from spacecast.core.errors import UserError

log = logging.getLogger(__name__)

FILE = ".lock"
POLL_SECONDS, TOLD_SECONDS = 0.1, 2.0

_threads: dict[tuple[int, Path], threading.RLock] = {}  # by process and file: a process cannot lock itself out
_held: set[tuple[int, Path]] = set()


class InUseError(UserError):
    """Another process is at work where only one may be.

    Args:
        what: the place, for people.
        who: the process, for people.
        advice: what to do.

    """

    def __init__(self, what: str, who: str, advice: str) -> None:
        super().__init__(f"{what} is in use by {who}; {advice}")
        self.who = who


@contextmanager
def locked(run_dir: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a run folder within the block; see `exclusive`."""
    with exclusive(run_dir / FILE, f"paths.run_dir={run_dir}", patience, "wait or choose another folder"):
        yield


@contextmanager
def exclusive(file: Path, what: str, patience: float = math.inf, advice: str = "try again later") -> Iterator[bool]:
    """Keep others out within the block by a lock on a file that is there meanwhile; one inside of another does nothing.

    Only the process that writes should ask for it. Where there are no such locks, or the file cannot be made, go
    without.

    Args:
        file: says who is there; other threads of this process are kept out as well.
        what: it stands for.
        patience: seconds to wait for whoever is there.
        advice: for the message.

    Yields:
        whether others are kept out.

    Raises:
        InUseError: somebody still is.
        UserError: a folder is where the file goes.

    """
    key = os.getpid(), file.absolute()
    threads = _threads.setdefault(key, threading.RLock())
    if not threads.acquire(timeout=min(patience, threading.TIMEOUT_MAX)):
        raise InUseError(what, "this process", advice)
    try:
        if key in _held:  # a second lock would succeed, and its end would end the first
            yield True
            return
        try:
            descriptor = _wait(file, what, patience, advice)
        except OSError:
            yield False
            return
        _held.add(key)
        try:
            yield True
        finally:
            _held.discard(key)
            if key[0] == os.getpid():  # no fork that leaves by the same door
                with suppress(OSError):
                    if _is_at(file, descriptor):
                        file.unlink()
            os.close(descriptor)
    finally:
        threads.release()


def holder(run_dir: Path) -> str | None:
    """Whoever is at work in a folder, as its note says; None: nobody. To ask takes no lock and keeps nobody out."""
    path = run_dir / FILE
    if (os.getpid(), path.absolute()) in _held:  # to open and close the file would end the lock
        return "this process"
    with suppress(OSError, ValueError):
        pid, host = path.read_text().split()
        if host != socket.gethostname() or alive(int(pid), path.stat().st_mtime):
            return _who(path)
    return None


def alive(pid: int, since: float) -> bool:
    """Whether a process of this machine that was there at a moment [s] still runs."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= since + 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _wait(path: Path, what: str, patience: float, advice: str) -> int:
    """The descriptor of the locked file.

    Raises:
        InUseError: another process has it.
        UserError: it is a folder.
        OSError: the file cannot be made, or not locked here.

    """
    since, told = time.monotonic(), False
    try:
        while (descriptor := _try(path)) is None:
            waited = time.monotonic() - since
            if waited >= patience:
                raise InUseError(what, _who(path), advice)
            if waited > TOLD_SECONDS and not told:
                log.info("waiting for %s, by which %s is in use", _who(path), what)
                told = True
            time.sleep(min(POLL_SECONDS, patience))
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder where a lock file goes; remove it") from error
    with suppress(OSError):  # on a full disk it is locked without a name
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
    return descriptor


def _try(path: Path) -> int | None:
    """The descriptor of the locked file; None when another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):  # the one before has not removed it meanwhile
                return descriptor
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _who(path: Path) -> str:
    """Whoever has locked the file, as far as it says so."""
    try:
        pid, host = path.read_text().split()
    except (OSError, ValueError):
        return "another process"
    return f"process {pid}" + ("" if host == socket.gethostname() else f" on {host}")
