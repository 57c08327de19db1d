"""Processes that share the work of this one end with it, and it ends with them, by the same exit code."""

import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.process.exit_codes import Interrupted
from spacecast.process.peers import PeerLostError, beside
from spacecast.process.signals import Interruption

LONGEST = 120.0  # seconds; only ends a test that hangs


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return tmp_path


def variables(count: int) -> list[dict[str, str]]:
    return [{"NUMBER": str(number)} for number in range(1, count + 1)]


def pid(folder: Path, number: int = 1) -> int:
    """Of a process, once it has begun."""
    place = folder / f"begun-{number}"
    until(place.exists)
    return int(place.read_text())


def until(what) -> None:
    end = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < end, "hangs"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has as well."""
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return True


def stay() -> None:
    until(lambda: False)


def test_the_block_ends_when_all_have_ended_and_their_noise_is_not_heard(folder, capfd):
    with beside("peers_at_work:end", [str(folder)], variables(2)):
        pass
    assert all(gone(pid(folder, number)) for number in (1, 2))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("work", "kind", "text"),
    [
        ("fail", RuntimeError, "process 2 of 2: ValueError: this is broken"),
        ("mistake", UserError, "a mistake of the user"),
        ("lost", PeerLostError, "process 2 of 2 found itself alone"),
    ],
)
def test_a_failure_there_is_one_here(folder, work, kind, text):
    def share() -> None:
        with beside(f"peers_at_work:{work}", [str(folder)], variables(1)):
            pid(folder)
            if work != "lost":
                stay()

    with pytest.raises(kind, match=text) as found:
        share()
    assert type(found.value) is kind
    if work == "fail":
        assert "peers_at_work.py" in "".join(traceback.format_exception(found.value))  # where it was


def test_a_killed_process_ends_all(folder):
    def share() -> None:
        with beside("peers_at_work:stay", [str(folder)], variables(2)):
            pids.extend([pid(folder, 1), pid(folder, 2)])
            os.kill(pids[0], signal.SIGKILL)
            stay()

    pids: list[int] = []
    with pytest.raises(RuntimeError, match="was killed by SIGKILL"):
        share()
    assert gone(pids[1])


def test_a_signal_to_one_interrupts_all_once(folder):
    def share() -> None:
        with Interruption({}).listening(), beside("peers_at_work:stay", [str(folder)], variables(2)):
            pids.extend([pid(folder, 1), pid(folder, 2)])
            os.kill(pids[1], signal.SIGTERM)
            try:
                stay()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # comes to all of them, now to us: what is under way goes on
                (folder / "tidied up").touch()

    pids: list[int] = []
    with pytest.raises(Interrupted) as stop:
        share()
    assert (stop.value.name, stop.value.code) == ("SIGTERM", 75)
    assert (folder / "tidied up").exists()
    assert gone(pids[0])


def test_an_error_here_ends_the_others(folder):
    def share() -> None:
        with beside("peers_at_work:stay", [str(folder)], variables(2)):
            pids.extend([pid(folder, 1), pid(folder, 2)])
            raise ArithmeticError

    pids: list[int] = []
    before = signal.getsignal(signal.SIGCHLD)  # workers of a data loader leave a handler of their own
    with pytest.raises(ArithmeticError):
        share()
    assert all(map(gone, pids))
    assert signal.getsignal(signal.SIGCHLD) == before


def test_who_notices_that_another_is_gone_names_the_cause(folder):
    """Here the loss is noticed before the news of the end has come, and a third process has noticed it as well."""
    with (
        pytest.raises(RuntimeError, match="process 3 of 3: ValueError: this is broken"),
        beside("peers_at_work:second_fails", [str(folder)], variables(2)),
    ):
        raise PeerLostError("another one is gone")


def test_they_end_with_a_process_that_is_killed(folder):
    program = (
        "from spacecast.process.peers import beside\nimport time\n"
        f"with beside('peers_at_work:stay', [{str(folder)!r}], [{{'NUMBER': '1'}}, {{'NUMBER': '2'}}]):\n"
        "    time.sleep(600)"
    )
    path = os.pathsep.join(sys.path)
    first = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path})
    pids = pid(folder, 1), pid(folder, 2)
    first.kill()
    first.wait()
    until(lambda: all(map(gone, pids)))
