"""Importing the package is cheap: what is heavy is imported where it is used."""

import subprocess
import sys

import pytest

WORK = {"torch", "pytorch_lightning", "mlflow", "matplotlib", "mllam_data_prep", "torch_geometric"}
HEAVY = WORK | {"hydra", "numpy", "scipy", "xarray", "zarr"}


def _imported(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_package_alone_imports_nothing_heavy():
    assert not _imported("import spacecast") & HEAVY


def test_the_package_alone_imports_little():
    """The number of modules stands for the time (0.3 s), which a busy machine would stretch."""
    code = "import sys; before = set(sys.modules); import spacecast; print(len(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20


@pytest.mark.parametrize("command", ["train", "evaluate", "forecast", "graph", "data", "plot"])
def test_commands_start_without_what_only_the_work_needs(command):
    assert not _imported(f"import spacecast.app.{command}") & WORK


def test_the_store_of_runs_imports_mlflow_only_when_used():
    assert "mlflow" not in _imported("import spacecast.tracking.store, spacecast.tracking.provenance")
