"""Slow tasks in several processes at once: `python -m spacecast.process.workers` does one of them.

Plain processes rather than a pool: nothing of the parent's main module or of torch is imported, it works from unguarded
scripts and notebooks, and a worker ends with its parent however that ends.
"""

import importlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spacecast.core.errors import UserError
from spacecast.process.progress import ProgressCallback

ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
Messages = queue.SimpleQueue[tuple[str, tuple[int, int] | Exception | None]]


def run_tasks(
    work: Callable[..., None], tasks: Mapping[str, Sequence[Any]], processes: int, progress: ProgressCallback | None
) -> None:
    """Do tasks, some at a time; an error or an interruption ends them all.

    Args:
        work: function of a module, called as work(*arguments, report), where report(done, total) tells how far it is.
        tasks: name of each to its arguments, plain values.
        processes: tasks at a time; 1: in this process.
        progress: called in this thread as progress(name, done, total).

    Raises:
        UserError: a task raised one.
        RuntimeError: a task raised something else, or its process was killed.

    """
    tell = progress or (lambda *_: None)
    if processes <= 1:
        for name, arguments in tasks.items():
            work(*arguments, lambda done, total, name=name: tell(name, done, total))
        return
    waiting, messages = list(tasks), Messages()
    working: dict[str, subprocess.Popen[str]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < processes:
                name = waiting.pop(0)
                working[name] = _start(name, work, tasks[name], messages)
            name, message = messages.get()
            if isinstance(message, tuple):
                tell(name, *message)
                continue
            working.pop(name)
            if message is not None:
                raise message
    finally:
        for process in working.values():
            process.kill()
        for process in working.values():
            process.wait()


def import_by_name(place: str) -> Any:
    """What `module:name` stands for."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _start(
    name: str, work: Callable[..., None], arguments: Sequence[Any], messages: Messages
) -> "subprocess.Popen[str]":
    """Start the process of a task; a thread forwards (name, (done, total)) and finally (name, error or None)."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  closed by the thread
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-m", "spacecast.process.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **ALONE, "PYTHONPATH": path},
    )
    lines, order = process.stdout, process.stdin
    assert lines is not None
    assert order is not None
    with suppress(BrokenPipeError):
        order.write(json.dumps([f"{work.__module__}:{work.__qualname__}", list(arguments)]) + "\n")
        order.flush()

    def forward() -> None:
        with lines:
            for line in lines:
                done, total = line.split()
                messages.put((name, (int(done), int(total))))
        code = process.wait()
        with suppress(BrokenPipeError):
            order.close()  # not before: its end would end the worker
        with errors:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
        failure: Exception | None = None
        if code == 2:
            failure = UserError(last)
        elif code:
            failure = RuntimeError(f"the process of {name} ended with code {code}: {last}")
        messages.put((name, failure))

    threading.Thread(target=forward, daemon=True).start()
    return process


def main() -> int:
    """Do the task in one line of stdin; lines `done total` go to stdout, a failure is the last line of stderr."""
    place, arguments = json.loads(sys.stdin.readline())
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed

    def report(done: int, total: int) -> None:
        try:
            reports.write(f"{done} {total}\n")
            reports.flush()
        except BrokenPipeError:
            os._exit(1)

    def end_with_parent() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        import_by_name(place)(*arguments, report)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
