"""Every record of a tracked run in one file of the run folder, whatever becomes of the store.

One JSON object a line, only ever appended to. `time` is in milliseconds since 1970, as in MLflow; beside it stands one
of these:

    start    {run, experiment, name, store, tags, host, pid, job}: a process begins or goes on; `run` is the identity
    metrics  [[name, value, step], ...]; the value null is NaN
    params   {name: text}
    tags     {name: text}
    file     {path, folder}: an artifact; the path is relative to the folder of the journal, or absolute
    text     {text, name}: a text that becomes an artifact
    model    {name, path, sha256, tags, description}: a checkpoint to register, the path as of a file
    end      FINISHED, FAILED or KILLED
"""

import errno
import json
import logging
import math
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

log = logging.getLogger(__name__)

PATTERN = "tracking*.jsonl"
PIECE = 2**20  # bytes read at a time
SPARE = 2**26  # bytes that wait in memory for a disk that takes nothing

Record = Mapping[str, Any]


class Journal:
    """The lines of a run: the file, and in memory what a full disk has not taken yet. Never raises while appending.

    A process that is killed leaves at most its last line unfinished, and such a line is skipped.

    Args:
        path: the file; None for one without a name that goes with the process.
        writing: False for a reader, who sees the file as it is when it is opened.

    Raises:
        OSError: a reader finds no file.

    """

    def __init__(self, path: Path | None, *, writing: bool = True) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._tail = bytearray()
        self._warned = False
        self._file = self._open() if writing or path is None else os.open(path, os.O_RDONLY)
        self._written = os.fstat(self._file).st_size
        if writing and self._written and os.pread(self._file, 1, self._written - 1) != b"\n":
            self._tail += b"\n"  # after the unfinished line of a process that was killed

    @property
    def size(self) -> int:
        """Bytes of all lines."""
        with self._lock:
            return self._written + len(self._tail)

    def append(self, **record: Any) -> None:
        """Add a record of this moment."""
        line = json.dumps({"time": now(), **record}, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            if self._tail and len(self._tail) + len(line) > SPARE:
                return
            self._tail += line
            self._write()

    def read(self, offset: int, stop: int | None = None) -> tuple[list[Record], int]:
        """Some whole lines from `offset` on, in order, and where they end; that is `offset` where there are none."""
        length = PIECE
        while True:
            with self._lock:
                whole = self._written + len(self._tail)
                until = min(whole if stop is None else stop, offset + length)
                data = os.pread(self._file, max(0, min(until, self._written) - offset), offset)
                data += self._tail[max(0, offset - self._written) : max(0, until - self._written)]
            end = data.rfind(b"\n") + 1
            if end or offset + length >= whole:
                return list(_parsed(data[:end])), offset + end
            length *= 2

    def pieces(self, offset: int = 0, stop: int | None = None) -> Iterator[tuple[list[Record], int]]:
        """Everything from `offset` on, piece by piece."""
        while True:
            records, end = self.read(offset, stop)
            if end == offset:
                return
            yield records, end
            offset = end

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        with self._lock:
            self._write()
            try:
                os.fsync(self._file)  # some file systems tell only now that they are full
            except OSError as error:
                if error.errno != errno.EINVAL:  # no file at all
                    self._warn(error)
            os.close(self._file)
            self._file = -1  # whoever comes too late must not meet another file of this number

    def _write(self) -> None:
        """Give the file what it has not taken yet."""
        try:
            while self._tail:
                count = os.write(self._file, self._tail)
                self._written += count
                del self._tail[:count]
        except OSError as error:
            self._warn(error)

    def _open(self) -> int:
        """The file, or one without a name where that is impossible."""
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            except OSError as error:
                self._warn(error)
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())

    def _warn(self, error: OSError) -> None:
        """Say once that the disk takes nothing."""
        if not self._warned and self.path is not None:
            text = "training goes on, and records that the store does not take either are lost at its end"
            log.warning("tracking: %s cannot be written (%s); %s", self.path, error.strerror or error, text)
        self._warned = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class RunSummary:
    """What the records so far say of a run as a whole.

    Args:
        run: identity, made by the process that began it.
        experiment, name: where it belongs and what it is called, as first given.
        store: address of the store that the last process was told to use; empty when none.
        began, last: time of the first and of the last record.
        process: `host`, `pid`, `job` and start `time` of the last process.
        ended: how that ended; empty when it has not said so.
        latest: metric to (step, time, value) of its last point.
        models: name and check sum of each checkpoint to register.

    """

    run: str = ""
    experiment: str = "spacecast"
    name: str | None = None
    store: str = ""
    began: int = 0
    last: int = 0
    process: dict[str, Any] = field(default_factory=dict)
    ended: str = ""
    latest: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    models: set[tuple[str, str]] = field(default_factory=set)

    def add(self, records: Iterable[Record]) -> None:
        """Take further records in."""
        for record in records:
            self.last = record["time"]
            if start := record.get("start"):
                if not self.run:
                    self.run, self.experiment, self.name = start["run"], start["experiment"], start["name"]
                    self.began = self.last
                self.store = start["store"] or ""
                self.process = {"time": self.last, **{key: start.get(key) for key in ("host", "pid", "job")}}
            self.ended = record.get("end", "")
            if model := record.get("model"):
                self.models.add((model["name"], model["sha256"]))
            for name, value, step in record.get("metrics", ()):
                known = self.latest.get(name)
                if known is None or (step, self.last) >= known[:2]:
                    self.latest[name] = (step, self.last, math.nan if value is None else value)


def summarise(journal: Journal) -> RunSummary:
    """What a whole journal says."""
    summary = RunSummary()
    for records, _ in journal.pieces():
        summary.add(records)
    return summary


def read_summary(path: Path) -> RunSummary:
    """What a journal that may be in use says of its run.

    Raises:
        OSError: it cannot be read.

    """
    with Journal(path, writing=False) as journal:
        return summarise(journal)


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def _parsed(data: bytes) -> Iterator[Record]:
    """Records of lines; unfinished ones are skipped."""
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "time" in record:
            yield record
