"""The Python interface: what docs/python.md shows, for checkpoints of ours and published ones, and what goes wrong."""

import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import spacecast
from spacecast.checkpoint.content import describe
from spacecast.checkpoint.exported import write_exported
from spacecast.checkpoint.files import write_whole
from spacecast.config.portable import portable
from spacecast.core.spec import FeatureSpec
from spacecast.core.types import Batch
from spacecast.data.dataset import DatasetStore
from spacecast.forecast.rollout import rollout
from spacecast.forecast.standardize import Standardizer
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.cache import load_or_build
from spacecast.graphs.stored import StoredGraph
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM
from spacecast.models.persistence import Persistence

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
FRAMES, STEP = 64, np.timedelta64(10, "s")
START = np.datetime64("2000-01-01", "ns")
GRAPH = {"_target_": "spacecast.graphs.builders.MeshGraphBuilder", "layout": "simple", "mesh_spacing": 2}
SIZES = {"hidden_dim": 4, "processor_layers": 1}
MODELS = {"fm": EncodeProcessDecode, "efm": GraphEFM}


def section(kind: type, keywords: dict) -> dict:
    return {"_target_": f"{kind.__module__}.{kind.__name__}", "_partial_": True, **keywords}


def write_checkpoint(path: Path, spec, graph, model, kind=None, *, graph_section=GRAPH) -> Path:
    """What a training leaves, as far as a forecast needs it."""
    config = {"model": section(kind or type(model), SIZES), "graph": graph_section}
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": weights, "spacecast": describe(config, spec, graph)}
    write_whole(content, path / "checkpoints" / "best.ckpt")
    return path


def with_section(path: Path, name: str, content: dict) -> Path:
    """Another section in the configuration of a checkpoint."""
    whole = torch.load(path / "checkpoints" / "best.ckpt", weights_only=True)
    whole["spacecast"]["config"][name] = content
    write_whole(whole, path / "checkpoints" / "best.ckpt")
    return path


