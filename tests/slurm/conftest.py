"""A Slurm to submit to: the sandbox that `make test-slurm` brings up. Without it these tests are skipped."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a Slurm and takes long."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skip where no sandbox answers. A Slurm with users of its own is left alone."""
    if "slurm-sandbox" not in os.environ.get("SLURM_CONF", "") or shutil.which("sinfo") is None:
        pytest.skip("no Slurm sandbox: `make test-slurm` brings one up")
    if subprocess.run(["sinfo", "-h"], capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("the Slurm sandbox does not answer: scripts/slurm_sandbox.sh status")
