"""A small project that an earlier version made goes on: its runs are scored, continued, taken over and resumed.

Version 0.1.0, before its modules moved, made it in /home/user/project of a simulated run on 12 x 8 cells by

    spacecast-train RUN JOURNAL paths.run_dir=run
    spacecast-train -m SWEEP paths.run_dir=sweep            # a signal ended it in the second run

with the words below. Its data are the prepared store alone, since another machine may simulate other last digits.
"""

import copy
import csv
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from targets_of_before import TARGETS

import spacecast
from spacecast.app import sweep
from spacecast.app.cli import run_command
from spacecast.app.evaluate import COMMAND as EVALUATE
from spacecast.app.evaluate import complete
from spacecast.app.train import COMMAND as TRAIN
from spacecast.checkpoint.content import load_checkpoint
from spacecast.config.build import build
from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.stored import TAKEN
from spacecast.config.targets import current_name
from spacecast.process.status import read_status
from spacecast.sweep import starting
from spacecast.sweep.launcher import Launcher
from spacecast.sweep.saved import read_config
from spacecast.sweep.snapshot import START

THERE = "/home/user/project"
OF_THE_DATA = {"persistence_rmse", "persistence_mae", "div_b_truth", "negative_share", "negative_share_truth"}
TINY = (
    "simulation=none", "datastore.boundary={x_min: 8}", "trainer=cpu", "model.hidden_dim=4",
    "model.processor_layers=1", "graph.mesh_spacing=2", "data.batch_size=4", "data.val_steps=1",
    "schedule.rollout_steps=2", "schedule.epochs=4", "evaluation.split=all", "evaluation.steps=2",
    "evaluation.windows=3", "evaluation.examples=0", "evaluation.regions={near: {r_max: 6}}",
)  # fmt: skip
RUN = (
    "model=graph_efm", "graph=hierarchical", "loss=elbo", "loss.div_weight=0.1", *TINY, "graph.levels=2",
    "graph.coarsening=2", "optimizer.lr=0.1", "schedule.rollout_lr_factor=5", "schedule.decay=constant", "seed=4",
    "schedule.switches=[0.25, 0.25, 0.5, 0.75]", "evaluation.members=2", "trainer.max_epochs=2",
)  # fmt: skip
JOURNAL = ("logger.tracking_uri=null", "logger.system_metrics_seconds=0")
SWEEP = ("-m", *TINY, "logger=none", "trainer.max_epochs=2", "seed=1,2")
MODEL_OF_BEFORE = "# @package _global_\ndefaults: [override /model: graph_fm]\n"  # of a command that names none

train, evaluate = partial(run_command, TRAIN), partial(run_command, EVALUATE)


def scores(file: Path) -> dict[tuple[str, ...], float]:
    """Values by metric, variable, units, lead and region."""
    with file.open(newline="") as stream:
        return {tuple(row[:-1]): float(row[-1]) for row in list(csv.reader(stream))[1:]}


def test_a_checkpoint_of_before_has_the_scores_of_before(call, project):
    """Members are drawn in another way since: scores of theirs were recorded again, and are like those of before."""
    code, said = call(evaluate, "checkpoint=run", "logger=none", "paths.run_dir=again")
    assert code == 0, said
    before, now = scores(project / "run" / "scores.csv"), scores(project / "again" / "scores.csv")
    assert [key for key in now if key in before] == list(before)  # what is new since stands behind or between
    drawn_again = scores(Path(__file__).with_name("scores_of_members.csv"))
    assert {key[0] for key in before} - {key[0] for key in drawn_again} == OF_THE_DATA
    for key in drawn_again:
        if key[0] == "rmse":
            assert drawn_again[key] == pytest.approx(before[key], rel=0.02), key
    before |= drawn_again
    size = {key[1:]: abs(value) for key, value in before.items() if key[0] == "rmse"}
    for key, value in before.items():  # another processor rounds in another way; a bias is small beside its error
        assert now[key] == pytest.approx(value, rel=1e-5, abs=1e-5 * size.get(key[1:], 1.0)), key


