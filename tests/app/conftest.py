"""Commands run in this process, in a folder of their own, and small simulated data."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spacecast.app.cli import run_command
from spacecast.app.data import COMMAND as DATA
from spacecast.app.evaluate import COMMAND as EVALUATE
from spacecast.app.forecast import COMMAND as FORECAST
from spacecast.app.graph import COMMAND as GRAPH
from spacecast.app.train import COMMAND as TRAIN
from spacecast.config.command import Command

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "data")]

from data_fixtures import prepared_root  # noqa: E402, F401

COMMANDS = {command.name: command for command in (TRAIN, EVALUATE, FORECAST, GRAPH, DATA)}


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line on stderr."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


Runner = Callable[..., Result]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPACECAST_DATA", raising=False)
    monkeypatch.delenv("SPACECAST_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Runner]:
    """run("spacecast-train", "key=value", ...) or run(command, ...)."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def call(command: str | Command, *words: str) -> Result:
        capsys.readouterr()
        chosen = COMMANDS[command] if isinstance(command, str) else command
        with pytest.raises(SystemExit) as end:
            run_command(chosen, words)
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Result(end.value.code, captured.out, captured.err)

    yield call
    logging.captureWarnings(False)
    for handler in root.handlers[:]:
        if handler not in before[0]:
            root.removeHandler(handler)
            handler.close()
    for handler in before[0]:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(before[1])


TINY = {"nx": 48, "nz": 32, "frames": 30, "cadence": 15.0, "spinup_coarse": 0.0, "spinup_fine": 0.0}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one simulated and prepared run of 30 frames on 48 x 32 cells."""
    from spacecast.data.prepare import prepare
    from spacecast.simulation import generate

    folder = tmp_path_factory.mktemp("data")
    generate(folder / "magnetosphere", "tiny", densities=[1.0], seed=3, processes=1, **TINY)
    prepare(folder / "magnetosphere")
    return folder


@pytest.fixture(scope="session")
def small(tiny_data: Path) -> list[str]:
    """Overrides for a model that trains in seconds on `tiny_data`."""
    return small_words(tiny_data)


def small_words(tiny_data: Path) -> list[str]:
    """See `small`."""
    return [
        f"paths.data_dir={tiny_data}",
        "simulation.preset=tiny",
        "simulation.densities=[1.0]",
        "simulation.seed=3",
        "simulation.test_seed=null",
        *(f"+simulation.{name}={value}" for name, value in TINY.items()),
        "trainer=cpu",
        "logger=none",
        "model=graph_fm",
        "model.hidden_dim=8",
        "model.processor_layers=1",
        "data.batch_size=4",
        "data.val_steps=2",
        "data.limit_windows=4",
        "schedule.rollout_steps=2",
        "evaluation.steps=2",
        "evaluation.examples=0",
        "trainer.max_epochs=2",
        "trainer.pictures=0",
    ]


@pytest.fixture(scope="session")
def untrained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders `fm` and `efm` as trainings on `tiny_data` leave them, of models with random weights."""
    from untrained import write_untrained

    folder = tmp_path_factory.mktemp("untrained")
    for name, words in {"fm": ["model=graph_fm"], "efm": ["model=graph_efm", "evaluation.members=3"]}.items():
        write_untrained(folder / name, [*small_words(tiny_data), *words])
    return folder
