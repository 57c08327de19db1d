"""The shell around every command."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

import spacecast
from spacecast.app import cli
from spacecast.app.data import COMMAND as DATA
from spacecast.app.data import rewrite
from spacecast.app.graph import COMMAND as GRAPH
from spacecast.app.train import COMMAND as TRAIN
from spacecast.config.command import Command
from spacecast.config.compose import compose, conf_dir, group_members, job_part, to_plain
from spacecast.config.schema import Graph
from spacecast.core.errors import UserError


@dataclass
class Task:
    """Remembers what it was called with, and may fail."""

    error: BaseException | None = None
    leaves: str | None = None

    def __post_init__(self):
        self.seen = []

    def __call__(self, inputs):
        self.seen.append(inputs.plain)
        if self.leaves:
            (inputs.config.paths.run_dir / self.leaves).write_text("x")
        if self.error:
            raise self.error


def command(task: Task) -> Command:
    """A command on the configuration of spacecast-graph."""
    return Command("try", "graph", Graph, task, "tries.", ["try"], {"picture": "a picture"}, {"try": "this"})


def test_a_run_records_its_configuration(run, workplace):
    task = Task()
    result = run(command(task), "graph=hierarchical", "paths.run_dir=here", "graph.levels=2")
    assert (result.code, result.err) == (0, "")
    (plain,) = task.seen
    assert plain["paths"]["run_dir"] == str(workplace / "here")
    assert plain["graph"]["levels"] == 2
    assert yaml.safe_load((workplace / "here" / "config.yaml").read_text()) == plain
    assert (workplace / "here" / "graph.log").exists()
    assert not (workplace / "here" / ".hydra").exists()


def test_run_folders_of_the_same_second_differ(run, workplace):
    task = Task(leaves="kept")
    for _ in range(3):
        assert run(command(task)).code == 0
    folders = [plain["paths"]["run_dir"] for plain in task.seen]
    assert len(set(folders)) == 3
    pattern = rf"{workplace}/runs/\d{{4}}-\d\d-\d\d/\d\d-\d\d-\d\d_graph-simple_[0-9a-f]{{4}}"
    assert all(re.fullmatch(pattern, folder) for folder in folders)
    assert all(Path(folder, "kept").exists() for folder in folders)


def test_paths_are_made_absolute_and_the_home_folder_is_known(run, workplace, monkeypatch):
    monkeypatch.setenv("HOME", str(workplace / "home"))
    monkeypatch.setenv("SPACECAST_DATA", "elsewhere")
    task = Task()
    assert run(command(task), "paths.run_dir=~/run").code == 0
    (plain,) = task.seen
    assert plain["paths"]["run_dir"] == f"{workplace}/home/run"
    assert (workplace / "home" / "run").is_dir()
    assert plain["paths"]["data_dir"] == f"{workplace}/elsewhere"
    assert plain["datastore"]["root"] == f"{workplace}/elsewhere/magnetosphere"


def test_an_error_inside_leaves_a_traceback_in_the_log(run, workplace):
    result = run(command(Task(ZeroDivisionError("by nothing"))), "paths.run_dir=here")
    assert result.code == 1
    assert result.line == (
        f"try: error: internal error, ZeroDivisionError: by nothing (traceback in {workplace}/here/graph.log)"
    )
    assert "Traceback" not in result.out
    log = (workplace / "here" / "graph.log").read_text()
    assert "Traceback" in log
    assert "by nothing" in log


def test_a_mistake_found_late_keeps_a_run_that_has_begun(run, workplace):
    result = run(command(Task(UserError("wrong\nhere"), leaves="scores.csv")), "paths.run_dir=a")
    assert (result.code, result.line) == (2, "try: error: wrong here")
    assert (workplace / "a" / "scores.csv").exists()
    result = run(command(Task(UserError("wrong"))), "paths.run_dir=b")
    assert (result.code, (workplace / "b").exists()) == (2, False)


def test_an_interruption_has_a_code_of_its_own(run):
    result = run(command(Task(KeyboardInterrupt())))
    assert (result.code, result.line) == (130, "try: error: interrupted")


def test_a_mapping_given_on_the_command_line_replaces_the_old_one(run):
    task = Task()
    run(command(task), "datastore.boundary={r_max: 5}")
    run(command(task), "++datastore.boundary={z_min: 5}")
    run(command(task), "datastore.boundary.x_min=5")
    assert [plain["datastore"]["boundary"] for plain in task.seen] == [{"r_max": 5}, {"z_min": 5}, {"x_min": 5}]


def test_a_sweep_runs_every_value_in_numbered_folders(run, workplace):
    task = Task(leaves="kept")
    result = run(command(task), "-m", "graph=simple,multiscale", "picture=null,a.png", "paths.run_dir=sweep")
    assert result.code == 0, result.err
    assert [(plain["graph"]["layout"], plain["picture"]) for plain in task.seen] == [
        ("simple", None), ("simple", f"{workplace}/a.png"), ("multiscale", None), ("multiscale", f"{workplace}/a.png"),
    ]  # fmt: skip
    assert [plain["paths"]["run_dir"] for plain in task.seen] == [f"{workplace}/sweep/{n}" for n in range(4)]
    assert (workplace / "sweep" / "3" / "config.yaml").exists()


def test_a_mapping_given_for_a_sweep_replaces_the_old_one(run):
    task = Task()
    assert run(command(task), "-m", "datastore.boundary={r_max: 5}", "picture=a.png,b.png").code == 0
    assert [plain["datastore"]["boundary"] for plain in task.seen] == [{"r_max": 5}] * 2


def test_a_grid_in_a_file_is_run_with_what_is_typed(run, workplace):
    (workplace / "own" / "site").mkdir(parents=True)
    grid = "# @package _global_\nhydra: {sweeper: {params: {graph.levels: '3,2'}}}\n"
    (workplace / "own" / "site" / "grid.yaml").write_text(grid)
    task, words = Task(), ("-m", "--config-dir", "own", "+site=grid", "graph=multiscale")
    result = run(command(task), *words, "graph.coarsening=3,2")
    assert (result.code, result.err) == (0, "")
    seen = [(plain["graph"]["levels"], plain["graph"]["coarsening"]) for plain in task.seen]
    assert seen == [(3, 3), (3, 2), (2, 3), (2, 2)]
    assert run(command(task), *words, "graph.levels=4").code == 0
    assert [plain["graph"]["levels"] for plain in task.seen[4:]] == [4]


def test_each_run_of_a_sweep_is_composed_once(run, monkeypatch):
    composed = []
    monkeypatch.setattr(cli, "compose", lambda *words, **more: (composed.append(words), compose(*words, **more))[1])
    assert run(command(Task()), "-m", "picture=a.png,b.png,c.png").code == 0
    assert len(composed) == 3


def test_a_sweep_without_an_end_or_without_a_value_is_refused(run):
    result = run(command(Task()), "-m", "graph.mesh_spacing=interval(1,2)")
    assert (result.code, "give values or a range; a sweep is a grid" in result.line) == (2, True)
    result = run(command(Task()), "-m", "graph.levels=range(3,3)")
    assert (result.code, "there is no value in it" in result.line) == (2, True)


def test_a_sweep_goes_on_after_a_failed_run(run):
    task = Task(UserError("this one is wrong"))
    result = run(command(task), "-m", "picture=a.png,b.png")
    assert result.code == 2
    assert len(task.seen) == 2
    assert result.err.splitlines()[-1] == "try: error: this one is wrong"


def test_a_value_with_an_equals_sign_is_read_as_it_stands(run, workplace):
    task = Task()
    assert run(command(task), "picture=epoch=3-step=7.png").code == 0
    assert task.seen[0]["picture"] == f"{workplace}/epoch=3-step=7.png"


@pytest.mark.parametrize("original", [GRAPH, DATA])
def test_commands_that_track_nothing_take_logger_none(run, original):
    task = Task()
    quick, words = replace(original, task=task), ["prepare"] if original is DATA else []
    assert run(quick, *words, "logger=none").code == 0
    assert run(quick, *words, "logger=none", "logger.tracking_uri=x").code == 0
    assert len(task.seen) == 2
    result = run(quick, *words, "logger=mlflow")
    assert (result.code, "this command tracks nothing" in result.line) == (2, True)
    result = run(quick, *words, "logger=nnoe")
    assert (result.code, "did you mean 'none'?" in result.line) == (2, True)


@pytest.mark.parametrize("original", [GRAPH, DATA, TRAIN])
def test_settings_of_one_machine_hold_for_every_command(run, workplace, original):
    conf = workplace / "conf"
    shutil.copytree(conf_dir(), conf)
    (example,) = re.findall(r"```yaml\n(.*?)```", (conf / "local" / "README.md").read_text(), re.DOTALL)
    (conf / "local" / "default.yaml").write_text(f"{example}logger:\n  tags: {{who: me}}\n")
    task = Task()
    quick, words = replace(original, task=task), ["prepare"] if original is DATA else []
    result = run(quick, *words, "--config-path", str(conf))
    assert (result.code, result.err) == (0, "")
    assert task.seen[0]["paths"]["data_dir"] == "/scratch/me/spacecast"
    assert ("trainer" in task.seen[0]) == (original is TRAIN)
    assert run(quick, *words, "--config-path", str(conf), "logger=none").code == 0
    if original is not TRAIN:
        assert "unknown key 'trainer'" in run(quick, *words, "--config-path", str(conf), "trainer.accelerator=gpu").line


def test_flags_stand_anywhere(run):
    task = Task()
    result = run(command(task), "picture=null", "--config-name", "graph", "graph=multiscale")
    assert (result.code, result.err) == (0, "")
    assert (task.seen[0]["picture"], task.seen[0]["graph"]["layout"]) == (None, "multiscale")


NAMES = ("Ünï ß", "it is (1)", "a: b", "データ", "x=é", "a#b", "50%", "a;b&c", "don't", "no [x]")


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_read_as_the_shell_gives_it(run, workplace, name):
    task = Task()
    result = run(command(task), f"picture={name}")
    assert (result.code, result.err) == (0, "")
    assert task.seen[0]["picture"] == f"{workplace}/{name}"


def test_a_group_that_can_be_left_out_is_switched_off_by_null(run):
    task = Task()
    training = replace(TRAIN, task=task)
    for words in (["simulation=null"], ["launcher=null", "logger=null"], ["experiment=null"], ["simulation=none"]):
        assert run(training, *words).code == 0
    simulations = [plain["simulation"] is not None for plain in task.seen]
    assert simulations == [False, True, True, False]
    assert task.seen[1]["launcher"] is None
    assert task.seen[1]["logger"]["_target_"] == "spacecast.tracking.logger.no_logger"
    assert run(training, "-m", "simulation=null,magnetosphere", "experiment=null").code == 0
    assert [plain["simulation"] is None for plain in task.seen[-2:]] == [True, False]
    assert run(training, "experiment=smoke", "datastore=vlasiator").code == 0
    assert task.seen[-1]["simulation"] is None  # what the experiment sets of it is moot


def test_groups_of_ones_own_are_added_with_a_plus(run, workplace):
    (workplace / "own" / "site").mkdir(parents=True)
    (workplace / "own" / "site" / "here.yaml").write_text("# @package _global_\nseed: 9\n")
    task = Task()
    assert run(replace(TRAIN, task=task), "--config-dir", "own", "+site=here").code == 0
    assert task.seen[0]["seed"] == 9


def test_hydra_still_answers(run):
    assert "layout: multiscale" in run("spacecast-graph", "graph=multiscale", "--cfg", "job").out
    first = run("spacecast-graph", "-m", "graph=multiscale,hierarchical", "--cfg", "job")  # of several runs the first
    assert (first.code, "layout: multiscale" in first.out) == (0, True)
    assert "Hydra" in run("spacecast-graph", "--hydra-help").out
    assert "datastore/magnetosphere" in run("spacecast-graph", "--info", "defaults").out


def test_the_version_is_our_own(run):
    assert run("spacecast-train", "--version").out == f"spacecast-train {spacecast.__version__}\n"


def test_help_shows_groups_keys_and_own_members(run, workplace):
    (workplace / "own" / "graph").mkdir(parents=True)
    (workplace / "own" / "graph" / "mine.yaml").write_text("_target_: builtins.dict\n")
    result = run("spacecast-train", "--help", "--config-dir", "own")
    assert (result.code, result.err) == (0, "")
    texts = ("graph_unet*", "hierarchical", "mine", "trainer.max_epochs=", "experiment=smoke", "--multirun", "smoke")
    for text in texts:
        assert text in result.out
    for name in ("spacecast-evaluate", "spacecast-forecast", "spacecast-graph", "spacecast-data"):
        assert run(name, "-h").out.startswith(f"{name}: ")


LIGHT = """
import sys
from spacecast.app.{module} import main
sys.argv = ["spacecast-{module}", *{words!r}]
try:
    main()
