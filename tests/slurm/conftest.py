"""A Slurm to submit to: the sandbox that `make test-slurm` brings up. Without it these tests are skipped."""

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spacecast.app.cli import run_command
from spacecast.process.status import read_status
from spacecast.sweep.folder import Sweep
from spacecast.sweep.progress import progress, settled

HERE = Path(__file__).parent
LONGEST = 1200.0  # seconds; only ends a test that hangs


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
    if subprocess.run(["sinfo", "-h"], capture_output=True, timeout=120, check=False).returncode:
        pytest.skip("the Slurm sandbox does not answer: scripts/slurm_sandbox.sh status")


MODEL = '''"""A model of the user's own, whose training waits for the test; it computes what ours does."""

import time
from pathlib import Path

from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.process.signals import current


def build(gate=None, fails=False, **keywords):
    model = EncodeProcessDecode(**keywords)
    prepare, steps = model.prepare, []

    def held():
        if model.training:
            if fails:
                raise ArithmeticError("the model is\\nbroken")
            steps.append(1)
            if gate is not None and len(steps) > 5:
                wait(Path(gate))
        return prepare()

    model.prepare = held
    return model


def wait(gate):
    gate.with_suffix(".here").touch()
    while not gate.with_suffix(".open").exists() and not (current().save or current().leave):
        time.sleep(0.05)
'''

DATA = {"nx": 48, "nz": 32, "frames": 30, "cadence": 15.0, "spinup_coarse": 0.0, "spinup_fine": 0.0}


@dataclass(frozen=True)
class Cluster:
    """A folder to work in, and the commands."""

    root: Path
    words: list[str]

    @property
    def store(self) -> str:
        """Address of the MLflow store."""
        return f"sqlite:///{self.root}/mlflow.db"

    def train(self, name: str, *words: str) -> int:
        """`spacecast-train -m launcher=slurm` into a folder of that name; the exit code."""
        from spacecast.app.train import COMMAND

        with pytest.raises(SystemExit) as end:
            run_command(COMMAND, ["-m", *self.words, f"paths.run_dir={self.root / name}", *words])
        assert isinstance(end.value.code, int)
        return end.value.code

    def sweep(self, verb: str, name: str, *words: str) -> int:
        """`spacecast-sweep VERB`; the exit code."""
        from spacecast.app.sweep import main

        with pytest.raises(SystemExit) as end:
            main([verb, str(self.root / name), *words])
        assert isinstance(end.value.code, int)
        return end.value.code

    def status(self, name: str, run: int = 0) -> dict[str, Any]:
        """What the run says of itself."""
        return read_status(self.root / name / str(run))

    def job(self, name: str, run: int = 0) -> str:
        """Number of the job of a run."""
        sweep = Sweep.read(self.root / name)
        return sweep.job(sweep.runs[run])[1]

    def states(self, name: str) -> list[str]:
        """States of all runs, as `spacecast-sweep status` sees them."""
        return [each.state for each in progress(Sweep.read(self.root / name))]

    def hold(self, name: str, *words: str) -> None:
        """Train until the second epoch has begun; there the run waits for `release`, or for a signal."""
        assert self.train(name, f"model.gate={self.root / name}.gate", *words) == 0

    def is_held(self, name: str) -> bool:
        """Whether the run has come so far; it trains no further by itself, however fast the machine is."""
        return (self.root / name).with_suffix(".here").exists()

    def release(self, name: str) -> None:
        """Let the run, and what will be started of it, train to its end."""
        (self.root / name).with_suffix(".open").touch()

    def wait(self, what: Callable[[], bool], seconds: float = LONGEST) -> None:
        """Until something is so."""
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                logs = [path.read_text()[-1500:] for path in self.root.glob("*/jobs/*_0_log.*")]
                pytest.fail("still not so after " + f"{seconds} s\n" + "\n".join(logs))
            time.sleep(0.5)

    def finish(self, name: str, seconds: float = LONGEST) -> None:
        """Wait for the end of every run of a sweep; all have finished then."""
        self.wait(lambda: settled(progress(Sweep.read(self.root / name))), seconds)
        assert set(self.states(name)) == {"finished"}, [self.status(name), self.states(name)]

    def tracked(self, name: str) -> list[Any]:
        """MLflow runs of a sweep."""
        import mlflow

        client = mlflow.MlflowClient(self.store)
        experiment = client.get_experiment_by_name("spacecast")
        return list(client.search_runs([experiment.experiment_id], f"tags.sweep = '{name}'"))


@pytest.fixture(scope="session")
def cluster(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Small data, a small model, and the commands."""
    from spacecast.data.prepare import prepare
    from spacecast.simulation import generate
    from spacecast.tracking.store import ensure_store

    root = tmp_path_factory.mktemp("cluster")
    generate(root / "data" / "magnetosphere", "tiny", densities=[1.0], seed=3, processes=1, **DATA)
    prepare(root / "data" / "magnetosphere")
    (root / "gated_model.py").write_text(MODEL)
    ensure_store(f"sqlite:///{root}/mlflow.db")
    words = [
        "launcher=slurm", "launcher.hours=0.2", "launcher.signal_seconds=30", f"paths.data_dir={root / 'data'}",
        "simulation.preset=tiny", "simulation.densities=[1.0]", "simulation.seed=3", "simulation.test_seed=null",
        *(f"+simulation.{name}={value}" for name, value in DATA.items()),
        "trainer=cpu", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "model._target_=gated_model.build",
        "+model.gate=null", "model=graph_fm", "model.hidden_dim=8", "model.processor_layers=1",
        "data.batch_size=4", "data.val_steps=2", "data.limit_windows=16", "schedule.rollout_steps=2",
        "evaluation.steps=2", "evaluation.examples=0",
        f"logger.tracking_uri=sqlite:///{root}/mlflow.db", "logger.system_metrics_seconds=0",
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.syspath_prepend(root)
        patch.chdir(root)
        yield Cluster(root, words)
    subprocess.run(["scancel", "--user", getpass.getuser()], timeout=300, check=False)
