"""The worked examples of docs/extend.md do what they say, in a copy of the repository."""

import csv
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from contributing import PAGE, edit_files, examples, write_files

ROOT = PAGE.parents[1]


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of the package and of conf/, with all files and edits of the page."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "conf" / "local" / "default.yaml").unlink(missing_ok=True)  # settings of this machine
    edit_files(write_files(folder))
    return folder


@pytest.fixture(scope="module")
def done(repository) -> Path:
    """The folder after the commands of the page, one after the other as a reader types them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPACECAST")}
    environment |= {"PYTHONPATH": str(repository / "src"), "OMP_NUM_THREADS": "1"}
    for line in examples().commands:
        program, *words = shlex.split(line)
        module = f"spacecast.app.{program.removeprefix('spacecast-')}"
        command = [sys.executable, "-m", module, *words]
        result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), f"{line}\n{result.stderr}"
    return repository / "runs"


def rows(path: Path) -> list[dict[str, str]]:
    """Lines of a table of scores."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_part_of_ones_own_takes_one_python_file_and_one_yaml_file():
    own = {Path(name) for name in examples().files if name.startswith("mine/")}
    parts = {path.stem: path.parent.name for path in own if path.suffix == ".yaml"}
    assert set(parts.values()) == {"datastore", "model", "loss"}
    assert own == {Path("mine") / f"{name}.py" for name in parts} | {
        Path("mine") / group / f"{name}.yaml" for name, group in parts.items()
    }


def test_a_metric_takes_one_value_in_a_list_and_a_picture_one_file():
    found = examples()
    assert {name for name, _, _ in found.edits} == {"src/spacecast/evaluation/metrics.py"}
    assert [name for name in found.files if name.startswith("src/")] == ["src/spacecast/plots/regions.py"]


@pytest.mark.slow
def test_the_model_of_the_example_learns_on_its_data_with_its_loss(done):
    """Waves go on, so that a share of the last increment is better than none."""
    skill = [float(row["value"]) for row in rows(done / "mine" / "scores.csv") if row["metric"] == "skill"]
    assert len(skill) == 3 * 3 * 2  # leads, variables with their mean, all and the one region the plane has a part in
    assert min(skill) > 0.2
    config = (done / "mine" / "config.yaml").read_text()
    for target in ("waves.Waves", "damped.Damped", "charbonnier.charbonnier"):
        assert f"_target_: {target}" in config


@pytest.mark.slow
def test_the_metric_of_the_example_is_scored_ranked_and_drawn(done):
    found = [row for row in rows(done / "again" / "scores.csv") if row["metric"] == "large_errors"]
    assert {row["variable"] for row in found} == {"vx", "rho", "mean"}
    assert {row["region"] for row in found} >= {"all", "outer"}
    assert all(0 <= float(row["value"]) <= 1 and row["units"] == "1" for row in found)
    assert (done / "again" / "figures" / "large_errors.png").stat().st_size > 0


@pytest.mark.slow
def test_the_picture_of_the_example_is_drawn_where_there_is_something_for_it(done):
    assert {path.name for path in (done / "again" / "figures").iterdir()} >= {"rmse.png", "regions.png", "regions.pdf"}
