"""One process at a time works in a run folder."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from spacecast.core.errors import UserError

FILE = ".lock"

_held: set[tuple[int, Path]] = set()  # process and folder


class InUseError(UserError):
    """Another process is at work in a folder.

    Args:
        folder: which one.
        who: the process, for people.

    """

    def __init__(self, folder: Path, who: str) -> None:
        super().__init__(f"paths.run_dir={folder} is in use by {who}; wait or choose another folder")
        self.who = who


@contextmanager
def locked(run_dir: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a run folder within the block; one inside of another does nothing.

    It is a record lock of POSIX: it goes with the process however that ends, and belongs to no child of it, such as the
    workers that read data. Only the process that writes should ask for it. Where there are no such locks, go without.

    Args:
        run_dir: folder of the run.
        patience: seconds to wait for whoever is in there.

    Raises:
        InUseError: somebody is.

    """
    key = os.getpid(), run_dir.absolute()
    if key in _held:  # a second lock would succeed, and its end would end the first
        yield
        return
    path = run_dir / FILE
    try:
        descriptor = _wait(path, patience)
    except OSError:
        yield
        return
    _held.add(key)
    try:
        yield
    finally:
        _held.discard(key)
        if key[0] == os.getpid():  # no fork that leaves by the same door
            with suppress(OSError):
                if _is_at(path, descriptor):
                    path.unlink()
        os.close(descriptor)


def holder(run_dir: Path) -> str | None:
    """Whoever is at work in a folder, as its note says; None: nobody. To ask takes no lock and keeps nobody out."""
    if (os.getpid(), run_dir.absolute()) in _held:  # to open and close the file would end the lock
        return "this process"
    path = run_dir / FILE
    try:
        pid, host = path.read_text().split()
        here = host == socket.gethostname()
        return _who(path) if not here or alive(int(pid), path.stat().st_mtime) else None
    except (OSError, ValueError):
        return None


def alive(pid: int, since: float) -> bool:
    """Whether a process of this machine that was there at a moment [s] still runs."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= since + 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _wait(path: Path, patience: float) -> int:
    """The descriptor of the locked file.

    Raises:
        InUseError: another process has it.
        OSError: the file cannot be made, or not locked here.

    """
    until = time.monotonic() + patience
    while (descriptor := _try(path)) is None:
        if time.monotonic() >= until:
            raise InUseError(path.parent, _who(path))
        time.sleep(min(1.0, patience))
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
