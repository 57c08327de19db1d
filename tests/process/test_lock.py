"""One process at a time in a run folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.process.lock import FILE, InUseError, exclusive, locked

HOLD = """
import os, sys, time
from pathlib import Path
from spacecast.process.lock import locked

with locked(Path(sys.argv[1])):
    child = os.fork() if "fork" in sys.argv else 0
    if child or "fork" not in sys.argv:
        print(os.getpid(), child, flush=True)
    sys.stdin.read()
"""

Holder = Callable[..., tuple[subprocess.Popen[str], int, int]]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """holder("fork"): a process that is at work in the folder, its number and that of its child."""
    started = []

    def start(*words: str) -> tuple[subprocess.Popen[str], int, int]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), *words]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        pid, child = map(int, started[-1].stdout.readline().split())
        return started[-1], pid, child

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_in_one_line(holder, tmp_path):
    process, pid, _ = holder()
    with pytest.raises(UserError) as caught, locked(tmp_path):
        pass
    wanted = f"paths.run_dir={tmp_path} is in use by process {pid}; wait or choose another folder"
    assert str(caught.value) == wanted
    process.communicate()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_a_process_that_is_killed_leaves_the_folder_free_whatever_children_it_had(holder, tmp_path, words):
    process, pid, child = holder(*words)
    os.kill(pid, signal.SIGKILL)
    process.wait()
    if child:
        os.kill(child, 0)  # is still there
    assert (tmp_path / FILE).exists()  # it could not take it away
    with locked(tmp_path):
        assert (tmp_path / FILE).exists()
    assert not (tmp_path / FILE).exists()


def test_it_leaves_no_file(tmp_path):
    with locked(tmp_path):
        assert (tmp_path / FILE).exists()
    assert list(tmp_path.iterdir()) == []


def test_one_inside_of_another_neither_waits_nor_frees(tmp_path):
    with locked(tmp_path):
        with locked(tmp_path):
            pass
        imports = "from pathlib import Path; from spacecast.process.lock import locked"
        attempt = f"{imports}; locked(Path({str(tmp_path)!r}))"
        done = subprocess.run([sys.executable, "-c", f"{attempt}.__enter__()"], capture_output=True, text=True)
        assert f"is in use by process {os.getpid()}" in done.stderr


def test_a_folder_that_is_removed_meanwhile_does_no_harm(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder):
        (folder / FILE).unlink()
        folder.rmdir()
    assert not folder.exists()


def test_a_job_waits_for_the_one_before(holder, tmp_path, monkeypatch):
    process, _, _ = holder()
    waits = []

    def meanwhile(seconds: float) -> None:
        waits.append(seconds)
        process.kill()
        process.wait()

    monkeypatch.setattr("spacecast.process.lock.time.sleep", meanwhile)
    with locked(tmp_path, patience=600):
        assert len(waits) == 1


def test_a_lock_on_a_file_of_any_name_says_what_it_is_for_and_who_has_it(tmp_path):
    file = tmp_path / "mlflow.db.lock"
    script = "import sys; from pathlib import Path; from spacecast.process.lock import exclusive\n"
    script += "with exclusive(Path(sys.argv[1]), 'x'): print('here', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        wanted = rf"^MLflow store s is in use by process {process.pid}; try again later$"
        with pytest.raises(InUseError, match=wanted):
            exclusive(file, "MLflow store s", 0.2).__enter__()
        process.stdin.close()
    with exclusive(file, "MLflow store s", 0.0) as alone:
        assert alone
    assert list(tmp_path.iterdir()) == []


def test_other_threads_are_kept_out_as_well(tmp_path):
    file, order = tmp_path / FILE, []

    def second() -> None:
        with exclusive(file, "x"):
            order.append("second")

    def refused() -> bool:
        with pytest.raises(InUseError, match="in use by this process"):
            exclusive(file, "x", 0.0).__enter__()
        return True

    with ThreadPoolExecutor(2) as threads:
        with exclusive(file, "x"):
            waiting = threads.submit(second)
            assert threads.submit(refused).result()
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]


def test_without_a_place_for_the_file_it_goes_without(tmp_path):
    with exclusive(tmp_path / "absent" / FILE, "x") as alone:
        assert not alone


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(UserError, match=r"\.lock is a folder where a lock file goes; remove it"):
        locked(tmp_path).__enter__()
