"""Where an evaluation reads and writes; it refuses folders of others, to make data anew, and data of another kind."""

import csv
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from spacecast.app.evaluate import rewrite as rewrite_words


@pytest.fixture
def trained(run, workplace, small, monkeypatch) -> Path:
    """A run folder."""
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    assert run("spacecast-train", *small, "trainer.max_epochs=1", "paths.run_dir=trained").code == 0
    return workplace / "trained"


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_evaluation_overwrites_nothing_of_others(run, workplace, small, trained):
    words = ["checkpoint=trained", "logger=none"]
    before = content(trained)
    result = run("spacecast-evaluate", *words, "paths.run_dir=trained")
    assert result.code == 2
    assert "holds a training, whose files would be overwritten; choose another folder" in result.line
    assert content(trained) == before
    assert "this run is finished" in run("spacecast-train", *small, "trainer.max_epochs=1", "paths.run_dir=trained").out

    crashed = workplace / "crashed"  # before its first checkpoint
    crashed.mkdir()
    for name in ("config.yaml", "train.log"):
        shutil.copy(trained / name, crashed / name)
    for name, text in (("swept", "sweep.json"), ("notes", "scores.csv")):
        (workplace / name).mkdir()
        (workplace / name / text).write_text("mine")
    for name, said in (("crashed", "a training"), ("swept", "a sweep"), ("notes", "scores.csv")):
        before = content(workplace / name)
        result = run("spacecast-evaluate", *words, f"paths.run_dir={name}")
        assert result.code == 2
        assert f"holds {said}, " in result.line
        assert content(workplace / name) == before

    assert run("spacecast-evaluate", *words, "paths.run_dir=own").code == 0
    scores = (workplace / "own" / "scores.csv").read_bytes()
    before = content(workplace / "own")
    result = run("spacecast-evaluate", *words, "paths.run_dir=own", "evaluation.steps=1")
    assert result.code == 2
    assert "holds an evaluation with evaluation.steps=2, here it is 1: " in result.line.replace(";", ":")
    assert content(workplace / "own") == before
    assert run("spacecast-evaluate", *words, "paths.run_dir=own", "trainer.accelerator=cpu").code == 0
    assert (workplace / "own" / "scores.csv").read_bytes() == scores


def test_a_typed_member_keeps_the_stored_values_of_the_keys_it_shares(run, workplace, trained):
    result = run("spacecast-evaluate", "checkpoint=trained", "evaluation=ensemble", "logger=none")
    assert result.code == 2
    assert "draws nothing" in result.line  # and not: its ten steps do not fit
    words = ["evaluation=ensemble", "evaluation.members=1", "evaluation.windows=1", "logger=none"]
    result = run("spacecast-evaluate", "checkpoint=trained", *words, "paths.run_dir=own")
    assert result.code == 0
    assert "RMSE / persistence, 1 forecast of" in result.out
    assert [line.split() for line in result.out.splitlines() if line.startswith("lead")] == [["lead", "1", "2"]]


def test_data_are_not_made_anew_in_another_place(run, workplace, small, tiny_data, trained, monkeypatch):
    """A run folder that was copied without its data, and a name that is wrong."""
    elsewhere = workplace / "elsewhere"
    hidden = tiny_data.with_name("hidden")
    shutil.copytree(trained, elsewhere / "copied")
    monkeypatch.chdir(elsewhere)
    words = ["checkpoint=copied", "logger=none", "paths.run_dir=own"]
    tiny_data.rename(hidden)
    try:
        for more in ([], [f"paths.data_dir={elsewhere}/no"], [f"datastore.root={elsewhere}/no"]):
            result = run("spacecast-evaluate", *words, *more)
            assert result.code == 2
            assert "no" in result.line
            assert sorted(path.name for path in elsewhere.iterdir()) == ["copied"]
        assert "datastore.root=DIR" in run("spacecast-evaluate", *words).line
        assert "paths.data_dir=DIR" in run("spacecast-evaluate", *words).line
        assert not tiny_data.exists()
        assert run("spacecast-evaluate", *words, f"paths.data_dir={hidden}").code == 0
        assert run("spacecast-evaluate", *words[:2], f"datastore.root={hidden}/magnetosphere").code == 0
    finally:
        hidden.rename(tiny_data)
    assert run("spacecast-evaluate", *words[:2], "paths.run_dir=third").code == 0


def test_too_many_steps_are_answered_with_what_takes_them(run, trained):
    result = run("spacecast-evaluate", "checkpoint=trained", "evaluation.steps=12", "logger=none")
    assert result.code == 2
    assert "; evaluation.split=all takes the whole run" in result.line
    result = run("spacecast-evaluate", "checkpoint=trained", "evaluation.steps=99", "logger=none")
    assert "split=all" not in result.line


