"""The folder of a sweep may have been written by anybody: it runs, imports and writes nothing that nobody asked for."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from spacecast.app import sweep
from spacecast.app.cli import run_command
from spacecast.app.train import COMMAND as TRAIN
from spacecast.config.schema import Paths, Section
from spacecast.core.errors import UserError
from spacecast.process.run_folder import write_config
from spacecast.process.status import read_status, write_status
from spacecast.sweep import creation, saved, starting
from spacecast.sweep.attempt import Attempt
from spacecast.sweep.saved import command_of, read_config, run_job, saved_config, start_logs
from spacecast.sweep.snapshot import check_code, snapshot

HERE = "hostile_sweep"
Change = Callable[[Path], None]


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that must not come into being: importing `hostile_sweep` makes it."""
    path = tmp_path / "marker"
    made = f"from pathlib import Path\nPath({str(path)!r}).touch()\n"
    (tmp_path / f"{HERE}.py").write_text(f"{made}def run(**_): ...\nCOMMAND = run\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(HERE, None)


def instead_of_starting(patch: pytest.MonkeyPatch, call: Callable[..., None]) -> None:
    """Let `call` be told of the runs that would be started, and nobody wait for them."""
    for module in (creation, starting):
        patch.setattr(module, "start", call)
        patch.setattr(module, "conclude", lambda *_: None)


WORDS = ("-m", "launcher=slurm_debug", "trainer=cpu", "experiment=smoke", "logger=none", "seed=1,2")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two runs that a launcher was to take, recorded and then not submitted."""
    place = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("SPACECAST_DATA", raising=False)
        instead_of_starting(patch, lambda *_: None)
        with pytest.raises(SystemExit) as end:
            run_command(TRAIN, [*WORDS, "paths.run_dir=sweep"])
    assert end.value.code == 0
    return shutil.move(place / "sweep", place / "as recorded")


@pytest.fixture
def folder(recorded: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That sweep where it was recorded."""
    monkeypatch.chdir(recorded.parent)
    yield Path(shutil.copytree(recorded, recorded.parent / "sweep"))
    for path in recorded.parent.iterdir():
        if path != recorded:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def call(capsys, *words: object) -> tuple[int, str]:
    """`spacecast-sweep`: exit code and the line on stderr."""
    with pytest.raises(SystemExit) as end:
        sweep.main(list(map(str, words)))
    return int(end.value.code or 0), capsys.readouterr().err


def record(**changes: Any) -> Change:
    """Changes `sweep.json`."""
    return lambda folder: (folder / "sweep.json").write_text(
        json.dumps({**json.loads((folder / "sweep.json").read_text()), **changes})
    )


def config(place: str, value: Any, number: int = 0) -> Change:
    """Changes one key in the configuration of a run."""

    def change(folder: Path) -> None:
        file = folder / str(number) / "config.yaml"
        content = yaml.safe_load(file.read_text())
        *path, last = place.split(".")
        section = content
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
        file.write_text(yaml.safe_dump(content))

    return change


def text(place: str, content: str) -> Change:
    """Writes a file."""

    def change(folder: Path) -> None:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(content)

    return change


def linked(folder: Path) -> None:
    """The folder of a run lies elsewhere."""
    (folder / "1").rename(folder.parent / "elsewhere")
    (folder / "1").symlink_to(folder.parent / "elsewhere")


RUN = {"number": 0, "name": "x", "values": {}, "overrides": []}
JOB = {"cluster": "slurm", "time": "now"}
TOUCH = "from pathlib import Path; Path('marker').touch()\n"
HOSTILE: dict[str, tuple[Change, str]] = {
    "another command": (record(command=f"{HERE}:COMMAND"), "is no command of spacecast"),
    "a road to another command": (record(command="spacecast.app.train:os.system"), "is no command of spacecast"),
    "no command": (record(command=["x"]), "is not as -m writes it"),
    "a run elsewhere": (record(runs=[{**RUN, "number": "../../elsewhere"}]), "is not as -m writes it"),
    "an absolute run": (record(runs=[{**RUN, "number": "/tmp"}]), "is not as -m writes it"),
    "no runs": (record(runs=[]), "is not as -m writes it"),
    "an option as a job": (record(submissions=[{**JOB, "jobs": {"0": "--user=root"}}]), "is not as -m writes it"),
    "another scheduler": (record(submissions=[{**JOB, "cluster": "x", "jobs": {}}]), "is not as -m writes it"),
    "no JSON": (text("sweep.json", "{"), "cannot be read"),
    "a model": (config("model._target_", f"{HERE}.run"), "model._target_='hostile_sweep.run' is not called"),
    "in the second run": (config("model._target_", f"{HERE}.run", 1), "1/config.yaml: model._target_="),
    "a launcher": (config("launcher._target_", f"{HERE}.run"), "launcher._target_='hostile_sweep.run' is not called"),
    "a logger": (config("logger._target_", "os.system"), "logger._target_='os.system' is not called"),
    "a callback": (config("trainer.callbacks", [{"_target_": f"{HERE}.run"}]), "trainer.callbacks[0]._target_="),
    "trust of its own": (config("trust", [HERE]), ""),
    "a shell": (config("launcher.setup", ["touch marker"]), "launcher.setup=['touch marker'] would go to a shell"),
    "options of srun": (config("launcher.srun", ["--prolog=x"]), "launcher.srun="),
    "options of sbatch": (config("launcher.sbatch", {"wrap": "x"}), "launcher.sbatch="),
    "a line more": (config("launcher.partition", "gpu\ntouch marker"), "launcher.partition has a line break"),
    "no launcher": (config("launcher", "touch marker"), "launcher is no section"),
    "a picture": (config("picture", "elsewhere.png"), "picture=elsewhere.png lies outside of the run folder"),
    "a journal": (config("logger.journal", "elsewhere.jsonl"), "logger.journal=elsewhere.jsonl lies outside"),
    "a table": (config("logger.save_dir", "/elsewhere"), "logger.save_dir=/elsewhere lies outside of the run folder"),
    "a store": (config("logger.tracking_uri", "sqlite:///elsewhere.db"), "would make a new file there"),
    "a simulation": (config("simulation.root", "elsewhere"), "its simulation would write into"),
    "data": (config("paths.data_dir", "/elsewhere/data"), "there is no folder paths.data_dir=/elsewhere/data"),
    "no places": (config("paths", {}), "does not say paths.run_dir"),
    "no configuration": (text("0/config.yaml", "- 1\n"), "holds no configuration"),
    "no YAML": (text("0/config.yaml", "a: [\n"), "cannot be read (ParserError)"),
    "an object in YAML": (text("0/config.yaml", "a: !!python/name:os.system\n"), "cannot be read (ConstructorError)"),
    "a link": (linked, "does not lie in the sweep"),
    "our code": (text("code/spacecast/sweep/start.py", TOUCH), "sweep/code/spacecast differs from what is installed"),
    "more of our code": (text("code/spacecast/sweep/more.py", TOUCH), "first in sweep/more.py"),
    "code that Python finds first": (text("code/sitecustomize.py", TOUCH), "add trust=sitecustomize"),
    "compiled code": (text("code/torch.pyc", TOUCH), "sweep/code/torch.pyc differs from what is installed"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_the_folder_of_somebody_else_runs_and_writes_nothing(case, folder, marker, capsys, monkeypatch):
    change, message = HOSTILE[case]
    change(folder)
    started = []
    instead_of_starting(monkeypatch, lambda *words: started.append(words[-1]))
    code, line = call(capsys, "resume", folder)
    if not message:
        assert (code, started) == (0, [()])  # it says whom to trust, and is not heard
        return
    assert (code, line.startswith("spacecast-sweep: error: "), message in line) == (2, True, True), line
    assert len(line.splitlines()) == 1
    assert started == []
    assert not marker.exists()
    assert HERE not in sys.modules
    assert {path.name for path in folder.parent.iterdir()} <= {"as recorded", "sweep", "elsewhere"}


def test_what_was_typed_is_allowed(folder, marker, capsys, monkeypatch):
    started = []
    instead_of_starting(monkeypatch, lambda *words: started.append(words[-2:]))
    config("model._target_", f"{HERE}.run")(folder)
    assert "add trust=hostile_sweep" in call(capsys, "resume", folder)[1]
    assert call(capsys, "resume", folder, f"trust={HERE}", "launcher.hours=2")[0] == 0
    assert started.pop() == ({"hours": 2}, (HERE,))
    config("launcher.setup", ["module load cuda"])(folder)
    assert call(capsys, "resume", folder, f"trust={HERE}", "launcher.setup=[module load cuda]")[0] == 0
    assert call(capsys, "resume", folder, f"trust={HERE}", "launcher.setup=[]")[0] == 0
    text("code/spacecast/sweep/start.py", TOUCH)(folder)
    assert "add trust=spacecast" in call(capsys, "resume", folder, f"trust={HERE}", "launcher.setup=[]")[1]
    assert call(capsys, "resume", folder, f"trust=[{HERE},spacecast]", "launcher.setup=[]")[0] == 0
    assert "expected the dotted name" in call(capsys, "resume", folder, "trust=../x")[1]


def test_a_sweep_that_was_moved_goes_on_where_it_is(folder, capsys, monkeypatch):
    instead_of_starting(monkeypatch, lambda *_: None)
    config("picture", str(folder / "0" / "a.png"))(folder)
    there = folder.rename(folder.parent / "moved")
    assert call(capsys, "resume", there)[0] == 0
    plain = saved_config(there / "0", ())
    assert (plain["paths"]["run_dir"], plain["picture"]) == (str(there / "0"), str(there / "0" / "a.png"))


def test_the_same_command_takes_what_it_has_recorded(run, workplace, marker, monkeypatch):
    """What is typed again is one's own; what was altered meanwhile is not."""
    words = [*WORDS, "launcher.setup=[module load x]", "paths.run_dir=own", "model._target_=hostile_sweep.run"]
    started = []
    instead_of_starting(monkeypatch, lambda *words: started.append(words[-1]))
    monkeypatch.setattr("spacecast.config.complete.absolute_paths", lambda plain, _: plain)
    monkeypatch.setattr("spacecast.config.complete.check_config", lambda *_: None)
    for extra in ([], [], ["trust=other"]):
        result = run("spacecast-train", *words, *extra)
        assert (result.code, result.err) == (0, "")
    assert started == [[f"{HERE}.run"], [f"{HERE}.run"], ["other", f"{HERE}.run"]]
    config("loss._target_", "numpy.savetxt")(workplace / "own")
    assert "loss._target_='numpy.savetxt' is not called" in run("spacecast-train", *words).line
    assert not marker.exists()


def test_pickles_of_jobs_that_are_gone_are_removed(folder, capsys, monkeypatch):
    """A scheduler counts on; a job of the same number would load what lies there."""
    instead_of_starting(monkeypatch, lambda *_: None)
    (folder / "jobs").mkdir()
    for name in ("12_0_submitted.pkl", "3_submitted.pkl", "12_0_log.err"):
        (folder / "jobs" / name).touch()
    assert call(capsys, "resume", folder)[0] == 0
    assert [path.name for path in (folder / "jobs").iterdir()] == ["12_0_log.err"]


def test_what_python_compiled_elsewhere_is_removed(tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "train.yaml").touch()
    code = snapshot(tmp_path / "code", conf, {})
    compiled = code / "spacecast" / "sweep" / "__pycache__" / "start.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"hostile")
    check_code(code, conf, [])
    assert not compiled.exists()
    (conf / "train.yaml").write_text("a: 1\n")
    check_code(code, conf, [])  # groups are no code
    (code / "spacecast" / "conf" / "hydra").mkdir(exist_ok=True)
    (code / "spacecast" / "conf" / "hydra" / "logging.yaml").write_text("(): os.system\n")
    with pytest.raises(UserError, match=r"first in conf/hydra/logging\.yaml"):
        check_code(code, conf, [])
    check_code(code, conf, ["spacecast.app"])
    check_code(tmp_path / "absent", conf, [])


def test_a_job_calls_what_its_own_command_allows(tmp_path, marker, monkeypatch):
    """The words travel in the command of the job; the folder's text does not count."""
    places = {"project_dir": "/p", "data_dir": "/d", "run_dir": str(tmp_path / "run")}
    plain = {"paths": places, "model": {"_target_": f"{HERE}.run"}, "trust": [HERE]}
    (tmp_path / "run").mkdir()
    write_config(plain, tmp_path / "run")
    seen = []

    @dataclass
    class Schema:
        paths: Paths
        model: Section
        trust: list[str]

    class Command:
        config, schema, task = "train", Schema, seen.append

    monkeypatch.setattr(saved, "command_of", lambda _: Command)
    monkeypatch.setattr(saved, "start_logs", lambda *_: None)
    with pytest.raises(UserError, match="is not called"):
        run_job("x", str(tmp_path / "run"))
    assert read_status(tmp_path / "run")["state"] == "failed"
    run_job("x", str(tmp_path / "run"), f"{HERE}.run")
    assert [inputs.plain for inputs in seen] == [{**plain, "trust": [f"{HERE}.run"]}]
    assert not marker.exists()
    assert Attempt("work", "command", "folder", 3).trusted == ()


def test_only_our_commands_are_found():
    assert command_of("spacecast.app.train:COMMAND").name == "spacecast-train"
    for path in ("spacecast.app.train:main", "os:system", "spacecast.app.cli:log", "spacecast.app.train:COMMAND "):
        with pytest.raises(UserError, match="is no command of spacecast"):
            command_of(path)


@pytest.mark.usefixtures("run")
def test_the_name_of_a_folder_is_no_interpolation(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACECAST_SECRET", "do-not-tell")
    place = tmp_path / "${oc.env:SPACECAST_SECRET}"
    place.mkdir()
    start_logs(place, "train")
    assert [path.name for path in place.iterdir()] == ["train.log"]


def test_the_status_of_such_a_folder_can_be_asked(folder, marker, capsys):
    record(command=f"{HERE}:COMMAND")(folder)
    assert call(capsys, "status", folder)[0] == 0
    assert not marker.exists()


OWN = "from spacecast.models.persistence import Persistence\n\nclass Mine(Persistence):\n    '''My own.'''\n"


@pytest.mark.slow
def test_a_sweep_of_a_model_of_ones_own_runs(run, workplace, small, capsys, monkeypatch):
    """On this machine by jobs of their own, which learn from their command what they may call."""
    (workplace / "my_sweep_models.py").write_text(OWN)
    (workplace / "own" / "model").mkdir(parents=True)
    target = "_target_: my_sweep_models.Mine\n_partial_: true\ntrend: 0.0\n"
    (workplace / "own" / "model" / "mine.yaml").write_text(target)
    monkeypatch.syspath_prepend(workplace)
    monkeypatch.setenv("PYTHONPATH", f"{workplace}:{os.environ.get('PYTHONPATH', '')}")
    words = [word for word in small if not word.startswith(("model.", "model="))]
    words += ["model=mine", "evaluation.windows=1"]
    result = run("spacecast-train", "-m", "--config-dir", "own", *words, "launcher=slurm_debug", "paths.run_dir=sweep")
    assert result.code == 0, result
    assert (workplace / "sweep" / "0" / "scores.csv").exists()
    started = []
    instead_of_starting(monkeypatch, lambda *words: started.append(words[-1]))
    write_status(workplace / "sweep" / "0", state="interrupted")
    code, line = call(capsys, "resume", workplace / "sweep")
    assert (code, "add trust=my_sweep_models" in line) == (2, True)
    assert call(capsys, "resume", workplace / "sweep", "trust=my_sweep_models")[0] == 0
    assert started == [("my_sweep_models",)]


def test_a_record_that_is_gone_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(FileNotFoundError\)"):
        read_config(tmp_path)