except SystemExit as end:
    code = end.code
heavy = {{"torch", "pytorch_lightning", "mlflow", "xarray", "matplotlib", "scipy"}} & set(sys.modules)
sys.stdout.write(f"\\n{{code}} {{sorted(heavy)}}")
"""


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("train", ["--help"], 0),
        ("evaluate", ["--help"], 0),
        ("forecast", ["--help"], 0),
        ("data", ["--help"], 0),
        ("train", ["sede=3"], 2),
        ("train", ["model=graph_fn"], 2),
    ],
)
def test_help_and_typos_need_no_heavy_import(module, words, code, tmp_path):
    script = LIGHT.format(module=module, words=words)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == f"{code} []"


def test_the_console_script_from_any_folder(tmp_path):
    script = Path(sys.executable).parent / "spacecast-graph"
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([script, "grahp=simple"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert done.stderr == "spacecast-graph: error: unknown key 'grahp'; did you mean 'graph'?\n"
    assert list(tmp_path.iterdir()) == []


def test_every_group_member_composes_and_resolves(workplace):
    members = group_members([conf_dir()])
    assert {"datastore", "graph", "model", "loss", "schedule", "trainer", "logger", "evaluation"} <= set(members)
    members = {group: names for group, names in members.items() if group not in ("hydra", "local", "simulation")}
    for number in range(max(map(len, members.values()))):
        chosen = {group: names[number % len(names)] for group, names in members.items()}
        extra = ["graph.path=x"] if chosen["graph"] == "stored" else []
        words = [f"{group}={name}" for group, name in chosen.items()]
        if chosen["datastore"] != "magnetosphere":
            words = [word for word in words if not word.startswith("experiment=")]
        plain = to_plain(job_part(compose("train", [*words, *extra], conf_dir())))
        assert plain["paths"]["data_dir"] == f"{workplace}/data"


def test_the_first_word_of_spacecast_data():
    assert rewrite(["simulate", "preset=small"]) == ["command=simulate", "simulation.preset=small"]
    assert rewrite(["seed=1", "inspect"]) == ["seed=1", "command=inspect"]
    assert rewrite(["--config-dir", "x", "prepare"]) == ["--config-dir", "x", "command=prepare"]
    assert rewrite(["simulate", "--cfg", "job"]) == ["command=simulate", "--cfg", "job"]
    with pytest.raises(UserError, match="did you mean 'prepare'"):
        rewrite(["preprae"])


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("[1_0]", ["1_0"]),
        ("[1,2]", [1, 2]),
        ("[10, 1_0,007,1.50,1e3,2024-01]", [10, "1_0", "007", "1.50", "1e3", "2024-01"]),
        ("['1_0',\"3\"]", ["1_0", "3"]),
        ("[a_1,run_1_0,0]", ["a_1", "run_1_0", 0]),
        ("null", None),
    ],
)
def test_names_of_runs_are_read_as_they_are_typed(run, typed, names):
    """Hydra takes 1_0 for the number 10, which is another run."""
    task = Task()
    for key in ("datastore.runs", "datastore.holdout"):
        result = run(command(task), f"{key}={typed if names or key.endswith('runs') else '[]'}", "paths.run_dir=here")
        assert result.code == 0, result.err
        section, _, name = key.partition(".")
        assert task.seen[-1][section][name] == (names if names or key.endswith("runs") else [])


def test_numbers_elsewhere_keep_their_underscores(run):
    task = Task()
    assert run(command(task), "graph.levels=1_0", "graph=hierarchical", "paths.run_dir=here").code == 0
    assert task.seen[-1]["graph"]["levels"] == 10
