"""The folder of a run."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spacecast.app import cli, train
from spacecast.config import complete
from spacecast.config.command import Command
from spacecast.config.schema import Graph
from spacecast.core.errors import UserError
from spacecast.process.run_folder import discard_run, read_facts
from spacecast.process.status import read_status


def test_a_run_that_never_began_leaves_the_current_folder(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    run_dir = folder / "runs" / "mine"
    run_dir.mkdir(parents=True)
    for name in ("config.yaml", "train.log", ".lock"):
        (run_dir / name).touch()
    monkeypatch.chdir(folder)
    discard_run(run_dir)
    assert list(folder.iterdir()) == []


def test_a_run_that_got_somewhere_stays(tmp_path):
    (tmp_path / "scores.csv").touch()
    discard_run(tmp_path)
    assert (tmp_path / "scores.csv").exists()


@dataclass
class Task:
    """Remembers what it was called with, and sends a signal to this process."""

    signal: int = 0
    error: Exception | None = None
    seen: list[Any] = field(default_factory=list)

    def __call__(self, given, *_):
        self.seen.append(given)
        if self.signal:
            os.kill(os.getpid(), self.signal)
        if self.error:
            raise self.error
        return given


def command(task: Task, **more: Any) -> Command:
    return Command("try", "graph", Graph, task, "tries.", ["try"], {"picture": "a picture"}, {"try": "this"}, **more)


ENDS = {
    "finished": (Task(), "finished", 0, None),
    "interrupted": (Task(signal.SIGTERM), "interrupted", 75, "ended by a signal, to be continued"),
    "failed": (Task(error=ArithmeticError("no\nluck")), "failed", 1, "ArithmeticError: no luck"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_run_says_how_it_ended(run, workplace, end):
    task, state, code, why = ENDS[end]
    assert run(command(task), "paths.run_dir=here").code == code
    status = read_status(workplace / "here")
    assert (status["state"], status["exit_code"], status["starts"], status["pid"]) == (state, code, 1, os.getpid())
    assert str(status.get("error")).startswith(str(why))
    assert run(command(Task()), "paths.run_dir=here").code == 0
    status = read_status(workplace / "here")
    assert (status["state"], status["starts"], "error" in status) == ("finished", 2, False)


def test_a_mistake_in_a_run_that_has_begun_is_in_its_status_and_its_log(run, workplace):
    run(command(Task()), "paths.run_dir=here")
    assert run(command(Task(error=UserError("not so"))), "paths.run_dir=here").line == "try: error: not so"
    status = read_status(workplace / "here")
    assert (status["state"], status["exit_code"], status["error"]) == ("failed", 2, "not so")
    assert "not so" in (workplace / "here" / "graph.log").read_text()


def test_a_configuration_is_composed_completed_and_checked_once(run, monkeypatch):
    called = []

    def counted(name: str, function: Any) -> Any:
        return lambda *words, **more: (called.append(name), function(*words, **more))[1]

    monkeypatch.setattr("spacecast.app.cli.compose", counted("compose", cli.compose))
    monkeypatch.setattr("spacecast.config.complete.check_config", counted("check", complete.check_config))
    once = command(Task(), complete=lambda plain, *_: (called.append("complete"), plain)[1])
    assert run(once, "paths.run_dir=here").code == 0
    assert called == ["compose", "complete", "check"]


HOLD = """
import sys
from pathlib import Path
from spacecast.process.lock import locked

with locked(Path("busy")):
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def busy(workplace: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has just begun a run in the folder `busy`."""
    (workplace / "busy").mkdir()
    (workplace / "busy" / "config.yaml").write_text("of: the first\n")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=workplace, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_before_anything_is_written(run, workplace, busy):
    task = Task()
    result = run(command(task), "paths.run_dir=busy")
    wanted = f"paths.run_dir={workplace}/busy is in use by process {busy.pid}; wait or choose another folder"
    assert (result.code, result.line, task.seen) == (2, f"try: error: {wanted}", [])
    assert (workplace / "busy" / "config.yaml").read_text() == "of: the first\n"
    assert run(command(task), "paths.run_dir=other").code == 0


def test_the_other_processes_of_a_run_are_let_in(run, busy, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    task = Task()
    assert run(command(task), "paths.run_dir=busy").code == 0
    assert len(task.seen) == 1


def test_a_folder_is_free_after_a_run_that_was_killed(run, busy):
    busy.kill()
    busy.wait()
    task = Task()
    assert run(command(task), "paths.run_dir=busy").code == 0
    assert len(task.seen) == 1


def test_a_mistake_beside_a_run_that_has_just_begun_leaves_its_folder(run, workplace, busy):
    assert run("spacecast-train", "paths.run_dir=busy", "resume=a", "init_from=b").code == 2
    assert (workplace / "busy" / "config.yaml").exists()


def test_a_signal_before_the_work_ends_with_the_code_of_an_interruption(run, workplace):
    before = signal.getsignal(signal.SIGTERM)
    result = run(command(Task(), complete=Task(signal.SIGTERM)))
    assert (result.code, result.line) == (75, "try: error: interrupted by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(workplace.iterdir()) == []


def test_in_a_batch_job_that_nobody_requeues_it_still_says_how_to_go_on(run, workplace, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    result = run(command(Task(signal.SIGUSR2)), "paths.run_dir=here")
    assert (result.code, result.line) == (
        75, f"try: error: interrupted by SIGUSR2; the same command with paths.run_dir={workplace}/here goes on",
    )  # fmt: skip


def test_the_time_of_all_attempts_is_noted_also_of_one_that_fails(tmp_path, monkeypatch):
    moments = iter([10.0, 14.5, 100.0, 101.25])
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    with pytest.raises(ArithmeticError), train.timed(tmp_path):
        raise ArithmeticError
    assert read_facts(tmp_path) == {"training_seconds": 4.5}
    with train.timed(tmp_path):
        pass
    assert read_facts(tmp_path) == {"training_seconds": 5.75}
