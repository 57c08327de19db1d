"""`spacecast-forecast`: what a user gets who types little, what each key does, and what is refused in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from spacecast.app.forecast_file import in_words, model_name
from spacecast.data.datastore import RunDatastore
from spacecast.forecast.starts import Start


@pytest.fixture
def forecast(run, untrained, tiny_data):
    """forecast("fm", "key=value", ...) on the CPU, with the data of the training."""
    def call(name: str, *words: str):
        place = untrained / name
        checkpoint = f"checkpoint={place}" if place.exists() else f"checkpoint={name}"
        return run("spacecast-forecast", checkpoint, f"paths.data_dir={tiny_data}", "trainer.accelerator=cpu", *words)

    return call


@pytest.fixture(scope="module")
def store(tiny_data) -> RunDatastore:
    return RunDatastore(tiny_data / "magnetosphere")


def opened(path: Path) -> xr.Dataset:
    return xr.load_dataset(path)


def same_numbers(one: xr.Dataset, two: xr.Dataset) -> bool:
    return one.drop_attrs().identical(two.drop_attrs())


# --- what comes out ----------------------------------------------------------------------------------------------


def test_the_checkpoint_is_all_that_has_to_be_typed(forecast, workplace, store):
    """From the first initial time of the test split, as many steps as the evaluation of the training."""
    result = forecast("fm")
    assert (result.code, result.err) == (0, "")
    [path] = (workplace / "forecasts").iterdir()
    frame = store.split_range("1", "test")[0] + 1
    time = store.times("1", "all")[frame]
    assert path.name == f"fm_1_{str(time)[:19].replace('-', '').replace(':', '')}.zarr"
    assert f"forecasting run 1 from {str(time)[:19].removesuffix(':00')}, 2 steps of 15 s\n" in result.out
    names: dict = {}
    exec("\n".join(result.out.splitlines()[-2:]), names)  # as it is told
    found = names["forecast"]
    assert (found.sizes["init_time"], found.sizes["lead_time"]) == (1, 2)
    assert found.init_time.values[0] == time
    assert set(store.spec.state.names) <= set(found.data_vars)
    outside = ~np.broadcast_to(store.spec.grid.valid, found["rho"].shape)
    np.testing.assert_array_equal(np.isnan(found["rho"]), outside)


def test_an_ensemble_has_the_members_of_its_evaluation(forecast):
    assert forecast("efm", "output=three.zarr", "statistics=true").code == 0
    assert forecast("efm", "output=two.nc", "statistics=only", "members=2", "seed=5").code == 0
    three, two = opened(Path("three.zarr")), opened(Path("two.nc"))
    assert three.sizes["member"] == 3
    np.testing.assert_allclose(three["rho"].mean("member"), three["rho_mean"], rtol=1e-5)
    assert (three["rho"].isel(lead_time=0).std("member") > 0).any()
    assert {"rho_mean", "rho_spread"} <= set(two.data_vars)
    assert "rho" not in two.data_vars
    assert (two.attrs["seed"], two.attrs["members"]) == (5, 2)


@pytest.mark.parametrize(
    ("typed", "frames"),
    [
        ("start=12", [12]),
        ("start=-3", [27]),
        ("start=2000-01-01T00:05:00", [20]),
        ("start=[1,5,10]", [1, 5, 10]),
        ("start=[2000-01-01T00:05:00,2]", [2, 20]),
        ("start=['2000-01-01 00:05']", [20]),
    ],
)
def test_starts_are_times_or_numbers(forecast, store, typed, frames):
    result = forecast("fm", typed, "steps=1", "output=a.zarr")
    assert (result.code, result.err) == (0, "")
    np.testing.assert_array_equal(opened(Path("a.zarr")).init_time, store.times("1", "all")[frames])


def test_a_dataset_stands_for_the_data_of_the_training(forecast, untrained, tiny_data, workplace):
    """A raw run without anything else; its newest frames are where a forecast starts that takes no true values."""
    raw = tiny_data / "magnetosphere" / "run_1.zarr"
    assert forecast("fm", "start=5", "steps=3", "output=one.zarr").code == 0
    shutil.copytree(untrained / "fm", workplace / "copy")
    elsewhere = ["paths.data_dir=empty", f"dataset={raw}"]
    assert forecast("copy", *elsewhere, "start=5", "steps=3", "output=two.zarr").code == 0
    one, two = opened(Path("one.zarr")), opened(Path("two.zarr"))
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-6)
    with xr.open_zarr(raw) as dataset:
        dataset.isel(time=slice(-2, None)).load().drop_encoding().to_netcdf("two_frames.nc")
    words = ["paths.data_dir=empty", "dataset=two_frames.nc", "boundary=persist", "output=three.nc"]
    result = forecast("copy", *words)
    assert (result.code, result.err) == (0, "")
    three = opened(Path("three.nc"))
    assert three.init_time.values == xr.open_zarr(raw).time.values[-1]
    assert three.attrs["boundary"].startswith("persist")


def test_the_file_says_where_it_comes_from_but_not_who_made_it(forecast, untrained, workplace, monkeypatch):
    shutil.copytree(untrained / "fm", workplace / "fm")
    monkeypatch.setenv("HOME", str(workplace))
    assert forecast(str(workplace / "fm"), "output=a.zarr", "start=3").code == 0
    attributes = opened(Path("a.zarr")).attrs
    assert str(workplace) not in json.dumps(attributes)
    assert attributes["checkpoint"] == "~/fm/checkpoints/best.ckpt"
    assert len(attributes["checkpoint_sha256"]) == 64
    assert "spacecast-forecast checkpoint=" in attributes["history"]
    assert "start=3" in attributes["history"]
    assert {"graph_hash", "model_hash", "data_hash", "training_data_hash", "run"} <= attributes.keys()
    assert "spacecast" in attributes["source"]


def test_models_are_called_after_their_folder_or_their_file():
    names = {
        "runs/mine/checkpoints/best.ckpt": "mine", "exported/model.safetensors": "exported",
        "trained/graph_fm_simple/last.ckpt": "graph_fm_simple", "runs/mine/checkpoints/epoch_3.ckpt": "epoch_3",
    }  # fmt: skip
    assert {path: model_name(Path(path)) for path in names} == names
    registered = Path("mlruns/spacecast/7dbd/artifacts/checkpoints/52e4b3110b26152e/best.ckpt")
    assert model_name(registered, "/elsewhere/runs/mine") == "mine"
    assert {path: model_name(Path(path), "/elsewhere/other") for path in names} == names


def test_what_is_forecast_is_said_in_words():
    times = [np.datetime64(f"2000-01-01T00:{minute}:15", "ns") for minute in ("20", "10")]
    starts = [Start("2", 5, times[0]), Start("2", 3, times[1])]
    assert in_words(starts[:1], 1, 1, 15.0) == "run 2 from 2000-01-01T00:20:15, 1 step of 15 s"
    assert in_words(starts, 6, 20, 0.5) == (
        "run 2 from 2 initial times, 2000-01-01T00:10:15 to 2000-01-01T00:20:15, 6 steps of 0.5 s, 20 members"
    )


def test_given_again_nothing_is_made_and_another_one_is_not_replaced_unawares(forecast):
    assert forecast("fm", "output=a.zarr", "start=3").code == 0
    before = Path("a.zarr", "zarr.json").stat().st_mtime_ns
    assert forecast("fm", "output=a.zarr", "start=3").code == 0
    assert Path("a.zarr", "zarr.json").stat().st_mtime_ns == before
    result = forecast("fm", "output=a.zarr", "start=4")
    assert result.code == 2
    assert "overwrite=true" in result.line
    assert Path("a.zarr", "zarr.json").stat().st_mtime_ns == before
    assert forecast("fm", "output=a.zarr", "start=4", "overwrite=true").code == 0
    assert Path("a.zarr", "zarr.json").stat().st_mtime_ns != before


@pytest.mark.slow
def test_two_processes_write_what_one_writes(forecast):
    """Bit for bit, whoever computes which members from which start."""
    for name, words in {"fm": ["start=[1,5,9]"], "efm": ["start=[2,7]", "member_chunk=2", "statistics=true"]}.items():
        for devices in (1, 2):
            result = forecast(name, *words, f"trainer.devices={devices}", f"output={name}{devices}.zarr")
            assert (result.code, result.err) == (0, "")
            assert result.out.count("forecast: ") == 1
        assert same_numbers(opened(Path(f"{name}1.zarr")), opened(Path(f"{name}2.zarr")))


# --- what is refused ---------------------------------------------------------------------------------------------

MISTAKES = {
    "a checkpoint that is not there": (["checkpoint=nowhere"], "no checkpoint at"),
    "a run that is not there": (["run=7"], "run=7 is none of the data's"),
    "a frame beyond the run": (["start=400"], "start=400: in run 1 a forecast can start from"),
    "a first frame without another before": (["start=0"], "in run 1 a forecast can start from 2000-01-01T00:00:15"),
    "a time between frames": (["start=2000-01-01T00:05:07"], "the nearest is 2000-01-01T00:05 (frame 20)"),
    "a time that is none": (["start=yesterday"], "start=yesterday is neither a time nor the number of a frame"),
    "the same time twice": (["start=[3,2000-01-01T00:00:45]"], "is given twice"),
    "no start": (["start=[]"], "start is an empty list"),
    "more steps than true values": (["start=25", "steps=9"], "boundary=persist"),
    "no step": (["steps=0"], "steps: expected at least 1, found 0"),
    "members of a model that draws nothing": (["members=4"], "members=4: EncodeProcessDecode draws nothing"),
    "statistics of one member": (["statistics=true"], "statistics=true are those of an ensemble"),
    "a word that is none": (["boundary=guess"], "boundary: expected 'data' or 'persist', found 'guess'"),
    "statistics of another kind": (["statistics=also"], "statistics: expected true or false or 'only', found 'also'"),
    "a format against the name": (["output=a.zarr", "format=netcdf"], "format=netcdf is written to NAME.nc"),
    "a name without a format": (["output=a.txt"], "give NAME.zarr or NAME.nc"),
    "an output below a file": (["output=occupied/a.zarr"], "occupied"),
    "an output that is something else": (["output=other.zarr"], "is there and no forecast of this command"),
    "a dataset that is not there": (["dataset=none.zarr"], "none.zarr"),
    "a device that is not there": (["trainer.accelerator=tpu"], "trainer: "),
    "a key of the evaluation": (["evaluation.steps=3"], "unknown key 'evaluation.steps'"),
    "a key that is none": (["stepz=3"], "did you mean 'steps'"),
    "several at once": (["-m", "start=1,2"], "spacecast-forecast does one thing at a time"),
    "a scheduler": (["launcher=slurm"], "srun spacecast-forecast"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(forecast, workplace, mistake):
    words, text = MISTAKES[mistake]
    (workplace / "occupied").touch()
    (workplace / "other.zarr").mkdir()
    result = forecast("fm", *words)
    assert result.code == 2
    assert text in result.line
    assert sorted(path.name for path in workplace.iterdir()) == ["occupied", "other.zarr"]


def test_data_of_another_kind_are_refused_and_units_converted(forecast, tiny_data):
    with xr.open_zarr(tiny_data / "magnetosphere" / "run_1.zarr") as dataset:
        raw = dataset.load().drop_encoding()
    raw.drop_vars("vx").to_netcdf("lacking.nc")
    tesla = raw.copy()
    tesla["Bx"] = (1e-9 * raw["Bx"]).assign_attrs(units="T")
    tesla.to_netcdf("tesla.nc")
    words = ["start=5", "steps=1"]
    assert "vx" in forecast("fm", "dataset=lacking.nc", "output=a.nc", *words).line
    assert "convert_units=true" in forecast("fm", "dataset=tesla.nc", "output=a.nc", *words).line
    assert forecast("fm", "dataset=tesla.nc", "output=a.nc", "convert_units=true", *words).code == 0
    assert forecast("fm", "output=b.nc", *words).code == 0
    a, b = opened(Path("a.nc")), opened(Path("b.nc"))
    np.testing.assert_allclose(a["Bx"], b["Bx"], rtol=1e-4, atol=1e-4)
    assert a["Bx"].attrs["units"] == "nT"


def test_data_in_another_place_are_not_taken_for_those_of_the_training(forecast, untrained, tiny_data, workplace):
    """Nor simulated anew there; see tests/app/test_evaluate_places.py for the whole story."""
    result = forecast("fm", f"paths.data_dir={workplace / 'elsewhere'}")
    assert result.code == 2
    assert "give datastore.root=DIR" in result.line
    assert not (workplace / "elsewhere").exists()
    assert forecast("fm", f"datastore.root={tiny_data / 'magnetosphere'}", "start=2", "output=a.zarr").code == 0


def test_a_datastore_without_whole_runs_is_read_split_by_split(forecast, store, workplace):
    """The forecast is that from the whole run: val and test go on where train and val end."""
    (workplace / "mine").mkdir()
    (workplace / "mine" / "parts.py").write_text(
        "from spacecast.data.datastore import RunDatastore\n\n\n"
        "class Parts(RunDatastore):\n"
        "    missing = ('all',)\n\n"
        "    def split_range(self, run, split):\n"
        "        if split in self.missing:\n"
        "            raise KeyError(split)\n"
        "        return super().split_range(run, split)\n\n\n"
        "class Gap(Parts):\n"
        "    missing = ('all', 'val')\n"
    )
    words = ["--config-dir=mine", "steps=2"]
    assert forecast("fm", *words, "datastore._target_=parts.Parts", "output=a.zarr").code == 0
    assert forecast("fm", "steps=2", "output=b.zarr").code == 0
    xr.testing.assert_equal(opened(Path("a.zarr")), opened(Path("b.zarr")))
    times = store.times("1", "val")
    result = forecast("fm", *words, "datastore._target_=parts.Gap", f"start={times[1]}")
    assert result.code == 2
    assert "has no frame at this time, the nearest is" in result.line


# --- the shell around it -----------------------------------------------------------------------------------------


def test_what_is_recorded_composes_without_the_training(forecast, workplace):
    """Settings of one machine hold for all commands, and settings of a training are left out here."""
    conf = workplace / "mine" / "local"
    conf.mkdir(parents=True)
    local = {"evaluation": {"steps": 4}, "optimizer": {"lr": 1.0}, "trainer": {"accelerator": "cpu"}}
    (conf / "default.yaml").write_text("# @package _global_\n" + yaml.safe_dump(local))
    result = forecast("fm", "--config-dir=mine", "start=2", "output=a.zarr")
    assert (result.code, result.err) == (0, "")
    assert (workplace / "a.zarr").is_dir()
