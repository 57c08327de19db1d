"""A forecast by the tasks of srun: one file, that of a single process."""

import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr


@pytest.fixture
def forecast(cluster, monkeypatch, tmp_path):
    """forecast(nodes, tasks, "key=value", ...): what so many tasks of spacecast-forecast on each node have to say."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "app")
    from untrained import write_untrained

    words = [word for word in cluster.words if not word.startswith(("launcher", "model.", "model=", "+model."))]
    write_untrained(tmp_path / "run", ["model=graph_efm", "model.hidden_dim=8", "evaluation.members=4", *words])
    command = [sys.executable, "-m", "spacecast.app.forecast", f"checkpoint={tmp_path / 'run'}", "trainer=cpu"]
    command += [f"paths.data_dir={cluster.root / 'data'}", "start=[2,9]", "member_chunk=2"]

    def call(nodes: int, tasks: int, *more: str) -> subprocess.CompletedProcess[str]:
        srun = ["srun", f"--nodes={nodes}", f"--ntasks-per-node={tasks}"]
        return subprocess.run(
            [*srun, *command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )

    return call


def test_the_tasks_of_srun_write_what_one_process_writes(forecast, tmp_path):
    found = []
    for nodes, tasks in ((1, 1), (1, 2), (2, 1)):
        output = tmp_path / f"{nodes}{tasks}.zarr"
        done = forecast(nodes, tasks, f"trainer.devices={tasks}", f"trainer.num_nodes={nodes}", f"output={output}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("forecast: ") == 1
        found.append(xr.load_dataset(output).drop_attrs())
    assert found[0].identical(found[1])
    assert found[0].identical(found[2])


def test_tasks_that_the_trainer_does_not_ask_for_are_refused(forecast, tmp_path):
    done = forecast(1, 2, "output=a.zarr")
    assert done.returncode == 2
    assert "ask for 1 in all, but 2 processes were started" in done.stderr
    assert not (tmp_path / "a.zarr").exists()
