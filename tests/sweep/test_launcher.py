"""Requests: what sbatch is told, and what is refused before anything is queued."""

import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.sweep.attempt import Attempt
from spacecast.sweep.launcher import Launcher

pytest.importorskip("submitit")

REFUSED = {
    "shorter than the warning": ({"hours": 0.02, "signal_seconds": 120}, "launcher.hours=0.02 (120 s) does not exceed"),
    "taken for a shell": ({"name": "bash"}, "launcher.name='bash' cannot name a job: Lightning takes it for a shell"),
    "taken for a shell, too": ({"name": "interactive"}, "Lightning takes it for a shell"),
    "name of two words": ({"name": "my job"}, "launcher.name='my job' cannot name a job"),
    "two machines here": ({"cluster": "local", "nodes": 2}, "launcher.nodes=2: this machine is one node"),
    "signal of one's own": ({"sbatch": {"signal": "USR1@5"}}, "launcher.sbatch.signal is set by the launcher itself"),
    "nodes twice": ({"sbatch": {"ntasks_per_node": 2}}, "launcher.sbatch.ntasks_per_node is set by the launcher"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused(case):
    keywords, message = REFUSED[case]
    with pytest.raises(UserError, match=re.escape(message)):
        Launcher(**keywords)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An sbatch that keeps what it is given and answers as the real one; REFUSE makes it refuse."""
    tools = tmp_path / "bin"
    tools.mkdir()
    script = f"""#!/bin/bash
if [ -n "$REFUSE" ]; then echo "sbatch: error: Batch job submission failed: $REFUSE" >&2; exit 1; fi
if [ "$1" = --test-only ]; then cat > {tmp_path}/rehearsal; exit 0; fi
number=$((42 + $(ls {tmp_path} | grep -c '^script')))
if [ "$number" = "$FULL" ]; then echo "sbatch: error: Batch job submission failed: too many jobs" >&2; exit 1; fi
[ -e {tmp_path}/script ] && cp "$1" {tmp_path}/script$number || cp "$1" {tmp_path}/script
env > {tmp_path}/environment
echo "Submitted batch job $number"
"""
    config = '#!/bin/bash\nprintf "MaxArraySize            = %s\\nMaxDBDMsgs = 2\\n" "${LARGEST:-1001}"\n'
    for name, text in (("sbatch", script), ("srun", script), ("scontrol", config)):
        (tools / name).write_text(text)
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def attempts(count: int) -> list[Attempt]:
    return [Attempt("os.path:join", "a:B", f"/nowhere/{number}", 3) for number in range(count)]


def submit(folder: Path, count: int = 1, tasks: int = 1, **keywords) -> list[str]:
    (folder / "logs").mkdir()
    return Launcher(**keywords).submit(attempts(count), tasks, folder / "logs", folder / "the code")


def test_every_key_reaches_sbatch(sbatch):
    jobs = submit(
        sbatch, count=3, tasks=4, nodes=2, gpus_per_node=4, cpus_per_task=7, memory_gb=64, hours=30.5, partition="gpu",
        account="p1", qos="high", constraint="a100", name="try", parallel=2, signal_seconds=90,
        setup=["module load x"], sbatch={"mail_type": "END", "exclusive": True}, srun=["--mpi=none"],
    )  # fmt: skip
    assert jobs == ["42_0", "42_1", "42_2"]
    script = (sbatch / "script").read_text()
    for line in (
        "--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4", "--cpus-per-task=7", "--mem=65536M", "--time=1830",
        "--partition=gpu", "--account=p1", "--qos=high", "--constraint=a100", "--job-name=try", "--array=0-2%2",
        "--signal=USR2@90", "--mail-type=END", "--exclusive", "--requeue",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    lines = script.splitlines()
    code = f"export PYTHONPATH='{sbatch}/the code'${{PYTHONPATH:+:$PYTHONPATH}}"
    assert lines.index("module load x") < lines.index(code)
    assert "export SRUN_CPUS_PER_TASK=7" in lines
    assert "--mpi=none" in script


def test_one_run_is_no_array(sbatch):
    assert submit(sbatch) == ["42"]
    assert "--array" not in (sbatch / "script").read_text()


def options(script: Path, name: str) -> list[str]:
    return [line.partition("=")[2] for line in script.read_text().splitlines() if line.startswith(f"#SBATCH --{name}=")]


def test_more_runs_than_one_array_takes_become_several_of_which_as_many_run_as_asked(sbatch, monkeypatch):
    monkeypatch.setenv("LARGEST", "4")
    jobs = submit(sbatch, count=10, parallel=9)  # two arrays of 4 at once
    assert jobs == [*(f"42_{n}" for n in range(4)), *(f"43_{n}" for n in range(4)), "44_0", "44_1"]
    scripts = [sbatch / name for name in ("script", "script43", "script44")]
    assert [options(script, "array") for script in scripts] == [["0-3%4"], ["0-3%4"], ["0-1%2"]]
    assert [options(script, "dependency") for script in scripts] == [[], [], ["afterany:42"]]


def test_fewer_runs_at_once_than_an_array_holds_go_array_by_array(sbatch, monkeypatch):
    monkeypatch.setenv("LARGEST", "4")
    submit(sbatch, count=9, parallel=3, sbatch={"dependency": "afterok:7"})
    scripts = [sbatch / name for name in ("script", "script43", "script44")]
    wanted = [["afterok:7"], ["afterok:7,afterany:42"], ["afterok:7,afterany:43"]]
    assert [options(script, "dependency") for script in scripts] == wanted
    assert options(scripts[0], "array") == ["0-3%3"]


def test_a_cluster_without_arrays_gets_single_jobs(sbatch, monkeypatch):
    monkeypatch.setenv("LARGEST", "0")
    assert submit(sbatch, count=3, parallel=2) == ["42", "43", "44"]
    assert options(sbatch / "script44", "dependency") == ["afterany:42"]


def test_when_a_later_array_is_refused_the_first_ones_are_told(sbatch, monkeypatch):
    monkeypatch.setenv("LARGEST", "2")
    monkeypatch.setenv("FULL", "43")
    (sbatch / "logs").mkdir()
    told = []
    with pytest.raises(UserError, match=r"too many jobs; the 2 runs before are queued, spacecast-sweep resume"):
        Launcher().submit(attempts(5), 1, sbatch / "logs", sbatch / "code", lambda jobs: told.append(list(jobs)))
    assert told == [["42_0", "42_1"]]


def test_what_slurm_refuses_is_one_line_and_nothing_is_queued(sbatch, monkeypatch):
    monkeypatch.setenv("REFUSE", "Requested node configuration is not available")
    with pytest.raises(UserError, match=r"^launcher: Slurm refuses: Requested node configuration is not available$"):
        submit(sbatch)
    assert not (sbatch / "script").exists()


def test_the_job_numbers_are_told_as_soon_as_there_are_any(sbatch):
    (sbatch / "logs").mkdir()
    told = []
    Launcher().submit(attempts(2), 1, sbatch / "logs", sbatch / "code", told.append)
    assert told == [["42_0", "42_1"]]


def test_the_request_is_rehearsed_first(sbatch):
    submit(sbatch, partition="gpu")
    assert "#SBATCH --partition=gpu" in (sbatch / "rehearsal").read_text()


def test_without_slurm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("sbatch") is None
    with pytest.raises(UserError, match="no sbatch here; submit from a login node"):
        submit(tmp_path)


def test_a_job_that_submits_does_not_hand_its_own_variables_on(sbatch, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "64")
    monkeypatch.setenv("SLURM_CONF", "/some/slurm.conf")
    submit(sbatch)
    environment = (sbatch / "environment").read_text()
    assert "SLURM_NTASKS" not in environment
    assert "SLURM_CONF=/some/slurm.conf" in environment
    assert os.environ["SLURM_NTASKS"] == "64"