def test_a_checkpoint_of_before_forecasts_from_python(project):
    [run] = (project / "data" / "magnetosphere").glob("vlasiator_run_*.zarr")
    found = spacecast.load("run", device="cpu").forecast(run, steps=2, members=2)
    assert dict(found.sizes) == {"init_time": 1, "member": 2, "lead_time": 2, "x": 12, "z": 8}
    assert "not_finite" not in found.attrs


def test_the_same_command_knows_a_run_of_before_and_goes_on(call, project):
    """Keys of today have their defaults; what is not the default of before any more is typed."""
    former = ("evaluation.runs=null", "evaluation.spread=false", "trainer.ema=null", "data.limit_val_windows=4")
    words = (*JOURNAL, "paths.run_dir=run", *former)
    code, said = call(train, *RUN, *words)
    assert (code, "this run is finished" in said) == (0, True), said
    code, said = call(train, *RUN, "loss.crps_weight=2", *words)
    assert (code, "holds a run with loss.crps_weight=1.0, here it is 2" in said) == (2, True), said
    identity = journal(project)[0]["start"]["run"]
    code, said = call(train, *RUN, "trainer.max_epochs=4", *words)
    assert (code, f"going on from {project}/run/checkpoints/last.ckpt" in said) == (0, True), said
    last = load_checkpoint(project / "run" / "checkpoints" / "last.ckpt")
    assert (last["epoch"], last["global_step"]) == (3, 12)
    assert {entry["start"]["run"] for entry in journal(project) if "start" in entry} == {identity}
    assert last["spacecast"]["config"]["loss"]["_target_"] == current_name("spacecast.forecast.elbo.ElboObjective")


def journal(project: Path) -> list[dict]:
    """What the run has recorded for its tracking store."""
    return [json.loads(line) for line in (project / "run" / "tracking.jsonl").read_text().splitlines()]


def test_another_run_takes_over_a_run_of_before(call, project):
    old = project / "run" / "checkpoints"
    words = ("logger=none", "trainer.max_epochs=3", "resume=run", "paths.run_dir=new")
    code, said = call(train, *RUN, *words)
    assert (code, f"going on from {old}/last.ckpt" in said) == (0, True), said
    assert load_checkpoint(project / "new" / "checkpoints" / "last.ckpt")["global_step"] == 9
    words = ("logger=none", "trainer.max_epochs=1", "init_from=run", "paths.run_dir=newer")
    code, said = call(train, *RUN, *words)
    assert (code, f"weights of {old}/best.ckpt" in said) == (0, True), said
    assert load_checkpoint(project / "newer" / "checkpoints" / "last.ckpt")["global_step"] == 3


@pytest.fixture
def stayed(project: Path) -> Path:
    """The sweep as if the project had always been here: its data are found where its runs say."""
    for file in project.glob("sweep/**/*.yaml"):
        file.write_text(file.read_text().replace(THERE, str(project)))
    return project / "sweep"


@pytest.fixture
def settings(project: Path) -> tuple[str, str]:
    """Flags of a command whose own settings choose the model that was the default when the sweep was made."""
    conf = project / "conf"
    shutil.copytree(conf_dir(), conf)
    (conf / "local" / "default.yaml").write_text(MODEL_OF_BEFORE)
    return "--config-path", str(conf)


def test_a_sweep_of_before_is_looked_at_and_resumed(call, stayed, settings):
    code, said = call(sweep.main, "status", "sweep")
    assert (code, "2 runs, 1 finished, 1 interrupted" in said) == (0, True), said
    finished = (stayed / "0" / "scores.csv").read_bytes()
    code, said = call(sweep.main, "resume", "sweep")
    assert (code, "run 2 of 2: seed=2" in said, "run 1 of 2" in said) == (0, True, False), said
    assert f"going on from {stayed}/1/checkpoints/last.ckpt" in said
    assert read_status(stayed / "1")["state"] == "finished"
    assert (stayed / "0" / "scores.csv").read_bytes() == finished
    code, said = call(train, *settings, *SWEEP, "paths.run_dir=sweep")
    assert (code, said) == (0, "every run has finished\n")
    code, said = call(sweep.main, "report", "sweep")
    assert (code, "2 runs: 2 finished" in said) == (0, True), said


