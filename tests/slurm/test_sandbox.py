"""The sandbox is a Slurm of two nodes."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_sandbox.sh"


@pytest.mark.usefixtures("slurm")
def test_a_job_runs_on_two_nodes(tmp_path):
    job = tmp_path / "job.sh"
    job.write_text("#!/bin/bash\nsrun sh -c 'echo $SLURMD_NODENAME of $SLURM_NTASKS'\n")
    subprocess.run(["sbatch", "--wait", "-N2", "-o", tmp_path / "out", job], check=True, timeout=300)
    assert sorted((tmp_path / "out").read_text().split("\n")[:2]) == ["node1 of 2", "node2 of 2"]


@pytest.mark.usefixtures("slurm")
def test_what_never_fits_is_refused_at_once(tmp_path):
    asked = ["sbatch", "-N3", "--wrap", "true"]
    assert subprocess.run(asked, cwd=tmp_path, capture_output=True, timeout=300, check=False).returncode != 0


def test_without_packages_and_without_the_right_to_install_it_says_so(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "id", "env"):
        (tools / name).symlink_to(f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else f"/bin/{name}")
    environment = {**os.environ, "PATH": str(tools), "SLURM_SANDBOX_INSTALL": "no"}
    found = subprocess.run([SCRIPT, "up"], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 3
    assert "Slurm is not available: slurm-wlm munge missing" in found.stderr


def test_an_unknown_word_is_a_wrong_usage():
    assert subprocess.run([SCRIPT, "start"], capture_output=True, timeout=120, check=False).returncode == 2
