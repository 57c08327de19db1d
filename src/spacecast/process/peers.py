"""Further processes that do their part of this one's work: `python -m spacecast.process.peers` is one of them.

They end with this process however that ends, and it ends with the first of them that fails, by the same exit code. As
in `process/workers.py` they are plain processes with an order on their stdin; what they say is kept for when they fail.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from spacecast.core.errors import UserError
from spacecast.process.exit_codes import DONE, GOES_ON, INTERNAL_ERROR, USER_ERROR, Interrupted
from spacecast.process.signals import Interruption, current
from spacecast.process.workers import import_by_name

LOST = 76  # of a process that ended because another one had
POLL_SECONDS = 0.02
PATIENCE = 10.0  # seconds in which the process that is the cause is found, if it is one of ours

Check = Callable[[], None]


class PeerLostError(RuntimeError):
    """Another process that shares the work is gone."""


def failure(name: str, code: int, said: str) -> BaseException:
    """What the end of a process is to those that share its work.

    Args:
        name: of the process, for people.
        code: it ended with; negative: it was killed by that signal.
        said: what it said.

    """
    last = (said.strip().splitlines() or ["no message"])[-1]
    if code == GOES_ON:
        return Interrupted(last)
    if code == USER_ERROR:
        return UserError(last)
    killed = f"{name} was killed by {signal.Signals(-code).name}" if code < 0 else f"{name}: {last}"
    error = RuntimeError(killed)
    error.add_note(f"{name} said:\n{said.strip()}")
    return error


class _Peer:
    """One further process.

    Args:
        name: for people.
        work, arguments: see `beside`.
        variables: of its environment beside ours.

    """

    def __init__(self, name: str, work: str, arguments: Sequence[Any], variables: Mapping[str, str]) -> None:
        self.name = name
        self._said: IO[str] = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115 - closed by `end`
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "spacecast.process.peers"],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            text=True,
            env={**os.environ, **variables, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        self._order = self._process.stdin
        with suppress(BrokenPipeError):
            self._order.write(json.dumps([work, list(arguments)]) + "\n")
            self._order.flush()

    @property
    def code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    def failure(self) -> BaseException:
        """What its end is to us."""
        self._said.seek(0)
        return failure(self.name, self.code or DONE, self._said.read())

    def end(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._order.close()
        self._said.close()


@contextmanager
def beside(work: str, arguments: Sequence[Any], each: Sequence[Mapping[str, str]]) -> Iterator[Check]:
    """Within the block further processes do their part of the work; the block ends when all have.

    Args:
        work: function of a module, `module:name`.
        arguments: of the function, plain values.
        each: variables in the environment of each process.

    Yields:
        a function that raises what the end of one of them is to us; in the main thread that comes by itself.

    Raises:
        UserError, Interrupted: a process ended with one.
        RuntimeError: a process failed, or was killed.

    """
    with ExitStack() as stack:
        peers: list[_Peer] = []
        for number, variables in enumerate(each, 2):
            peers.append(_Peer(f"process {number} of {len(each) + 1}", work, arguments, variables))
            stack.callback(peers[-1].end)

        def check() -> None:
            for peer in peers:
                if peer.code not in (None, DONE, LOST):
                    raise peer.failure()

        with _told_of_ends(check):
            check()
            try:
                yield check
            except PeerLostError:
                end = time.monotonic() + PATIENCE
                while time.monotonic() < end:
                    check()
                    time.sleep(POLL_SECONDS)
                raise
            while any(peer.code is None for peer in peers):
                check()
                time.sleep(POLL_SECONDS)
            check()
        if lost := [peer.name for peer in peers if peer.code != DONE]:
            raise PeerLostError(f"{lost[0]} found itself alone")


@contextmanager
def _told_of_ends(check: Check) -> Iterator[None]:
    """Within the block, call a function in the main thread whenever a process of ours has ended."""
    before: Any = signal.getsignal(signal.SIGCHLD)
    leaving = False  # once is enough: what follows would disturb the end

    def heard(number: int, frame: FrameType | None) -> None:
        nonlocal leaving
        if callable(before):
            before(number, frame)
        interruption = current()
        if leaving or interruption.leave:
            return
        try:
            check()
        except BaseException as end:
            leaving = True
            if isinstance(end, Interrupted):
                interruption.leave, interruption.name = True, end.name
            raise

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGCHLD, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


def main() -> NoReturn:
    """Do the work that one line of stdin names, and end; the last line that is said tells why it failed."""
    place, arguments = json.loads(sys.stdin.readline())

    def end_with_parent() -> None:
        os.read(0, 1)
        os._exit(LOST)

    threading.Thread(target=end_with_parent, daemon=True).start()
    code = DONE
    try:
        with Interruption().listening():
            import_by_name(place)(*arguments)
    except UserError as error:
        code = USER_ERROR
        sys.stderr.write(f"{error}\n")
    except Interrupted as stop:
        code = GOES_ON
        sys.stderr.write(f"{stop.name}\n")
    except PeerLostError:
        code = LOST
    except BaseException:  # noqa: BLE001 - the last resort
        code = INTERNAL_ERROR
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what libraries do at the end may wait for processes that are gone


if __name__ == "__main__":
    from spacecast.process import peers  # whose errors are those of everybody else

    peers.main()