def test_the_command_that_made_a_sweep_goes_on_with_it(call, stayed, settings, monkeypatch):
    """Another one is told how the sweep goes on."""
    monkeypatch.setattr(starting, "run_saved", lambda command, folder, trusted: write_finished(folder))
    code, said = call(train, *SWEEP, "model=graph_fm", "paths.run_dir=sweep")
    assert (code, f"go on with that one: spacecast-sweep resume {stayed}\n" in said) == (2, True), said
    code, said = call(train, *settings, *SWEEP, "paths.run_dir=sweep")
    assert (code, "run 2 of 2" in said, "run 1 of 2" in said) == (0, True, False), said


def write_finished(folder: Path) -> None:
    (folder / "status.json").write_text('{"state": "finished"}')


LAUNCHER = """launcher:
  _target_: spacecast.launch.launcher.Launcher
  cluster: local
  nodes: 1
  gpus_per_node: null
  hours: 1.0
  name: spacecast
  parallel: 1
  signal_seconds: 30
  setup: []
  sbatch: {}
  srun: []
  wait: true
"""


@pytest.fixture
def launched(stayed: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], dict]]:
    """That sweep as if a launcher had had it; here comes what is submitted: numbers of runs, changed keys."""
    for file in stayed.glob("*/config.yaml"):
        file.write_text(file.read_text().replace("launcher: null\n", LAUNCHER))
    submitted: list[tuple[list[int], dict]] = []
    note = lambda _, runs, changes, __: submitted.append(([run.number for run in runs], changes))  # noqa: E731
    monkeypatch.setattr(starting, "submit", note)
    monkeypatch.setattr(starting, "conclude", lambda *_: None)
    return submitted


def test_a_launcher_of_before_is_asked_in_its_own_words(call, project, launched):
    code, said = call(sweep.main, "resume", "sweep", "launcher.hours=2")
    assert (code, launched) == (0, [([1], {"hours": 2})]), said
    launcher = build(read_config(project / "sweep" / "1")["launcher"])
    assert isinstance(launcher, Launcher)
    assert launcher.minutes == 60


def test_code_of_before_starts_no_job_and_makes_room(call, project, launched):
    """Its jobs have another entrance. Whoever removes it goes on with the code of today."""
    code = project / "sweep" / "code"
    old = code / "spacecast" / "launch" / "start.py"
    old.parent.mkdir(parents=True)
    old.touch()
    for words in ((), ("trust=spacecast",)):
        end, said = call(sweep.main, "resume", "sweep", *words)
        assert (end, launched) == (2, [])
        assert said.startswith(f"spacecast-sweep: error: {code} holds an earlier version of spacecast"), said
    shutil.rmtree(code)
    end, said = call(sweep.main, "resume", "sweep")
    assert (end, launched) == (0, [([1], {})]), said
    assert (code / START).is_file()


def test_every_target_of_before_may_stand_in_a_checkpoint(project, tmp_path):
    content = load_checkpoint(project / "run" / "checkpoints" / "best.ckpt")
    plain = to_plain(job_part(compose("evaluate", ["checkpoint=none", "simulation=none"], conf_dir())))
    plain["paths"]["run_dir"] = str(tmp_path / "new")
    for section, name in TARGETS:
        if section not in TAKEN or section == "simulation":
            continue
        altered = {**content, "spacecast": copy.deepcopy(content["spacecast"])}
        altered["spacecast"]["config"][section] |= {"_target_": name}
        torch.save(altered, tmp_path / f"{name}.ckpt")
        merged = complete({**plain, "checkpoint": str(tmp_path / f"{name}.ckpt")}, [], {})
        assert merged[section]["_target_"] == current_name(name)
