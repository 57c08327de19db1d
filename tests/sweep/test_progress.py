"""What became of runs: status files against a queue, with commands of Slurm that answer as they are told."""

import os
import stat
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.process.status import read_status, write_status
from spacecast.sweep.folder import Sweep, name_runs
from spacecast.sweep.progress import progress, settled, unfinished
from spacecast.sweep.queue import cancel_jobs

SHOW = "JobId=7 JobState=TIMEOUT Reason=TimeLimit Requeue=1 Restarts=0 ExitCode=0:15"


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """answer("squeue", "7_0|RUNNING|None"): what a command prints; None: it fails."""
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")

    def tell(command: str, text: str | None) -> None:
        end = "exit 1" if text is None else "exit 0"
        lines = ["#!/bin/bash", f'echo "$@" >> {tmp_path}/{command}.log', "cat <<'X'", text or "", "X", end, ""]
        (tools / command).write_text("\n".join(lines))
        (tools / command).chmod(stat.S_IRWXU)

    for command in ("squeue", "scontrol", "sacct", "scancel"):
        tell(command, "" if command == "squeue" else None)
    return tell


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Four runs of one array."""
    made = Sweep(tmp_path / "sweep", "a:B", tuple(name_runs([[f"seed={seed}"] for seed in range(4)])))
    made.write()
    (made.folder / "jobs").mkdir()
    return made.submitted("slurm", {number: f"7_{number}" for number in range(4)})


def mark(sweep: Sweep, number: int, state: str, **facts) -> None:
    folder = sweep.run_dir(sweep.runs[number])
    folder.mkdir(exist_ok=True)
    write_status(folder, state=state, job=f"7_{number}", **facts)


def test_the_queue_counts_while_it_has_the_job(sweep, answer):
    answer("squeue", "7_0|RUNNING|None\n7_1|PENDING|Priority\n7_2|COMPLETING|None\n7_3|PENDING|BeginTime")
    mark(sweep, 0, "running")
    mark(sweep, 2, "failed", error="no")
    mark(sweep, 3, "interrupted")
    states = progress(sweep)
    assert [each.state for each in states] == ["running", "queued", "failed", "queued"]
    assert [each.why for each in states] == ["", "Priority", "no", "BeginTime"]
    assert not settled(states)
    assert unfinished(states) == []


def test_without_a_job_the_file_counts(sweep, answer):
    answer("scontrol", SHOW)
    mark(sweep, 0, "finished")
    mark(sweep, 1, "failed", error="ValueError: no")
    mark(sweep, 2, "running")
    states = progress(sweep)
    assert [each.state for each in states] == ["finished", "failed", "lost", "lost"]
    assert states[1].why == "ValueError: no"
    assert states[2].why == "TIMEOUT TimeLimit, exit code 0:15"
    assert read_status(sweep.run_dir(sweep.runs[2]))["state"] == "lost"
    assert [each.run.number for each in unfinished(states)] == [1, 2, 3]


def test_interrupted_on_this_machine_is_no_loss(tmp_path, sweep):
    here = sweep.submitted("local", {0: str(2**22 + 1)})
    mark(here, 0, "interrupted")
    write_status(here.run_dir(here.runs[0]), job=str(2**22 + 1), error="by SIGTERM")
    first = progress(Sweep(here.folder, here.command, here.runs[:1], here.submissions))[0]
    assert (first.state, first.active, first.why) == ("interrupted", False, "by SIGTERM")


def test_accounting_answers_where_the_controller_has_forgotten(sweep, answer):
    answer("sacct", "OUT_OF_MEMORY|0:125")
    mark(sweep, 0, "running")
    assert progress(sweep)[0].why == "OUT_OF_MEMORY, exit code 0:125"


def test_the_log_has_the_last_word(sweep, answer):
    mark(sweep, 0, "running")
    line = "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***"
    (sweep.folder / "jobs" / "7_0_0_log.err").write_text(f"{line}\nsrun: got SIGCONT\n")
    assert progress(sweep)[0].why == line


def test_a_job_of_the_user_that_was_cancelled_is_told_from_a_lost_one(sweep, answer):
    answer("scontrol", "JobState=CANCELLED Reason=None ExitCode=0:0")
    mark(sweep, 0, "running")
    assert progress(sweep)[0].state == "cancelled"


def test_what_an_earlier_submission_left_does_not_count(sweep, answer):
    mark(sweep, 0, "failed", error="old")
    again = sweep.submitted("slurm", {0: "8"})
    answer("squeue", "8|PENDING|Resources")
    assert (progress(again)[0].state, progress(again)[0].why) == ("queued", "Resources")


def test_when_slurm_does_not_answer_nobody_is_declared_dead(sweep, answer):
    answer("squeue", None)
    mark(sweep, 0, "running")
    with pytest.raises(UserError, match="Slurm does not answer"):
        progress(sweep)
    assert read_status(sweep.run_dir(sweep.runs[0]))["state"] == "running"


def test_a_finished_sweep_asks_nobody(sweep, answer):
    answer("squeue", None)
    for number in range(4):
        mark(sweep, number, "finished")
    assert settled(progress(sweep))


def test_cancelling_names_the_jobs(answer, tmp_path):
    answer("scancel", "")
    cancel_jobs("slurm", ["7_0", "8"])
    assert (tmp_path / "scancel.log").read_text() == "7_0 8\n"
    answer("scancel", None)
    with pytest.raises(UserError, match="scancel failed"):
        cancel_jobs("slurm", ["9"])
