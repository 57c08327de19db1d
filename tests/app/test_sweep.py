"""Sweeps: a grid becomes a folder, runs here or by submitit on this machine, is looked at, resumed and reported."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from spacecast.app import sweep
from spacecast.app.train import COMMAND as TRAIN
from spacecast.config.command import Command
from spacecast.config.complete import agree_on_devices
from spacecast.config.compose import conf_dir
from spacecast.config.schema import Graph
from spacecast.core.errors import UserError
from spacecast.evaluation.scores import ScoreRow, Scores
from spacecast.process.status import read_status, write_status
from spacecast.sweep import creation
from spacecast.sweep.folder import Sweep, name_runs
from spacecast.sweep.queue import cancel_jobs
from spacecast.sweep.saved import read_config
from spacecast.sweep.snapshot import snapshot


@dataclass
class Task:
    """Remembers the run folders that it was called with; in those of some numbers it fails, or is told to stop."""

    fails: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)

    def __call__(self, inputs):
        number = inputs.config.paths.run_dir.name
        self.seen.append(number)
        if number in self.stops:
            os.kill(os.getpid(), signal.SIGTERM)
        if number in self.fails:
            raise ArithmeticError("it does\nnot converge")


def command(task: Task) -> Command:
    return Command("try", "graph", Graph, task, "tries.", ["try"], {"picture": "a picture"}, {"try": "this"})


def request(launcher: dict, trainer: dict) -> dict:
    return {
        "launcher": {"nodes": None, "gpus_per_node": None, **launcher},
        "trainer": {"num_nodes": 1, "devices": 1, "accelerator": "auto", **trainer},
    }


def test_the_trainer_follows_the_launcher():
    plain = request({"nodes": 2, "gpus_per_node": 4}, {})
    agree_on_devices(plain, [])
    assert plain["trainer"] == {"num_nodes": 2, "devices": 4, "accelerator": "gpu"}


def test_the_launcher_follows_the_trainer():
    plain = request({}, {"num_nodes": 3, "devices": 2, "accelerator": "gpu"})
    agree_on_devices(plain, ["trainer.num_nodes=3"])
    assert plain["launcher"] == {"nodes": 3, "gpus_per_node": 2}
    plain = request({}, {"num_nodes": 3, "devices": 2, "accelerator": "cpu"})
    agree_on_devices(plain, [])
    assert plain["launcher"] == {"nodes": 3, "gpus_per_node": None}


CONTRADICTIONS = {
    "nodes": ({"nodes": 2}, {"num_nodes": 3}, "launcher.nodes=2 and trainer.num_nodes=3 contradict each other"),
    "devices": ({"gpus_per_node": 2}, {"devices": 4}, "launcher.gpus_per_node=2 and trainer.devices=4 contradict"),
    "all devices": ({}, {"devices": "auto"}, "trainer.devices=auto: a scheduler needs a number"),
    "processor": ({"gpus_per_node": 2}, {"devices": 2, "accelerator": "cpu"}, "would idle with trainer"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_are_refused(case):
    launcher, trainer, message = CONTRADICTIONS[case]
    with pytest.raises(UserError, match=message):
        agree_on_devices(request(launcher, trainer), [f"trainer.{key}={value}" for key, value in trainer.items()])


REFUSED = {
    "unknown key": (["launcher.partitoin=a"], "unknown key 'launcher.partitoin'; did you mean 'launcher.partition'?"),
    "wrong type": (["launcher.hours=long"], "launcher.hours: expected a number, found 'long'"),
    "time limit": (["launcher.hours=0.01"], "launcher.hours=0.01 (60 s) does not exceed launcher.signal_seconds=120"),
    "job name": (["launcher.name=bash"], "launcher.name='bash' cannot name a job: Lightning takes it for a shell"),
    "none at once": (["launcher.parallel=0"], "launcher.parallel: expected at least 1, found 0"),
    "no scheduler": ([], "launcher: there is no sbatch here; submit from a login node, or use launcher=slurm_debug"),
    "other launcher": (["hydra/launcher=submitit_slurm"], "hydra/launcher: choose launcher=slurm or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_submitted_is_refused_and_leaves_nothing(case, run, workplace, monkeypatch):
    words, message = REFUSED[case]
    monkeypatch.setenv("PATH", str(workplace))
    result = run("spacecast-train", "-m", "launcher=slurm", "seed=1,2", "paths.run_dir=sweep", *words)
    assert result.code == 2, result
    assert result.line.startswith(f"spacecast-train: error: {message}")
    assert not (workplace / "sweep").exists()


def test_a_preset_of_the_site_lies_outside_of_the_package(run, workplace, monkeypatch):
    preset = workplace / "site" / "launcher" / "here.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text("defaults: [slurm]\npartition: gpu\naccount: project_1\nname: interactive\n")
    result = run("spacecast-train", "--config-dir", "site", "launcher=here", "seed=3")
    assert (result.code, "launcher.name='interactive' cannot name a job" in result.line) == (2, True)
    assert "account: project_1" in run("spacecast-train", "--config-dir", "site", "launcher=here", "--cfg", "job").out


def test_a_sweep_here_records_how_each_run_ended(run, workplace):
    task = Task(fails={"1"})
    result = run(command(task), "-m", "picture=a.png,b.png,c.png", "paths.run_dir=sweep")
    assert (result.code, task.seen) == (1, ["0", "1", "2"])
    states = [read_status(workplace / "sweep" / str(number)) for number in range(3)]
    assert [state["state"] for state in states] == ["finished", "failed", "finished"]
    assert (states[1]["error"], states[1]["exit_code"]) == ("ArithmeticError: it does not converge", 1)
    assert "ArithmeticError" in (workplace / "sweep" / "1" / "graph.log").read_text()


def test_the_same_command_again_does_only_what_is_missing(run):
    words = ("-m", "picture=a.png,b.png,c.png", "paths.run_dir=sweep")
    run(command(Task(fails={"1"})), *words)
    task = Task()
    assert run(command(task), *words).code == 0
    assert task.seen == ["1"]
    assert run(command(task), *words).out == "every run has finished\n"


def test_a_sweep_that_is_interrupted_names_its_own_folder(run, workplace):
    words = ("-m", "picture=a.png,b.png,c.png")
    result = run(command(Task(stops={"1"})), *words, "paths.run_dir=sweep")
    again = f"paths.run_dir={workplace}/sweep"
    wanted = f"interrupted by SIGTERM; the same command with {again} goes on"
    assert (result.code, result.line) == (75, f"try: error: {wanted}")
    task = Task()
    assert run(command(task), *words, again).code == 0
    assert task.seen == ["1", "2"]


def test_another_sweep_does_not_mix_with_it(run, workplace):
    run(command(Task()), "-m", "picture=a.png,b.png", "paths.run_dir=sweep")
    result = run(command(Task()), "-m", "picture=a.png,c.png", "paths.run_dir=sweep")
    assert (result.code, "holds another sweep" in result.line) == (2, True)
    (workplace / "full").mkdir()
    (workplace / "full" / "thesis.tex").touch()
    result = run(command(Task()), "-m", "picture=a.png,c.png", "paths.run_dir=full")
    assert (result.code, "holds other files" in result.line) == (2, True)


def test_several_devices_and_several_runs_do_not_share_a_process(run):
    result = run("spacecast-train", "-m", "seed=1,2", "trainer=cpu", "trainer.devices=2")
    assert (result.code, "use launcher=slurm_debug" in result.line) == (2, True)


def test_runs_are_tagged_and_named_by_what_differs(run, workplace, monkeypatch):
    monkeypatch.setattr(creation, "start", lambda *_: False)
    monkeypatch.setattr(creation, "conclude", lambda *_: None)
    assert run("spacecast-train", "-m", "seed=1,2", "logger.tags={who: me}", "paths.run_dir=mine").code == 0
    logger = read_config(workplace / "mine" / "1")["logger"]
    assert (logger["run_name"], logger["tags"]) == ("seed=2", {"sweep": "mine", "who": "me"})
    assert run("spacecast-train", "-m", "seed=1,2", "logger.run_name=x", "paths.run_dir=named").code == 0
    assert read_config(workplace / "named" / "1")["logger"]["run_name"] == "x"


def finished(folder: Path, scores: dict[str, float]) -> None:
    """A run folder with a status and scores."""
    folder.mkdir(parents=True)
    write_status(folder, state="finished")
    points = [(lead, value / lead) for value in scores.values() for lead in (1.0, 2.0)]
    rows = [ScoreRow("skill", "mean", "1", lead, "all", value) for lead, value in points]
    Scores(tuple(rows)).write_csv(folder / "scores.csv")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A finished sweep over width and seed; skill = width / 100 + seed / 1000, halved at the second lead."""
    words = [[f"model.hidden_dim={width}", f"seed={seed}"] for width in (8, 64) for seed in (1, 2, 3)]
    made = Sweep(tmp_path / "grid", "spacecast.app.train:COMMAND", tuple(name_runs(words)))
    made.write()
    for run in made.runs:
        finished(made.run_dir(run), {"": int(run.values["model.hidden_dim"]) / 100 + int(run.values["seed"]) / 1000})
    return made.folder


