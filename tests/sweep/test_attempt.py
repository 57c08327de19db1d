"""What a job runs: it goes on after restarts, a bounded number of times, and not at all once it has finished."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from spacecast.core.errors import UserError
from spacecast.process.status import read_status, write_status
from spacecast.sweep import attempt, start
from spacecast.sweep.attempt import Attempt
from spacecast.sweep.launcher import Launcher
from spacecast.sweep.snapshot import snapshot

CONF = Path(__file__).parents[2] / "conf"
WORK = '''
import os, signal, sys
from pathlib import Path

def count(command, run_dir):
    with (Path(run_dir) / "calls").open("a") as calls:
        calls.write(command + "\\\\n")

def endless(command, run_dir):
    count(command, run_dir)
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(75))
    if len((Path(run_dir) / "calls").read_text().splitlines()) < 2:
        os.kill(os.getpid(), signal.SIGUSR2)

def broken(command, run_dir):
    raise ArithmeticError("no\\\\nway")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder, and a module with work to do."""
    (tmp_path / "work_to_do.py").write_text(WORK.replace("\\\\", "\\"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "run").mkdir()
    (tmp_path / "logs").mkdir()
    return tmp_path


def perform(folder: Path, work: str, most: int = 3, **keywords) -> dict:
    work_to_do = Attempt(f"work_to_do:{work}", "command", str(folder / "run"), most)
    launcher = Launcher(cluster="local", **{"hours": 0.1, "signal_seconds": 20, "max_restarts": most, **keywords})
    launcher.submit([work_to_do], 1, folder / "logs", snapshot(folder / "code", CONF, {}))
    return read_status(folder / "run")


def calls(folder: Path) -> int:
    return len((folder / "run" / "calls").read_text().splitlines())


def test_the_work_is_done_once(folder):
    status = perform(folder, "count")
    assert (status["restarts"], calls(folder)) == (0, 1)
    assert int(status["job"]) > 0


def test_a_finished_run_is_left_alone(folder):
    write_status(folder / "run", state="finished")
    perform(folder, "count")
    assert not (folder / "run" / "calls").exists()


def test_an_error_before_the_run_could_say_so_is_recorded(folder):
    status = perform(folder, "broken")
    assert (status["state"], status["exit_code"]) == ("failed", 1)
    assert status["error"] == "ArithmeticError: no way"
    status = perform(folder, "absent")
    assert status["error"].startswith("AttributeError")


def test_the_warning_of_the_time_limit_restarts_it(folder):
    status = perform(folder, "endless")
    assert (status["restarts"], calls(folder)) == (1, 2)


def test_the_warning_comes_as_long_before_the_time_limit_as_asked(folder, monkeypatch):
    """The watcher of submitit counts by itself; it must be told the numbers."""
    asked = {}
    monkeypatch.setattr("submitit.LocalExecutor.update_parameters", lambda _, **keywords: asked.update(keywords))
    perform(folder, "count", hours=1.5, signal_seconds=45)
    assert (asked["timeout_min"], asked["signal_delay_s"]) == (90, 45)


def test_restarts_are_bounded(folder):
    status = perform(folder, "endless", most=0)
    assert calls(folder) == 1
    assert (status["state"], status["error"]) == ("failed", "restarted 1 times, launcher.max_restarts=0")


def test_a_job_leaves_a_folder_alone_in_which_another_process_is_at_work(folder, monkeypatch):
    place = SimpleNamespace(global_rank=0, job_id="2", cluster="slurm")
    monkeypatch.setattr("submitit.JobEnvironment", lambda: place)
    monkeypatch.setattr(attempt, "PATIENCE", 0.0)
    write_status(folder / "run", state="running", job="1")
    hold = "import sys; from pathlib import Path; from spacecast.process.lock import locked\n"
    hold += "with locked(Path(sys.argv[1])): print('here', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(folder / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "here\n"
        with pytest.raises(UserError, match=f"is in use by process {other.pid}"):
            Attempt("os.path:join", "command", str(folder / "run"), 3)()
        other.kill()
    assert read_status(folder / "run")["job"] == "1"
    Attempt("os.path:join", "command", str(folder / "run"), 3)()
    assert read_status(folder / "run")["job"] == "2"


def test_a_signal_during_the_imports_waits(tmp_path):
    (tmp_path / "slow_start.py").write_text(
        "import os, signal, sys\n"
        "assert sys.path[0] != os.getcwd()\n"
        "os.kill(os.getpid(), signal.SIGUSR2)\n"
        "print('still here', sys.argv[1:], flush=True)\n"
        "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])\n"
    )
    command = [sys.executable, start.__file__, "-u", "-m", "slow_start", "word"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stdout) == (7, "still here ['word']\n")
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_two_machines_are_not_one():
    with pytest.raises(UserError, match="one node"):
        Launcher(cluster="local", nodes=2)
