"""Raw runs are prepared on first use and whenever they have changed: no command uses numbers of an older raw run."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr


@pytest.fixture
def raw(tiny_data: Path, workplace: Path) -> Path:
    """A folder with nothing but a raw run, as downloaded."""
    folder = workplace / "downloaded"
    folder.mkdir()
    for name in ("run_1.zarr", "static.zarr"):
        shutil.copytree(tiny_data / "magnetosphere" / name, folder / name)
    return folder


def louder(folder: Path) -> None:
    """A new raw run in place of the old one: other numbers, the same names and sizes."""
    raw = zarr.open_group(folder / "run_1.zarr", mode="r+")
    raw["By"][...] = 3 * raw["By"][...]


def persistence_rmse(run_dir: Path, variable: str = "By") -> float:
    """Of the first lead in the table of a run."""
    with (run_dir / "scores.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "persistence_rmse"]
    return next(float(row["value"]) for row in rows if row["variable"] == variable)


@pytest.mark.slow
def test_training_evaluation_and_resume_follow_the_raw_data(run, small, raw, workplace):
    words = [word for word in small if "simulation" not in word]
    words = [*words, "datastore=vlasiator", f"datastore.root={raw}", "trainer.max_epochs=1", "paths.run_dir=one"]
    result = run("spacecast-train", *words)
    assert result.code == 0, result.err
    before = persistence_rmse(workplace / "one")
    louder(raw)
    assert run("spacecast-evaluate", "checkpoint=one", "logger=none", "paths.run_dir=two").code == 0
    assert persistence_rmse(workplace / "two") == pytest.approx(3 * before, rel=1e-4)
    result = run("spacecast-train", *words, "resume=one", "paths.run_dir=three")
    assert result.code == 2
    assert "was made with other data than there are now" in result.line


def largest(store: Path) -> np.ndarray:
    """The largest absolute value of each variable of a prepared run."""
    with xr.open_zarr(store, chunks=None) as data:
        return abs(data["state"]).max(["time", "grid_index"]).to_numpy()


@pytest.mark.parametrize("command", [("spacecast-graph",), ("spacecast-data", "inspect")])
def test_other_commands_prepare_as_well(run, raw, command):
    words = [*command, "datastore=vlasiator", f"datastore.root={raw}", "picture=null"]
    assert run(*words).code == 0
    store = raw / "vlasiator_run_1.zarr"
    before = largest(store)
    louder(raw)
    assert run(*words).code == 0
    after = largest(store)
    ratio = after / before
    assert sorted(ratio)[-1] == pytest.approx(3, rel=1e-5)
    assert sum(ratio > 1.5) == 1


def test_only_the_runs_in_use_are_prepared(run, raw):
    shutil.copytree(raw / "run_1.zarr", raw / "run_2.zarr")
    shutil.copytree(raw / "run_1.zarr", raw / "run_3.zarr")
    words = ["datastore=vlasiator", f"datastore.root={raw}", "datastore.runs=[1]", "datastore.holdout=[3]"]
    assert run("spacecast-graph", *words, "picture=null").code == 0
    assert sorted(path.name for path in raw.glob("vlasiator_run_*.zarr")) == [
        "vlasiator_run_1.zarr", "vlasiator_run_3.zarr",
    ]  # fmt: skip


@pytest.mark.parametrize("command", [("spacecast-train",), ("spacecast-data", "inspect")])
def test_changed_raw_data_in_a_folder_that_is_read_only_are_refused(run, raw, command):
    words = [*command, "datastore=vlasiator", f"datastore.root={raw}"]
    assert run("spacecast-data", "prepare", *words[-2:]).code == 0
    louder(raw)
    raw.chmod(0o555)
    try:
        result = run(*words)
    finally:
        raw.chmod(0o755)
    assert result.code == 2
    assert "run 1: its raw data or its YAML have changed since vlasiator_run_1.zarr was made" in result.line
    assert f"spacecast-data prepare datastore.root={raw}" in result.line