def call(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        sweep.main(list(map(str, words)))
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_the_report_has_every_run_and_the_spread_over_seeds(grid, capsys):
    code, out, _ = call(capsys, "report", grid)
    assert code == 0
    assert out.strip() == (grid / "report.md").read_text().strip()
    assert "| 64 | 3 | 0.642 ± 0.001 | 0.321 ± 0.0005 | 0.4815 ± 0.00075 |" in out
    assert "Best by skill/mean: model.hidden_dim=64." in out
    assert "is significant" in out
    lines = (grid / "report.csv").read_text().splitlines()
    assert lines[0] == "run,model.hidden_dim,seed,skill/mean@1,skill/mean@last,skill/mean"
    assert lines[1] == "0,8,1,0.081,0.0405,0.06075"
    assert (grid / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_takes_other_scores_and_says_what_is_unknown(grid, capsys):
    assert "| 5 | 64 | 3 | 0.3215 |" in call(capsys, "report", grid, "--score", "skill/mean@2")[1]
    code, _, line = call(capsys, "report", grid, "--score", "skil/mean")
    assert (code, "no scores of metric 'skil'; did you mean 'skill'?" in line) == (2, True)
    code, _, line = call(capsys, "report", grid, "--score", "skill/mean@7")
    assert (code, "leads are 1 to 2, or last" in line) == (2, True)


def test_the_report_says_which_runs_are_missing(grid, capsys):
    write_status(grid / "2", state="failed", error="no luck")
    out = call(capsys, "report", grid)[1]
    assert "6 runs: 5 finished, 1 failed" in out
    assert "- run 2 (hidden_dim=8 seed=3): failed, no luck" in out


def test_mistakes_of_the_sweep_command(grid, tmp_path, capsys):
    assert "is no sweep" in call(capsys, "status", tmp_path)[2]
    assert "only launcher.KEY=VALUE may change" in call(capsys, "resume", grid, "seed=4")[2]
    assert "launcher.nodes is part of the runs" in call(capsys, "resume", grid, "launcher.nodes=4")[2]


def test_a_dead_process_is_seen(grid, capsys):
    write_status(grid / "0", state="running", host="somewhere else", pid=1)
    write_status(grid / "1", state="running", host=socket.gethostname(), pid=2**22 + 1)
    out = call(capsys, "status", grid)[1]
    assert "1 running, 1 lost, 4 finished" in out
    assert read_status(grid / "1")["state"] == "lost"


def test_every_run_that_has_ended_without_finishing_is_closed_in_its_store(grid, capsys, monkeypatch):
    closed = []
    monkeypatch.setattr("spacecast.app.sweep.close_abandoned", lambda folder: closed.append(folder.name))
    write_status(grid / "0", state="running", host="somewhere else", pid=1)
    write_status(grid / "1", state="running", host=socket.gethostname(), pid=2**22 + 1)
    write_status(grid / "2", state="failed", error="restarted 4 times, launcher.max_restarts=3")
    write_status(grid / "3", state="interrupted")
    call(capsys, "status", grid)
    assert closed == ["1", "2", "3"]


WAIT = '''
import signal
from pathlib import Path
from spacecast.process.status import write_status

def wait(command, run_dir):
    class Stop(SystemExit):
        name = "SIGTERM"

    def stop(*_):
        (Path(run_dir) / "saved").touch()
        raise Stop(75)

    signal.signal(signal.SIGTERM, stop)
    (Path(run_dir) / "began").touch()
    while not (Path(run_dir) / "go").exists():
        signal.sigtimedwait([signal.SIGUSR1], 0.05)
    write_status(Path(run_dir), state="finished")
'''

RESUME = '''
from spacecast.sweep import submission
from spacecast.app import sweep

submission.WORK = "work_to_do:wait"
sweep.main(["resume", "sweep"])
'''


def until(condition, seconds: float = 600) -> None:
    """Wait; the limit only ends a test that hangs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


@pytest.fixture
def start(workplace, monkeypatch):
    """start(): a command that submits two runs on this machine, one after the other; each waits for a file `go`."""
    (workplace / "work_to_do.py").write_text(WAIT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(workplace), os.environ.get("PYTHONPATH", "")]))
    made = Sweep(workplace / "sweep", TRAIN.path, tuple(name_runs([["seed=1"], ["seed=2"]])))
    launcher = {"_target_": "spacecast.sweep.launcher.Launcher", "cluster": "local", "parallel": 1, "wait": True}
    for run in made.runs:
        made.run_dir(run).mkdir(parents=True)
        config = {"launcher": {**launcher, "signal_seconds": 30}, "trainer": {"devices": 1}}
        config["paths"] = {"run_dir": str(made.run_dir(run)), "data_dir": str(workplace)}
        (made.run_dir(run) / "config.yaml").write_text(yaml.safe_dump(config))
    made.write()
    snapshot(made.folder / "code", conf_dir(), {})
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", RESUME]
        started.append(subprocess.Popen(command, cwd=workplace, start_new_session=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
    left = Sweep.read(made.folder)
    cancel_jobs("local", [left.job(run)[1] for run in left.runs if left.job(run)[1]])
    for process in started:
        process.communicate()


@pytest.fixture
def first(start, workplace):
    """A command whose first run is at work."""
    process = start()
    until(lambda: (workplace / "sweep" / "0" / "began").exists() or process.poll() is not None)
    return process


def jobs_said(workplace: Path) -> str:
    return "".join(path.read_text() for path in (workplace / "sweep" / "jobs").glob("*_log.*"))


CANCELLED = "spacecast-sweep: error: the sweep was cancelled; spacecast-sweep resume {}/sweep goes on\n"


@pytest.mark.slow
def test_the_same_command_again_starts_nothing_and_waits_and_a_cancel_ends_both(first, start, workplace, capsys):
    assert "2 runs, 1 running, 1 waiting" in call(capsys, "status", "sweep")[1]
    recorded = (workplace / "sweep" / "sweep.json").read_text()
    second = start()
    wanted = f"the sweep is under way (process {first.pid}), nothing was started; spacecast-sweep status "
    assert second.stdout.readline() == f"{wanted}{workplace}/sweep\n"
    assert (workplace / "sweep" / "sweep.json").read_text() == recorded
    assert call(capsys, "cancel", "sweep") == (0, "2 runs cancelled\n", "")
    for process in (first, second):
        assert (process.communicate()[1], process.returncode) == (CANCELLED.format(workplace), 75)
    assert "2 cancelled" in call(capsys, "status", "sweep")[1]
    assert (workplace / "sweep" / "0" / "saved").exists()
    assert not (workplace / "sweep" / "1" / "began").exists()
    assert "Traceback" not in jobs_said(workplace)
    assert call(capsys, "cancel", "sweep") == (0, "0 runs cancelled\n", "")


@pytest.mark.slow
def test_after_a_cancel_the_sweep_goes_on_and_every_job_is_recorded(first, start, workplace, capsys):
    call(capsys, "cancel", "sweep")
    first.communicate()
    for number in "01":
        (workplace / "sweep" / number / "go").touch()
    last = start()
    out, err = last.communicate()
    assert (last.returncode, err) == (0, "")
    assert "2 runs, 1 at once" in out
    made = Sweep.read(workplace / "sweep")
    assert (made.waiting, made.stopped) == ((), False)
    for number in "01":  # each has been one job, which is on record
        assert read_status(workplace / "sweep" / number)["job"] == made.job(made.runs[int(number)])[1]


@pytest.mark.slow
def test_jobs_on_this_machine_save_and_end_with_the_command_on_the_keyboard(first, workplace, capsys):
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to the command, and to all that it has started
    wanted = f"spacecast-sweep: error: interrupted by SIGINT; spacecast-sweep resume {workplace}/sweep goes on\n"
    assert (first.communicate()[1], first.returncode) == (wanted, 75)
    assert (workplace / "sweep" / "0" / "saved").exists()
    assert "Traceback" not in jobs_said(workplace)
    out = call(capsys, "status", "sweep")[1]
    assert "running" not in out
    assert "1 unstarted" in out
    assert not (workplace / "sweep" / "1" / "began").exists()


@pytest.mark.slow
def test_jobs_outlive_a_command_that_is_killed_and_can_be_cancelled(first, capsys):
    first.kill()
    first.wait()
    assert "1 running, 1 unstarted" in call(capsys, "status", "sweep")[1]
    assert call(capsys, "cancel", "sweep") == (0, "2 runs cancelled\n", "")
    assert "2 cancelled" in call(capsys, "status", "sweep")[1]


HOLD = "import sys; from pathlib import Path; from spacecast.process.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('here', flush=True); sys.stdin.read()"


def test_runs_that_wait_for_their_turn_in_another_process_are_left_to_it(run, workplace, capsys):
    words = ("-m", "picture=a.png,b.png,c.png", "paths.run_dir=sweep")
    run(command(Task(fails={"1", "2"})), *words)
    made = Sweep.read(workplace / "sweep")
    made.await_turns(made.runs[1:])
    task = Task()
    command_line = [sys.executable, "-c", HOLD, str(made.folder)]
    with subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "here\n"
        result = run(command(task), *words)
        assert (result.code, result.err, task.seen) == (0, "", [])
        assert f"under way (process {other.pid}), nothing was started; spacecast-sweep status " in result.out
        assert "1 finished, 2 waiting" in call(capsys, "status", "sweep")[1]
        result = run(command(task), "-m", "picture=a.png,x.png", "paths.run_dir=sweep")
        assert (result.code, "holds another sweep" in result.line) == (2, True)
        other.kill()
    assert "1 finished, 2 failed" in call(capsys, "status", "sweep")[1]
    assert (run(command(task), *words).code, task.seen) == (0, ["1", "2"])


def test_two_commands_at_the_same_moment_make_one_sweep(run, workplace, monkeypatch):
    """The second waits until the first has recorded the sweep."""
    words = ("-m", "picture=a.png,b.png", "paths.run_dir=sweep")
    (workplace / "sweep").mkdir()
    command_line = [sys.executable, "-c", HOLD, str(workplace / "sweep")]
    runs = name_runs([["picture=a.png"], ["picture=b.png"]])
    made = Sweep(workplace / "sweep", "spacecast.app.graph:COMMAND", tuple(runs))
    with subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "here\n"

        def first_records(_: float) -> None:
            for each in made.runs:
                made.run_dir(each).mkdir()
                (made.run_dir(each) / "config.yaml").write_text("launcher: null\n")
            made.write()

        monkeypatch.setattr("spacecast.sweep.starting.time.sleep", first_records)
        task = Task()
        result = run(command(task), *words)
        assert (result.code, task.seen, "is under way" in result.out) == (0, [], True)
        other.kill()


def test_a_folder_with_blanks_is_quoted_where_it_is_to_be_typed(run, workplace, capsys):
    result = run(command(Task(stops={"1"})), "-m", "picture=a.png,b.png", "paths.run_dir=my sweep")
    again = f"'paths.run_dir={workplace}/my sweep'"
    assert result.line == f"try: error: interrupted by SIGTERM; the same command with {again} goes on"
    assert "interrupted" not in result.out
    assert "interrupted by SIGTERM" in (workplace / "my sweep" / "1" / "graph.log").read_text()
    assert f"see spacecast-sweep status '{workplace}/my sweep'" in call(capsys, "report", "my sweep")[2]


def test_the_help_of_the_sweep_command_has_examples_and_exit_codes(capsys):
    for words in (["-h"], ["resume", "-h"]):
        code, out, _ = call(capsys, *words)
        assert (code, "Examples\n  spacecast-train -m" in out, "Exit codes: 0 done; 1 " in out) == (0, True, True)


@pytest.mark.slow
def test_the_road_of_slurm_on_this_machine(run, small, workplace):
    words = ["-m", "launcher=slurm_debug", "seed=1,2", "trainer.max_epochs=1", "paths.run_dir=sweep", *small]
    result = run("spacecast-train", *words)
    assert result.code == 0, result
    for number in "01":
        folder = workplace / "sweep" / number
        status = json.loads((folder / "status.json").read_text())
        assert (status["state"], status["restarts"], status["starts"]) == ("finished", 0, 1)
        assert (folder / "scores.csv").exists()
        assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == int(number) + 1
    assert (workplace / "sweep" / "code" / "spacecast" / "conf" / "train.yaml").exists()
    assert TRAIN.path == Sweep.read(workplace / "sweep").command
