"""Tasks in several processes."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from spacecast.core.errors import UserError
from spacecast.process.workers import import_by_name, run_tasks

TASKS = """
import os, signal, sys, time
from pathlib import Path
from spacecast.core.errors import UserError

def note(folder, name, report):
    print("something that a library prints")
    report(1, 2)
    (Path(folder) / name).write_text(str(os.getpid()))
    report(2, 2)

def mistake(folder, name, report):
    report(0, 1)
    raise UserError(f"{name} is wrong")

def broken(folder, name, report):
    raise ZeroDivisionError(name)

def killed(folder, name, report):
    os.kill(os.getpid(), signal.SIGKILL)

def endless(folder, name, report):
    (Path(folder) / name).write_text(str(os.getpid()))
    report(0, 1)
    signal.pause()
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Functions in a module that workers find as this process does: by its path."""
    folder = tmp_path / "modules"
    folder.mkdir()
    name = f"own_tasks_{os.getpid()}"
    (folder / f"{name}.py").write_text(TASKS)
    monkeypatch.syspath_prepend(folder)
    return __import__(name)


def numbers(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("processes", [1, 2])
def test_every_task_is_done_and_tells_how_far_it_is(tmp_path, tasks, processes, capfd):
    calls = []
    words = {name: (str(tmp_path), name) for name in "abc"}
    run_tasks(tasks.note, words, processes, lambda *call: calls.append(call))
    assert sorted(calls) == sorted((name, done, 2) for name in "abc" for done in (1, 2))
    assert [[call[1] for call in calls if call[0] == name] for name in "abc"] == [[1, 2]] * 3
    others = set(numbers(tmp_path).values())
    assert (others == {os.getpid()}) if processes == 1 else (len(others) == 3 and os.getpid() not in others)
    assert processes == 1 or capfd.readouterr() == ("", "")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_of_the_user_is_the_same_line_there_as_here(tmp_path, tasks, processes):
    with pytest.raises(UserError, match=r"^b is wrong$"):
        run_tasks(tasks.mistake, {"b": (str(tmp_path), "b")}, processes, None)


@pytest.mark.parametrize(
    ("work", "text"), [("broken", r"process of b ended with code 1: ZeroDivisionError: b$"), ("killed", r"code -9: ")]
)
def test_any_other_end_is_one_line(tmp_path, tasks, work, text):
    with pytest.raises(RuntimeError, match=text) as caught:
        run_tasks(getattr(tasks, work), {"b": (str(tmp_path), "b")}, 2, None)
    assert "\n" not in str(caught.value)


def test_an_interruption_ends_the_workers(tmp_path, tasks):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks.endless, {name: (str(tmp_path), name) for name in "ab"}, 2, interrupt)
    assert numbers(tmp_path)
    assert not [pid for pid in numbers(tmp_path).values() if psutil.pid_exists(pid)]


def test_workers_end_with_a_parent_that_is_killed(tmp_path, tasks):
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(tasks.__file__).parent)!r})
        import {tasks.__name__} as tasks
        from spacecast.process.workers import run_tasks
        words = {{name: ({str(tmp_path)!r}, name) for name in "ab"}}
        run_tasks(tasks.endless, words, 2, lambda name, *_: print(name, flush=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert sorted(parent.stdout.readline().strip() for _ in "ab") == ["a", "b"]
        workers = [psutil.Process(pid) for pid in numbers(tmp_path).values()]
        assert len(workers) == 2
        parent.send_signal(signal.SIGKILL)
    left = psutil.wait_procs(workers, timeout=600)[1]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_a_name_stands_for_what_a_module_holds():
    assert import_by_name("os.path:join") is os.path.join