def raw_run(spec) -> xr.Dataset:
    """Waves in every variable, NaN inside Earth."""
    x, z = (spec.grid.coordinates[axis] for axis in ("x", "z"))
    frames = np.arange(FRAMES)[:, None, None]
    fields = {}
    for number, (name, unit) in enumerate(zip(spec.state.names, spec.state.units, strict=True)):
        phase = 0.1 * x[:, None] + 0.05 * (number - 6) * z + 0.1 * frames
        plane = spec.state.mean[number] + spec.state.std[number] * np.sin(phase)
        fields[name] = ("time", "x", "z"), np.where(spec.grid.valid, plane, np.nan).astype("f4"), {"units": unit}
    axes = {axis: (axis, values, {"units": "R_E"}) for axis, values in (("x", x), ("z", z))}
    return xr.Dataset(fields, {"time": START + np.arange(FRAMES) * STEP, **axes})


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_spec) -> Path:
    """Two run folders, `fm` and `efm`, and a raw run."""
    folder = tmp_path_factory.mktemp("project")
    graph = MeshGraphBuilder(layout="simple", mesh_spacing=2).build(tiny_spec.grid)
    for name, kind in MODELS.items():
        torch.manual_seed(1)
        write_checkpoint(folder / name, tiny_spec, graph, kind(tiny_spec, graph, **SIZES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw_run(tiny_spec).to_zarr(folder / "run_1.zarr")
    return folder


@pytest.fixture(scope="module")
def model(project):
    return spacecast.load(project / "efm", device="cpu")


@pytest.fixture(scope="module")
def plain(project):
    """Without an ensemble."""
    return spacecast.load(project / "fm", device="cpu")


@pytest.fixture
def dataset(project) -> xr.Dataset:
    return xr.open_zarr(project / "run_1.zarr", chunks=None)


# --- the page ----------------------------------------------------------------------------------------------------

OURS, PUBLISHED = '"runs/DATE/RUN"', '"graph_efm_simple.ckpt", data="DIR"'


def page_blocks() -> list[str]:
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) >= 7
    return found


def run_page(blocks: list[str]) -> dict:
    """One after the other, as a reader types them."""
    names: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    return names


def test_the_page_is_true_of_our_checkpoints(project, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "DATE").mkdir(parents=True)
    (tmp_path / "runs" / "DATE" / "RUN").symlink_to(project / "efm")
    (tmp_path / "run_1.zarr").symlink_to(project / "run_1.zarr")
    monkeypatch.chdir(tmp_path)
    names = run_page([block for block in page_blocks() if PUBLISHED not in block])
    forecast = names["forecast"]
    assert dict(forecast.sizes) == {"init_time": 1, "member": 20, "lead_time": 60, "x": 12, "z": 8}
    assert forecast.init_time.values == [START + 3 * STEP]  # 60 frames of 64 follow, which drive the boundary
    np.testing.assert_array_equal(names["several"].init_time, START + STEP * np.array([10, 20, 56]))
    kinds = {f"{name}_{kind}" for name in names["model"].variables for kind in ("mean", "spread")}
    assert set(names["summary"].data_vars) == kinds
    assert names["leads"].tolist() == [10, 20, 30]
    assert "convert_units=True converts them" in capsys.readouterr().out


def unstacked(path: Path) -> xr.Dataset:
    """A prepared run of the published layout as raw fields."""
    with xr.open_zarr(path, chunks=None) as data:
        cells = data.set_index(grid_index=("x", "z")).unstack("grid_index")
        units = dict(zip(data.state_feature.values, data.state_feature_units.values, strict=True))
        state = cells.state.reset_coords(drop=True)
        return xr.Dataset(
            {name: state.sel(state_feature=name, drop=True).assign_attrs(units=unit) for name, unit in units.items()}
        )


def test_the_page_is_true_of_published_checkpoints(reference_dir, tmp_path, monkeypatch):
    """The same five lines, but for where the data are; fewer members and steps, to be quick."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unstacked(reference_dir / "data" / "vlasiator_run_1.zarr").drop_encoding().to_zarr(tmp_path / "run_1.zarr")
    (tmp_path / "graph_efm_simple.ckpt").symlink_to(reference_dir / "trained" / "graph_efm_simple" / "last.ckpt")
    (tmp_path / "DIR").symlink_to(reference_dir / "data")
    monkeypatch.chdir(tmp_path)
    quick = [block.replace("steps=60, members=20", "steps=6, members=3") for block in page_blocks()]
    names = run_page([block.replace(OURS, PUBLISHED) for block in quick])
    assert dict(names["forecast"].sizes) == {"init_time": 1, "member": 3, "lead_time": 6, "x": 44, "z": 32}
    assert names["forecast"].init_time == names["dataset"].time[-1]  # nothing drives it


# --- loading -----------------------------------------------------------------------------------------------------


def test_the_package_says_what_is_public():
    assert {"load", "TrainedModel", "UserError", "__version__"} <= set(dir(spacecast))
    with pytest.raises(AttributeError, match="has no attribute 'forecast_all'"):
        _ = spacecast.forecast_all


def test_a_model_says_what_it_is(model, plain, project):
    text = repr(model)
    for words in ("GraphEFM (ensemble)", "Bx [nT], By [nT]", "12 x 8 plane", "10 s", str(project / "efm")):
        assert words in text
    assert f"{sum(weight.numel() for weight in model.module.parameters()):,} parameters" in text
    assert "EncodeProcessDecode (one forecast)" in repr(plain)
    assert model.variables["rho"] == "1/cm3"
    assert not model.module.training


@pytest.mark.parametrize("path", ["fm", "fm/checkpoints/best.ckpt", "./fm/../fm"])
def test_a_file_or_a_folder(project, plain, path, monkeypatch):
    monkeypatch.chdir(project)
    assert spacecast.load(path).source.samefile(plain.source)


def test_a_model_for_others(plain, dataset, tmp_path):
    """The folder that `spacecast-data export` writes."""
    described = {**plain.facts, "config": portable(plain.facts["config"], "graph")}
    folder = write_exported(tmp_path / "shared", plain.module.state_dict(), described, {})
    found = spacecast.load(folder, device="cpu")
    options = {"steps": 2, "start": 9}
    xr.testing.assert_equal(found.forecast(dataset, **options), plain.forecast(dataset, **options))


def test_loading_leaves_nothing_behind(project):
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    spacecast.load(project / "efm")
    assert torch.equal(torch.get_rng_state(), state)
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before


def test_the_graph_of_the_training_is_taken_where_it_is_kept(project, tmp_path, tiny_spec, plain, monkeypatch):
    load_or_build(MeshGraphBuilder(layout="simple", mesh_spacing=2), tiny_spec.grid, tmp_path / "graphs")
    monkeypatch.setattr(MeshGraphBuilder, "build", lambda *_: pytest.fail("built again"))
    found = spacecast.load(project / "fm", data=tmp_path)
    assert found.graph.content_hash == plain.graph.content_hash


def test_a_stored_graph_that_was_moved(project, tmp_path, tiny_spec, plain, write_graph):
    (tmp_path / "graph").mkdir()
    graph = StoredGraph(write_graph(plain.graph, tmp_path / "graph" / "simple")).build(tiny_spec.grid)
    module = EncodeProcessDecode(tiny_spec, graph, **SIZES)
    stored = {"_target_": "spacecast.graphs.stored.StoredGraph", "path": "/elsewhere/simple"}
    path = write_checkpoint(tmp_path / "run", tiny_spec, graph, module, graph_section=stored)
    for words in ({"data": tmp_path}, {"graph": tmp_path / "graph" / "simple"}):
        assert spacecast.load(path, **words).graph.content_hash == graph.content_hash
    with pytest.raises(spacecast.UserError, match="read from /elsewhere/simple, which is no folder; give graph=DIR"):
        spacecast.load(path)
    with pytest.raises(spacecast.UserError, match=r"fm/graph/simple neither; give graph=DIR"):
        spacecast.load(path, data=project / "fm")


def test_another_graph_is_told(project, tmp_path, plain, write_graph, tiny_spec, caplog):
    other = MeshGraphBuilder(layout="simple", mesh_spacing=3).build(tiny_spec.grid)
    spacecast.load(project / "fm", graph=write_graph(other, tmp_path / "other"))
    assert "another graph than the one the model was trained on" in caplog.text


@pytest.mark.parametrize(
    ("path", "words"),
    [("nowhere", "no checkpoint at"), ("run_1.zarr", "no checkpoint at"), ("", "path is empty")],
)
def test_what_is_no_checkpoint(project, path, words, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(spacecast.UserError, match=words):
        spacecast.load(path)


@pytest.mark.parametrize(("device", "words"), [("tpu", "none that PyTorch knows"), ("cuda:99", "this machine has")])
def test_what_is_no_device(project, device, words):
    with pytest.raises(spacecast.UserError, match=words):
        spacecast.load(project / "fm", device=device)


def test_weights_of_another_model(project, tmp_path, tiny_spec, plain):
    path = write_checkpoint(tmp_path, tiny_spec, plain.graph, plain.module, GraphEFM)
    with pytest.raises(spacecast.UserError, match="do not fit"):
        spacecast.load(path)


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "hostile.Model"])
@pytest.mark.parametrize("name", ["model", "graph"])
def test_nothing_else_is_called(tmp_path, tiny_spec, plain, name, target, monkeypatch):
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = write_checkpoint(tmp_path, tiny_spec, plain.graph, plain.module)
    with_section(path, name, {"_target_": target, "_args_": [f"touch {tmp_path}/executed"]})
    with pytest.raises(spacecast.UserError, match=rf"{name}._target_={target!r} is not called"):
        spacecast.load(path)
    assert not (tmp_path / "executed").exists()
    assert "hostile" not in sys.modules


def test_a_model_of_ones_own_must_be_trusted(tmp_path, tiny_spec, plain, monkeypatch):
    (tmp_path / "ownnet.py").write_text(
        "from spacecast.models.persistence import Persistence\nclass Still(Persistence):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = write_checkpoint(tmp_path, tiny_spec, plain.graph, Persistence(tiny_spec, plain.graph))
    with_section(path, "model", {"_target_": "ownnet.Still", "_partial_": True})
    with pytest.raises(spacecast.UserError, match="add trust=ownnet"):
        spacecast.load(path)
    assert type(spacecast.load(path, trust="ownnet").module).__name__ == "Still"


def test_a_published_checkpoint_needs_its_data(reference_dir, tmp_path):
    path, data = reference_dir / "trained" / "graph_fm_simple", reference_dir / "data"
    with pytest.raises(spacecast.UserError, match="says nothing of data and graph: give data=DIR"):
        spacecast.load(path)
    with pytest.raises(spacecast.UserError, match="there is no prepared run"):
        spacecast.load(path, data=tmp_path)
    (tmp_path / "vlasiator_run_1.zarr").symlink_to(data / "vlasiator_run_1.zarr")
    with pytest.raises(spacecast.UserError, match=r"has the graph simple, but .*simple is no folder; give graph=DIR"):
        spacecast.load(path, data=tmp_path)
    found = spacecast.load(path, data=tmp_path, graph=data / "graph" / "simple")
    with xr.open_zarr(data / "vlasiator_run_1.zarr", chunks=None) as first:
        np.testing.assert_allclose(found.spec.state.mean, first.state__train__mean.values, rtol=1e-6)
    second = spacecast.load(path, data=data / "vlasiator_run_2.zarr")
    with xr.open_zarr(data / "vlasiator_run_2.zarr", chunks=None) as run:
        np.testing.assert_allclose(second.spec.state.mean, run.state__train__mean.values, rtol=1e-6)


def test_a_published_checkpoint_forecasts_as_the_reference_does(reference_dir):
    """Its own scores: RMSE of the test split's first two initial times, frames 41 and 42."""
    model = spacecast.load(
        reference_dir / "trained" / "graph_fm_simple", data=reference_dir / "data" / "vlasiator_run_2.zarr"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = unstacked(reference_dir / "data" / "vlasiator_run_2.zarr")
    forecast = model.forecast(run, steps=4, start=[41, 42])
    theirs = np.loadtxt(reference_dir / "trained" / "graph_fm_simple" / "test_rmse.csv", delimiter=",")
    for number, name in enumerate(model.variables):
        truth = np.stack([run[name].transpose("time", "x", "z").values[first : first + 4] for first in (42, 43)])
        found = forecast[name].transpose("init_time", "lead_time", "x", "z").values
        error = (found - truth)[..., model.spec.grid.valid].astype(float)
        np.testing.assert_allclose(np.sqrt((error**2).mean(axis=(0, 2))), theirs[:, number], rtol=1e-5)


# --- forecasting -------------------------------------------------------------------------------------------------


def nodes(forecast: xr.Dataset, spec) -> np.ndarray:
    """(init_time, [member,] lead_time, node, variable)."""
    fields = np.stack([forecast[name].transpose(..., "x", "z").values for name in spec.state.names], axis=-1)
    assert np.isnan(fields[..., ~spec.grid.valid, :]).all()
    return fields[..., spec.grid.valid, :]


def test_a_forecast_is_the_roll_out_of_the_model(plain, dataset):
    """Initial states of frames 8 and 9, the boundary of the frames from 10 on."""
    found = nodes(plain.forecast(dataset, steps=3, start=9), plain.spec)[0]
    store, scaler = DatasetStore(dataset, plain.spec), Standardizer(plain.spec)
    frames = scaler.state(torch.as_tensor(store.read_state("run_1", "all", 8, 13))[None])
    batch = Batch(frames[:, :2], frames[:, 2:], torch.zeros(1, 3, plain.spec.num_nodes, 0), torch.zeros(1, 2))
    with torch.inference_mode():
        states = rollout(plain.module, batch, 3, boundary=torch.as_tensor(plain.spec.boundary)).states
    expected = scaler.state_to_physical(states)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def prepared(data: xr.Dataset, spec) -> xr.Dataset:
    """As mllam-data-prep writes it."""
    names = list(spec.state.names)[::-1]
    cells = {"grid_index": ("z", "x")}
    state = xr.concat([data[name] for name in names], "state_feature", coords="minimal", compat="override")
    state = state.stack(cells).reset_index("grid_index").drop_attrs()
    mask = xr.DataArray(spec.grid.valid, dict(spec.grid.coordinates), ("x", "z")).stack(cells).values[None]
    units = ("state_feature", [data[name].units for name in names])
    features = {"state_feature": names, "state_feature_units": units, "mask_feature": ["mask"]}
    return xr.Dataset({"state": state, "mask": (("mask_feature", "grid_index"), mask.astype(float))}, features)


def test_the_same_numbers_however_the_run_is_held(model, dataset, project):
    options = {"steps": 2, "members": 2, "start": "2000-01-01T00:01:30"}
    expected = model.forecast(dataset, **options)
    forms = [
        project / "run_1.zarr",
        dataset.chunk(time=4),
        dataset.transpose("z", "x", "time").isel(z=slice(None, None, -1)),
        dataset[list(dataset.data_vars)[::-1]],
        dataset.isel(time=slice(8, 12)),
        prepared(dataset.load(), model.spec),
    ]
    for form in forms:
        found = model.forecast(form, **options)
        xr.testing.assert_equal(found, expected)


def test_the_same_numbers_as_by_the_command(run, untrained, tiny_data, workplace):
    """Of a checkpoint with all that a training records; the command reads the prepared run, here it is the raw one."""
    words = ["start=[5,9]", "steps=3", "members=2", "seed=4", "output=by_command.zarr", "trainer.accelerator=cpu"]
    result = run("spacecast-forecast", f"checkpoint={untrained / 'efm'}", f"paths.data_dir={tiny_data}", *words)
    assert (result.code, result.err) == (0, "")
    model = spacecast.load(untrained / "efm", device="cpu")
    found = model.forecast(tiny_data / "magnetosphere" / "run_1.zarr", start=[5, 9], steps=3, members=2, seed=4)
    xr.testing.assert_equal(found, xr.load_dataset("by_command.zarr"))


def test_two_frames_suffice(model, dataset):
    """Where the boundary keeps its values."""
    two = dataset.isel(time=[8, 9])
    found = model.forecast(two, steps=4, members=2, boundary="persist")
    assert found.init_time.values == [dataset.time.values[9]]
    driven = model.spec.boundary
    states = nodes(found, model.spec)[0]
    before = DatasetStore(two, model.spec).read_state("run_1", "all", 1, 2)[0]
    kept = np.broadcast_to(before[driven], states[..., driven, :].shape)
    np.testing.assert_allclose(states[..., driven, :], kept, rtol=1e-5)
    with pytest.raises(spacecast.UserError, match="boundary=persist"):
        model.forecast(two, steps=4)


def test_members_are_functions_of_seed_and_number(model, dataset):
    state = torch.get_rng_state()
    many = model.forecast(dataset, steps=2, members=5, start=9)
    few = model.forecast(dataset, steps=2, members=2, start=9, member_chunk=1)
    other = model.forecast(dataset, steps=2, members=2, start=9, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    xr.testing.assert_allclose(many.isel(member=[0, 1]), few, rtol=1e-5)
    assert not np.allclose(many.Bz.isel(member=0), many.Bz.isel(member=1), equal_nan=True)
    assert not np.allclose(other.Bz, few.Bz, equal_nan=True)


def test_members_of_a_model_that_draws_nothing_are_refused(plain, dataset):
    with pytest.raises(spacecast.UserError, match="members=20: EncodeProcessDecode draws nothing"):
        plain.forecast(dataset, steps=60, members=20)


@pytest.mark.parametrize("name", ["new/forecast.zarr", "forecast.nc"])
def test_a_file(model, dataset, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = model.forecast(dataset, steps=2, start=[5, 9])
    with model.forecast(dataset, steps=2, start=[5, 9], output=name) as found:
        assert (tmp_path / name).exists()
        xr.testing.assert_equal(found.load(), expected)
    with pytest.raises(spacecast.UserError, match="another forecast"):
        model.forecast(dataset, steps=3, start=5, output=name)
    assert model.forecast(dataset, steps=3, start=5, output=name, overwrite=True).sizes["lead_time"] == 3


def test_what_a_forecast_says_of_itself(model, dataset):
    found = model.forecast(dataset, steps=2, members=2, seed=3)
    assert found.attrs["checkpoint"] == str(model.source)
    assert found.attrs["graph_hash"] == model.graph.content_hash
    assert (found.attrs["seed"], found.attrs["members"]) == (3, 2)
    assert spacecast.__version__ in found.attrs["source"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.drop_vars("Ey"), "has no variable 'Ey'"),
        (lambda data: data.assign(Bz=data.Bz.assign_attrs(units="T")), "convert_units=True converts them"),
        (lambda data: data.assign(rho=data.rho.assign_attrs(units="kg/m3")), "'kg/m3'; convert them$"),
        (lambda data: data.isel(time=slice(None, None, 2)), "one frame every 20 s; give data like the model's own$"),
        (lambda data: data.isel(time=slice(None, None, -1)), "sort the frames by time"),
        (lambda data: data.isel(time=[5]), "at least 2 are needed"),
        (lambda data: data.assign_coords(x=data.x + 1.5), "x differs by up to 1.5 R_E; give data"),
        (lambda data: data.isel(z=slice(1, None)), "the data lie on a 12 x 7 plane"),
        (lambda data: data.assign(mask=(("x", "z"), np.ones((12, 8)))), "the mask of the data differs in"),
        (lambda data: data.assign(P=data.P.where(data.z > -10)), "P is nan outside the mask"),
        (lambda data: data.Bx, "expected an xarray.Dataset, found a DataArray"),
    ],
)
def test_other_data_are_refused(plain, dataset, change, words):
    with pytest.raises(spacecast.UserError, match=words) as caught:
        plain.forecast(change(dataset), steps=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "2000-01-01T00:01:34"}, r"the nearest is 2000-01-01T00:01:30 \(frame 9\)"),
        ({"start": 0}, "a forecast can start from"),
        ({"start": [3, 3]}, "given twice"),
        ({"start": 62, "steps": 4}, "boundary=persist"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5: must be a whole number"),
        ({"steps": "2"}, "steps='2': must be a whole number"),
        ({"seed": "a"}, "seed='a': must be a whole number"),
        ({"members": 2.5}, "members=2.5: must be a whole number"),
        ({"members": 0}, "members=0"),
        ({"boundary": "open"}, "boundary=open"),
        ({"statistics": "only"}, "statistics=only"),
        ({"output": "run_1.zarr"}, "no forecast"),
    ],
)
def test_what_is_not_possible(model, dataset, options, words, project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(spacecast.UserError, match=words):
        model.forecast(dataset, **{"steps": 2, **options})


@pytest.mark.parametrize("name", ["steps", "seed", "members", "batch_size", "member_chunk"])
def test_numbers_of_an_evaluation_are_whole(model, dataset, name):
    with pytest.raises(spacecast.UserError, match=rf"{name}=2\.5: must be a whole number"):
        model.evaluate(dataset, **{"steps": 2, name: 2.5})


# --- scores ------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_forecasts(plain, dataset):
    """RMSE over all initial times and nodes but the driven ones."""
    scores = plain.evaluate(dataset, steps=2, windows=3)
    states = nodes(plain.forecast(dataset, steps=2, start=[1, 2, 3]), plain.spec)
    truth = DatasetStore(dataset, plain.spec).read_state("run_1", "all", 0, 6)
    inside = ~plain.spec.boundary
    for lead in (0, 1):
        errors = np.stack([states[window, lead] - truth[window + 2 + lead] for window in range(3)])[:, inside]
        rmse = np.sqrt((errors.astype(float) ** 2).mean(axis=(0, 1)))
        found = [scores.series("rmse", name)[1][lead] for name in plain.variables]
        np.testing.assert_allclose(found, rmse, rtol=1e-5)


def test_scores_of_an_ensemble(model, dataset):
    scores = model.evaluate(dataset, steps=2, windows=2, members=3, regions=None)
    assert {"crps", "spread"} <= set(scores.metrics)
    with pytest.raises(spacecast.UserError, match="a roll-out of 200 steps needs"):
        model.evaluate(dataset, steps=200)


def test_forcing_is_taken_from_the_run(tmp_path, tiny_spec, dataset):
    """Persistence with a forcing: its data must hold for all steps."""
    forcing = FeatureSpec(("n",), ("1/cm3",), np.zeros(1), np.ones(1))
    spec = replace(tiny_spec, forcing=forcing, boundary=np.zeros_like(tiny_spec.boundary))
    graph = MeshGraphBuilder(layout="simple", mesh_spacing=2).build(spec.grid)
    path = write_checkpoint(tmp_path, spec, graph, Persistence(spec, graph))
    model = spacecast.load(with_section(path, "model", section(Persistence, {})))
    with pytest.raises(spacecast.UserError, match="no variable 'n'"):
        model.forecast(dataset, steps=2)
    forced = dataset.assign(n=("time", np.arange(float(FRAMES)), {"units": "1/cm3"}))
    assert model.forecast(forced, steps=4).init_time.values == [dataset.time.values[FRAMES - 5]]
    with pytest.raises(spacecast.UserError, match="a forecast can start from"):
        model.forecast(forced, steps=4, start=-1)