def rewrite(path: Path, change) -> None:
    """Load a prepared store, change it and write it again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.open_zarr(path, chunks=None).load().drop_encoding()
        shutil.rmtree(path)
        change(dataset).to_zarr(path, mode="w", consolidated=True, zarr_format=3)


def scores(folder: Path) -> dict[tuple[str, ...], float]:
    with (folder / "scores.csv").open() as stream:
        return {tuple(line.values())[:5]: float(line["value"]) for line in csv.DictReader(stream)}


def slower(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords(time=dataset.time[0] + 2 * (dataset.time - dataset.time[0]))


def in_tesla(dataset: xr.Dataset) -> xr.Dataset:
    magnetic = dataset.state_feature.isin(["Bx", "By", "Bz"])
    units = xr.where(magnetic, "T", dataset.state_feature_units.astype(object)).astype(str)
    state = (dataset.state.astype(np.float64) * xr.where(magnetic, 1e-9, 1.0)).astype(np.float64)
    return dataset.assign(state=state.transpose(*dataset.state.dims)).assign_coords(state_feature_units=units)


def permuted(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.isel(state_feature=np.roll(np.arange(dataset.sizes["state_feature"]), 5))


def test_data_of_another_kind_are_refused_and_units_converted(run, workplace, tiny_data, trained):
    words = ["checkpoint=trained", "logger=none"]
    assert run("spacecast-evaluate", *words, "paths.run_dir=plain").code == 0
    expected = scores(workplace / "plain")

    def evaluate(change, *more: str):
        root = workplace / change.__name__
        if not root.exists():
            root.mkdir()
            store = next((tiny_data / "magnetosphere").glob("vlasiator_run_*.zarr"))
            shutil.copytree(store, root / store.name)
            rewrite(root / store.name, change)
        return run("spacecast-evaluate", *words, f"datastore.root={root}", f"paths.run_dir={root}-scores", *more)

    result = evaluate(slower)
    assert (result.code, "steps of 15 s, the data have one frame every 30 s" in result.line) == (2, True)
    result = evaluate(in_tesla)
    assert (result.code, "evaluation.convert_units=true converts them" in result.line) == (2, True)
    for change, more in ((in_tesla, ["evaluation.convert_units=true"]), (permuted, [])):
        result = evaluate(change, *more)
        assert (result.code, result.err) == (0, "")
        found = scores(workplace / f"{change.__name__}-scores")
        assert found.keys() == expected.keys()
        np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-3, atol=1e-5)


def doubled(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign(state=2 * dataset.state)


def other_data(source: Path, folder: Path) -> Path:
    """A copy of prepared runs with other values."""
    folder.mkdir(parents=True)
    for store in source.glob("vlasiator_run_*.zarr"):
        shutil.copytree(store, folder / store.name)
        rewrite(folder / store.name, doubled)
    return folder


def test_a_relative_folder_is_the_one_of_the_training_wherever_it_is_evaluated(
    run, workplace, small, tiny_data, monkeypatch
):
    """Beside another folder of the same name."""
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    project, elsewhere = workplace / "project", workplace / "elsewhere"
    for folder in (project, elsewhere):
        folder.mkdir()
    monkeypatch.chdir(project)
    for store in (tiny_data / "magnetosphere").glob("vlasiator_run_*.zarr"):
        shutil.copytree(store, project / "set" / store.name)
    words = [word for word in small if "simulation" not in word and "data_dir" not in word]
    words += ["simulation=none", "datastore.root=set", "trainer.max_epochs=1", "paths.run_dir=run"]
    assert run("spacecast-train", *words).code == 0
    expected = scores(project / "run")
    other_data(project / "set", elsewhere / "set")
    monkeypatch.chdir(elsewhere)
    words = ["checkpoint=../project/run", "logger=none"]
    assert run("spacecast-evaluate", *words, "paths.run_dir=a").code == 0
    assert scores(elsewhere / "a") == pytest.approx(expected, rel=1e-5)
    assert run("spacecast-evaluate", *words, "paths.run_dir=b", "datastore.root=set").code == 0
    assert scores(elsewhere / "b") != pytest.approx(expected, rel=1e-5)
    (project / "set").rename(project / "gone")
    result = run("spacecast-evaluate", *words, "paths.run_dir=c")
    assert (result.code, f"{project}/set does not exist" in result.line) == (2, True)


def test_data_that_have_moved_are_known_by_their_content(run, workplace, tiny_data, trained, monkeypatch):
    hidden, elsewhere = tiny_data.with_name("hidden"), workplace / "elsewhere"
    other_data(tiny_data / "magnetosphere", elsewhere / "data" / "magnetosphere")
    monkeypatch.chdir(elsewhere)
    words = ["checkpoint=../trained", "logger=none"]
    tiny_data.rename(hidden)
    try:
        result = run("spacecast-evaluate", *words, "paths.run_dir=a")
        assert result.code == 2
        assert f"the data in {elsewhere}/data/magnetosphere are not those of the training" in result.line
        named = f"datastore.root={elsewhere}/data/magnetosphere"
        assert named in result.line
        assert not (elsewhere / "a").exists()
        assert run("spacecast-evaluate", *words, "paths.run_dir=b", named).code == 0
        shutil.rmtree(elsewhere / "data")
        shutil.copytree(hidden, elsewhere / "data")
        assert run("spacecast-evaluate", *words, "paths.run_dir=c").code == 0
        assert scores(elsewhere / "c") == pytest.approx(scores(trained), rel=1e-5)
        assert run("spacecast-evaluate", *words, "paths.run_dir=d", f"paths.data_dir={hidden}").code == 0
    finally:
        hidden.rename(tiny_data)


def test_stored_keys_pass_hydra_whatever_its_defaults_are():
    words = ["checkpoint=a", "model.width=3", "evaluation.steps=4", "+model.new=1", "datastore=vlasiator", "~data.x"]
    assert rewrite_words(words) == [
        "checkpoint=a", "++model.width=3", "++evaluation.steps=4", "+model.new=1", "datastore=vlasiator", "~data.x",
    ]  # fmt: skip
