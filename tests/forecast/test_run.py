"""Forecasts into files: what is in them, whoever computes them and however often they are interrupted."""

import errno
import itertools
import json
import logging
import resource
import shutil
import subprocess
import sys
import threading
import tracemalloc
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.types import StepOutput
from spacecast.forecast import layout, netcdf, place, unit
from spacecast.forecast.forecaster import Forecaster
from spacecast.forecast.processes import Processes
from spacecast.forecast.run import write_forecast
from spacecast.forecast.starts import Start
from spacecast.process.lock import InUseError

STEPS = 5
FORMATS = ("zarr", "netcdf")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Room for four fields of the tiny grid: two members and two leads, so that a unit has several chunks."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 4 * 12 * 8)


@pytest.fixture
def at_once(monkeypatch) -> None:
    """NetCDF files are written without a process of their own."""
    monkeypatch.setattr(place, "write_netcdf", netcdf.copy)


def read(path: Path) -> xr.Dataset:
    """All of a file; xarray may find nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_dataset(path, engine="zarr" if path.is_dir() else "h5netcdf") as data:
            return data.load()


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a store with its bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def nodes(data: xr.Dataset, spec, suffix: str = "") -> np.ndarray:
    """(init_time, [member,] lead, node, variable)."""
    return np.stack([spec.grid.to_nodes(data[name + suffix].values) for name in spec.state.names], axis=-1)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_deterministic_forecast_is_the_recursion(frames, fakes, tmp_path, file_format: str) -> None:
    spec = frames.spec
    starts = [frames.start(4), frames.start(2)]
    path = write_forecast(fakes.Drift(), frames, tmp_path / "new" / "x", starts=starts, steps=STEPS, format=file_format)
    data = read(path)
    assert list(data.sizes) == ["init_time", "lead_time", "x", "z"]
    assert set(data.data_vars) == set(spec.state.names)
    np.testing.assert_array_equal(data.init_time, [starts[1].time, starts[0].time])
    np.testing.assert_array_equal(data.lead_time, 10.0 * np.arange(1, STEPS + 1))
    np.testing.assert_array_equal(data.valid_time[0], frames.times("1", "all")[3 : 3 + STEPS])
    np.testing.assert_array_equal(data.x, spec.grid.coordinates["x"])
    assert np.isnan(data.rho.values[..., ~spec.grid.valid]).all()
    found = nodes(data, spec)
    for row, frame in enumerate((2, 4)):
        previous, state = frames.states[0, frame - 1].astype(float), frames.states[0, frame].astype(float)
        for lead in range(STEPS):
            new = state + 0.1 * (state - previous)
            new[spec.boundary] = frames.states[0, frame + 1 + lead, spec.boundary]
            previous, state = state, new
            np.testing.assert_allclose(found[row, lead], state, rtol=1e-5, atol=1e-5 * spec.state.std.max())


def test_a_grid_may_have_a_third_axis(spec, fakes, tmp_path) -> None:
    axes = {"x": np.arange(5.0), "y": np.arange(4.0), "z": np.arange(3.0)}
    grid = Grid(axes, np.ones((5, 4, 3)))
    store = fakes.Frames(replace(spec, grid=grid, boundary=np.zeros(grid.num_nodes, dtype=bool)))
    data = read(write_forecast(fakes.Drift(), store, tmp_path / "x", starts=[store.start(3)], steps=2))
    assert data.rho.dims == ("init_time", "lead_time", "x", "y", "z")
    assert (data.y.long_name, data.y.units) == ("y, duskward", "R_E")
    assert data.rho.long_name == "number density"
    assert np.isfinite(data.rho).all()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("file_format", FORMATS)
def test_members_are_those_of_the_forecaster(frames, fakes, tmp_path, file_format: str) -> None:
    model, spec, start = fakes.Drift(noise=0.3), frames.spec, frames.start(3)
    options = {"starts": [start], "steps": STEPS, "members": 5, "member_chunk": 2, "seed": 4}
    data = read(write_forecast(model, frames, tmp_path / "x", format=file_format, **options))
    assert list(data.sizes) == ["init_time", "member", "lead_time", "x", "z"]
    np.testing.assert_array_equal(data.member, range(5))
    forecaster = Forecaster(model, spec, torch.device("cpu"), members=5, seed=4)
    with torch.inference_mode():
        batch = unit.Inputs(frames, forecaster, "data")
        initial = batch.initial(start)
        whole = batch.batch(start, initial, initial, 0, STEPS)
        expected = torch.stack(list(forecaster.leads(whole, STEPS, [start.time])), dim=2)
        physical = forecaster.standardizer.state_to_physical(expected).numpy()
    np.testing.assert_array_equal(nodes(data, spec), physical)


def test_what_the_file_says_of_itself(frames, fakes, tmp_path) -> None:
    said = {"source": "a model", "history": "today", "checkpoint": "runs/a", "empty": None, "list": [1, 2], "on": True}
    options = {"starts": [frames.start(3), frames.start(2, "2")], "steps": 2, "members": 3, "seed": 8}
    options |= {"statistics": "beside", "attributes": {**said, "seed": "another"}}
    files = [
        read(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / name, format=name, **options))
        for name in FORMATS
    ]
    for data in files:
        assert data.attrs["Conventions"] == "CF-1.11"
        assert data.attrs.keys() >= {"title", "model_hash", "data_hash", "request_hash"}
        assert {key: data.attrs.get(key) for key in said} == {**said, "list": "[1, 2]", "on": "true"}
        assert (data.attrs["seed"], data.attrs["members"], data.attrs["run"]) == (8, 3, "1, 2")
        assert data.attrs["boundary"] == "data: true values drive 8 cells"
        assert (data.rho.units, data.lead_time.units, data.x.units) == ("1/cm3", "s", "R_E")
        assert data.rho_spread.cell_methods == "realization: standard_deviation (unbiased, over 3 members)"
        assert all("long_name" in each.attrs for each in data.variables.values())
        assert np.isnan(data.rho.encoding["_FillValue"])
        standard = {name: data[name].attrs.get("standard_name") for name in data.coords}
        assert standard == {
            "init_time": "forecast_reference_time",
            "lead_time": "forecast_period",
            "valid_time": "time",
            "member": "realization",
            "x": None,
            "z": None,
        }
    for data in files:
        del data.attrs["request_hash"]  # the format is part of the request
    xr.testing.assert_identical(*files)


CHECKER = """
import sys
from compliance_checker.runner import CheckSuite, ComplianceChecker
CheckSuite.load_all_available_checkers()
for path in sys.argv[1:]:
    options = {"output_filename": f"{path}.json", "output_format": "json"}
    ComplianceChecker.run_checker(path, ["cf:1.11"], 0, "strict", **options)
"""


@pytest.mark.usefixtures("at_once")
def test_the_file_passes_a_checker_but_for_the_unit_that_cf_does_not_know(frames, fakes, tmp_path) -> None:
    paths = []
    for kind in ("none", "beside", "only"):
        options = {} if kind == "none" else {"members": 3, "statistics": kind}
        path = tmp_path / f"{kind}.nc"
        options |= {"starts": [frames.start(3)], "steps": 2, "format": "netcdf"}
        paths.append(write_forecast(fakes.Drift(noise=0.1), frames, path, **options))
    subprocess.run([sys.executable, "-c", CHECKER, *paths], check=True, capture_output=True, timeout=300)
    for path in paths:
        report = json.loads(Path(f"{path}.json").read_text())["cf:1.11"]
        found = [each for kind in ("high", "medium", "low") for each in report[f"{kind}_priorities"]]
        complaints = {text for each in found for text in each["msgs"]}
        # CF 7.3 lets the standard name of an axis stand for one that a variable has no longer; the checker knows it not
        complaints = {text for text in complaints if "cell_methods name component realization" not in text}
        assert complaints == {f'units for {axis}, "R_E" are not recognized by UDUNITS' for axis in "xz"}


def test_netcdf_takes_the_way_back_into_zarr_and_another_library(frames, fakes, tmp_path) -> None:
    options = {"starts": [frames.start(3)], "steps": 2, "members": 3}
    data = read(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "x.zarr", **options))
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    xr.testing.assert_identical(read(tmp_path / "x.nc"), data)
    ours = write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "ours.nc", format="netcdf", **options)
    netcdf4 = "import sys, xarray as x; x.open_dataset(sys.argv[1], engine='netcdf4').to_netcdf(sys.argv[2])"
    subprocess.run([sys.executable, "-c", netcdf4, ours, tmp_path / "again.nc"], check=True, timeout=300)
    xr.testing.assert_identical(read(tmp_path / "again.nc"), read(ours))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("file_format", FORMATS)
def test_mean_and_spread_are_those_of_numpy(frames, fakes, tmp_path, file_format: str) -> None:
    options = {"starts": [frames.start(3), frames.start(4)], "steps": STEPS, "members": 7, "member_chunk": 3}
    options |= {"format": file_format}
    model, spec = fakes.Drift(noise=0.3), frames.spec
    beside = read(write_forecast(model, frames, tmp_path / "beside", statistics="beside", **options))
    members = nodes(beside, spec).astype(np.float64)
    size = np.abs(members).max()
    np.testing.assert_allclose(nodes(beside, spec, "_mean"), members.mean(axis=1), rtol=1e-6, atol=1e-7 * size)
    spread = nodes(beside, spec, "_spread")
    np.testing.assert_allclose(spread, members.std(axis=1, ddof=1), rtol=1e-6, atol=1e-7 * size)
    assert (spread[..., spec.boundary, :] < 1e-6 * size).all()
    only = read(write_forecast(model, frames, tmp_path / "only", statistics="only", **options))
    assert "member" not in only.dims
    xr.testing.assert_equal(only, beside.drop_dims("member"))


def test_driven_cells_follow_the_data_or_stay(frames, fakes, tmp_path) -> None:
    """A forecast that persists goes on where the data end."""
    spec, options = frames.spec, {"starts": [frames.start(9)], "steps": 2, "members": 2}
    driven = read(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "a", **options))
    expected = frames.states[0, 10:, spec.boundary]
    found = nodes(driven, spec)[0, :, :, spec.boundary]
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None], found.shape), rtol=1e-5, atol=1e-4)
    options |= {"steps": 7, "boundary": "persist"}
    staying = read(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "b", **options))
    expected = frames.states[0, 9, spec.boundary]
    found = nodes(staying, spec)[0, :, :, spec.boundary]
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], found.shape), rtol=1e-5, atol=1e-4)
    assert staying.attrs["boundary"] == "persist: 8 cells keep their values of the initial time"
    assert np.ptp(nodes(staying, spec)[0, :, :, spec.interior], axis=2).min() > 0


def test_without_a_boundary_two_states_are_all_that_is_needed(free, fakes, tmp_path) -> None:
    data = read(write_forecast(fakes.Drift(), free, tmp_path / "x", starts=[free.start(11)], steps=20))
    assert data.attrs["boundary"] == "none: true values drive no cell"
    assert data.sizes["lead_time"] == 20
    assert np.isfinite(nodes(data, free.spec)).all()


def test_each_step_takes_its_own_forcing(forced, fakes, tmp_path) -> None:
    data = read(write_forecast(fakes.Drift(), forced, tmp_path / "x", starts=[forced.start(3)], steps=STEPS))
    previous, state = forced.states[0, 2].astype(float), forced.states[0, 3].astype(float)
    std, found = forced.spec.state.std, nodes(data, forced.spec)[0]
    for lead in range(STEPS):
        force = forced.forcing[0, 4 + lead].mean(axis=-1, keepdims=True)
        previous, state = state, state + 0.1 * (state - previous) + std * force
        np.testing.assert_allclose(found[lead], state, rtol=1e-5, atol=1e-5 * std.max())


# ------------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"members": 0}, "members=0: must be at least 1"),
        ({"member_chunk": 0}, "member_chunk=0: must be at least 1"),
        ({"steps": 2.5}, "steps=2.5: must be a whole number"),
        ({"steps": True}, "steps=True: must be a whole number"),
        ({"members": 2.0}, "members=2.0: must be a whole number"),
        ({"member_chunk": "3"}, "member_chunk='3': must be a whole number"),
        ({"seed": 0.5}, "seed=0.5: must be a whole number"),
        ({"seed": None}, "seed=None: must be a whole number"),
        ({"boundary": "dat"}, "boundary=dat is unknown; did you mean 'data'?"),
        ({"format": "hdf"}, "format=hdf is unknown"),
        ({"statistics": "only"}, "statistics=only are those of an ensemble; give members=2 or more"),
        ({"starts": []}, "a forecast needs an initial time"),
        ({"steps": 9}, "8 frames after 2000-01-01T00:17:10; give steps=8 at most, an earlier start, or boundary"),
    ],
)
def test_what_is_not_possible_is_refused_before_anything_is_written(frames, fakes, tmp_path, change, text) -> None:
    options = {"starts": [frames.start(3), frames.start(2)], "steps": 2, **change}
    with pytest.raises(UserError, match=text):
        write_forecast(fakes.Drift(), frames, tmp_path / "x", **options)
    assert not list(tmp_path.iterdir())


def test_starts_that_are_not_in_the_data_are_refused(frames, forced, fakes, tmp_path) -> None:
    def refused(store, text, *starts, steps=2):
        with pytest.raises(UserError, match=text):
            write_forecast(fakes.Drift(), store, tmp_path / "x", starts=starts, steps=steps)

    refused(frames, "frame 0 of run 1 is no second initial state of 12", frames.start(0))
    wrong = replace(frames.start(3), time=frames.start(4).time)
    refused(frames, "frame 3 of run 1 is that of 2000-01-01T00:17:10.* not of 2000-01-01T00:17:20", wrong)
    none_left = "0 frames after 2000-01-01T00:18:30; give an earlier start or boundary=persist"
    refused(frames, none_left, frames.start(11), steps=1)
    refused(frames, "is given twice", frames.start(3), frames.start(3))
    twin = type(frames)(frames.spec)
    twin.times = lambda run, split: frames.times("1", split)
    refused(
        twin, "is one of run 1 and of run 2", Start("1", 3, frames.start(3).time), Start("2", 3, frames.start(3).time)
    )
    refused(forced, r"forcing \(wind, density\) for every step, .* 8 frames .* 1 of them beyond .* steps=7 at most",
            forced.start(3), steps=8)  # fmt: skip
    forced.forcing_past = 4
    refused(forced, "reaches 4 frames back, the first initial time .* 2000-01-01T00:17:10", forced.start(2))
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept_replaced_or_left_alone(frames, fakes, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO)
    model, path = fakes.Drift(noise=0.1), tmp_path / "x.zarr"
    options = {"starts": [frames.start(3)], "steps": 2, "members": 2}
    write_forecast(model, frames, path, **options)
    first, calls = contents(path), len(model.rows)
    write_forecast(model, frames, path, **options, attributes={"history": "later"})
    assert (contents(path), len(model.rows)) == (first, calls)
    assert "is there already, from the same request" in caplog.text
    for other in ({"seed": 1}, {"steps": 3}, {"starts": [frames.start(4)]}, {"members": 3}, {"format": "netcdf"}):
        with pytest.raises(UserError, match="is another forecast; give overwrite=true"):
            write_forecast(model, frames, path, **{**options, **other})
    heavier = fakes.Drift(noise=0.1)
    heavier.weight.data *= 2
    for other in (heavier, fakes.Drift(noise=0.2)):
        with pytest.raises(UserError, match="is another forecast"):
            write_forecast(other, frames, path, **options)
    assert contents(path) == first
    write_forecast(model, frames, path, **options, overwrite=True)
    assert len(model.rows) > calls
    assert contents(path) == first
    write_forecast(model, frames, path, **{**options, "format": "netcdf"}, overwrite=True)
    assert path.is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["x.zarr"]


def test_numbers_of_numpy_are_numbers(frames, fakes, tmp_path) -> None:
    options = {"starts": [frames.start(3)], "format": "zarr"}
    model = fakes.Drift(noise=0.1)
    write_forecast(model, frames, tmp_path / "x", **options, steps=2, members=3, member_chunk=2, seed=1)
    before = contents(tmp_path / "x")
    numbers = dict(zip(("steps", "members", "member_chunk", "seed"), np.array([2, 3, 2, 1]), strict=True))
    write_forecast(model, frames, tmp_path / "x", **options, **numbers, overwrite=True)
    assert contents(tmp_path / "x") == before


@pytest.mark.parametrize("name", ["/", ".", "..", "a\0b"])
def test_a_name_that_no_file_can_have_is_one_line(frames, fakes, name) -> None:
    with pytest.raises(UserError, match=r"output=.* is no name of a file; give NAME\.zarr") as caught:
        write_forecast(fakes.Drift(), frames, name, starts=[frames.start(3)], steps=2)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_a_link_to_nowhere_is_refused_before_the_work(frames, fakes, tmp_path) -> None:
    (tmp_path / "x.zarr").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is there and no forecast of this command"):
        write_forecast(fakes.Drift(), frames, tmp_path / "x.zarr", starts=[frames.start(3)], steps=2)
    assert [each.name for each in tmp_path.iterdir()] == ["x.zarr"]


def test_what_is_no_forecast_is_never_replaced(frames, fakes, tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("of somebody")
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    before = contents(tmp_path)
    for name in ("folder", "file", "other.nc"):
        with pytest.raises(UserError, match="is there and no forecast of this command"):
            write_forecast(fakes.Drift(), frames, tmp_path / name, starts=[frames.start(3)], steps=1, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "unread", "read_of_it"),
    [
        ("frames", [("states", (1,)), ("states", (6,))], [("states", (2,)), ("states", (3,))]),
        ("frames", [("states", (4, "inside"))], [("states", (4, "driven")), ("states", (5, "driven"))]),
        ("forced", [("states", (4,)), ("forcing", (3,)), ("forcing", (6,))], [("forcing", (4,)), ("forcing", (5,))]),
    ],
)
def test_data_without_a_hash_are_told_apart_by_all_that_is_read_of_them(
    request, fakes, tmp_path, kind, unread, read_of_it
) -> None:
    """From frames 2 and 3, two steps: true values of the boundary and forcing are those of frames 4 and 5."""
    data = request.getfixturevalue(kind)
    data.spec = replace(data.spec, data_hash="")
    nodes = {"driven": np.flatnonzero(data.spec.boundary)[:1], "inside": np.flatnonzero(~data.spec.boundary)[:1]}
    options = {"starts": [data.start(3)], "steps": 2}
    write_forecast(fakes.Drift(), data, tmp_path / "x", **options)
    for number, (name, where) in enumerate([*unread, *read_of_it]):
        before = getattr(data, name)
        changed = before.copy()
        changed[(0, *(nodes.get(each, each) for each in where))] += 1
        setattr(data, name, changed)
        with nullcontext() if number < len(unread) else pytest.raises(UserError, match="is another forecast"):
            write_forecast(fakes.Drift(), data, tmp_path / "x", **options)
        setattr(data, name, before)


# ----------------------------------------------------------------------------------------------------- not finite
class Bursts(nn.Module):
    """All members but the first overflow in the third step, in two of three variables."""

    def __init__(self) -> None:
        super().__init__()
        self.lead = 0

    def prepare(self):
        return True

    def step(self, previous, state, forcing, prepared):
        self.lead += 1
        new = state.clone()
        if self.lead == 3:
            new[1:, 40:50, 1:] = torch.inf
        return StepOutput(new, None)


def test_a_forecast_that_is_not_finite_says_so(frames, tmp_path, caplog) -> None:
    options = {"starts": [frames.start(3)], "steps": STEPS, "members": 3, "statistics": "beside"}
    data = read(write_forecast(Bursts(), frames, tmp_path / "x", **options))
    text = "2 of 3 forecasts hold numbers that are not finite, the first from lead 30 s on: rho, T of member 1 "
    assert data.attrs["not_finite"].startswith(text + "from 2000-01-01T00:17:10")
    assert text in caplog.text
    found = np.isfinite(nodes(data, frames.spec)).all(axis=(0, 3, 4))
    assert found.tolist() == [[True] * 5, [True, True, False, False, False], [True, True, False, False, False]]
    assert not np.isfinite(nodes(data, frames.spec, "_mean")[0, 2:]).all()
    assert np.isfinite(nodes(data, frames.spec, "_spread")[0, :2]).all()


# ----------------------------------------------------------------------------------------------- several processes
@dataclass(frozen=True)
class Fake(Processes):
    """One of several threads that share a forecast as processes do."""

    meeting: threading.Barrier | None = None

    def barrier(self) -> None:
        self.meeting.wait(timeout=60)


def together(world: int, forecast) -> None:
    """Call forecast(processes) in each of `world` threads; the first error of any is raised."""
    meeting, errors = threading.Barrier(world), []

    def work(rank: int) -> None:
        try:
            forecast(Fake(rank, world, meeting=meeting))
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)
            meeting.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error


@pytest.mark.parametrize(("file_format", "statistics"), [("zarr", "beside"), ("netcdf", "only")])
def test_any_number_of_processes_writes_the_same_file(frames, fakes, tmp_path, file_format, statistics) -> None:
    options = {"starts": [frames.start(3), frames.start(5)], "steps": STEPS, "members": 5, "member_chunk": 2}
    options |= {"format": file_format, "statistics": statistics}
    found = []
    for world in (1, 2, 3):
        path, rows = tmp_path / str(world) / "x", []

        def forecast(processes, path=path, rows=rows):
            model = fakes.Drift(noise=0.2)
            assert write_forecast(model, frames, path, processes=processes, **options) == path
            assert path.exists()
            rows.append(len(model.rows))

        together(world, forecast)
        assert sum(rows) == 6 * STEPS
        assert max(rows) == 6 // world * STEPS
        found.append(contents(path))
        assert [each.name for each in path.parent.iterdir()] == ["x"]
    assert found[0] == found[1] == found[2]


def test_a_file_that_is_there_is_left_alone_by_all(frames, fakes, tmp_path) -> None:
    options = {"starts": [frames.start(3)], "steps": 2}
    write_forecast(fakes.Drift(), frames, tmp_path / "x", **options)
    together(3, lambda processes: write_forecast(fakes.Drift(), frames, tmp_path / "x", processes=processes, **options))


def test_a_second_command_for_the_same_file_is_refused(frames, fakes, tmp_path) -> None:
    begun, ended, errors = threading.Event(), threading.Event(), []
    options = {"starts": [frames.start(3)], "steps": 2}

    def wait(*_):
        begun.set()
        assert ended.wait(timeout=60)

    def second() -> None:
        begun.wait(timeout=60)
        try:
            write_forecast(fakes.Drift(), frames, tmp_path / "x", **options)
        except InUseError as error:
            errors.append(str(error))
        ended.set()

    thread = threading.Thread(target=second)
    thread.start()
    write_forecast(fakes.Drift(), frames, tmp_path / "x", progress=wait, **options)
    thread.join()
    assert errors == [f"output={tmp_path}/x is in use by this process; wait for it or give another output"]
    assert np.isfinite(nodes(read(tmp_path / "x"), frames.spec)).all()


# ----------------------------------------------------------------------------------------------------- interruptions
class Stopped(BaseException):
    """What a signal raises."""


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("file_format", FORMATS)
def test_an_interrupted_forecast_goes_on_and_ends_in_the_same_file(frames, fakes, tmp_path, file_format) -> None:
    """Stopped after every step in turn; what is done is not done again."""
    options = {"starts": [frames.start(3), frames.start(4)], "steps": 3, "members": 4, "member_chunk": 2}
    options |= {"statistics": "only", "format": file_format}
    whole = contents(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "whole", **options))
    path, before, stops = tmp_path / "x", len(list(tmp_path.iterdir())), 0
    model, steps = fakes.Drift(noise=0.1), 0

    def stop(done: int, total: int) -> None:
        if done == 2 * (stops % 4 + 1):  # within a unit of three steps of two members, or in the next one
            raise Stopped

    while not path.exists():
        try:
            write_forecast(model, frames, path, progress=stop, **options)
        except Stopped:
            stops += 1
            assert len(list(tmp_path.iterdir())) == before + 1
        assert stops < 20
    assert contents(path) == whole
    assert stops >= 4
    steps = len(model.rows)
    assert steps <= 4 * 3 + 3 * stops  # four units, and at most one begun anew each time
    assert len(list(tmp_path.iterdir())) == before + 1


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("file_format", "overwrite"), [("zarr", False), ("netcdf", True)])
def test_it_may_stop_whenever_a_file_is_put_in_its_place(
    frames, fakes, tmp_path, monkeypatch, file_format, overwrite
) -> None:
    """Before and after each change of a name beside the file, and each removal."""
    options = {"starts": [frames.start(3)], "steps": 1, "members": 2, "statistics": "only", "format": file_format}
    whole = contents(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "whole", **options))
    another = write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "another", **{**options, "seed": 7})
    stops = 0
    for call, late in itertools.product(("replace", "rename", "unlink"), (False, True)):
        for number in itertools.count():
            path, stopped = tmp_path / f"{call}{late:d}{number}", False
            if overwrite:
                shutil.copy(another, path)
            with monkeypatch.context() as patch:
                stop_at(patch, call, number, late, path)
                while True:
                    try:
                        write_forecast(fakes.Drift(noise=0.1), frames, path, overwrite=overwrite, **options)
                        break
                    except Stopped:
                        stopped = True
                        patch.undo()
            assert contents(path) == whole
            assert not path.with_name(f".{path.name}.unfinished").exists()
            stops += stopped
            if not stopped:
                break
    assert stops >= (8 if overwrite else 6)


def stop_at(patch: pytest.MonkeyPatch, call: str, number: int, late: bool, path: Path) -> None:
    """Let the n-th call of a method of `Path`, on the file or what lies beside it, end the work before or after it."""
    places, done, original = (path.parent, path.with_name(f".{path.name}.unfinished")), [0], getattr(Path, call)

    def stopping(self, *arguments, **options):
        ours = self.parent in places
        if ours and done[0] == number and not late:
            raise Stopped
        result = original(self, *arguments, **options)
        if ours and done[0] == number:
            raise Stopped
        done[0] += ours
        return result

    patch.setattr(Path, call, stopping)


def test_leftovers_of_another_request_are_no_part_of_this_one(frames, fakes, tmp_path) -> None:
    options = {"starts": [frames.start(3)], "steps": 3, "members": 4, "member_chunk": 2}

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise Stopped

    with pytest.raises(Stopped):
        write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "x", progress=stop, seed=1, **options)
    assert (tmp_path / ".x.unfinished" / "done" / "000000.json").exists()
    write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "x", seed=2, **options)
    whole = write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "whole", seed=2, **options)
    assert contents(tmp_path / "x") == contents(whole)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["whole", "x"]


def test_a_full_disk_is_one_line_and_the_same_call_goes_on(frames, fakes, tmp_path, monkeypatch) -> None:
    options = {"starts": [frames.start(3)], "steps": 3, "members": 4, "member_chunk": 2}
    whole = contents(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "whole", **options))
    calls, write = [], unit.write_leads

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(unit, "write_leads", full)
        with pytest.raises(UserError, match=r"output=.*/x cannot be written: No space left on device; the same"):
            write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "x", **options)
    model = fakes.Drift(noise=0.1)
    assert contents(write_forecast(model, frames, tmp_path / "x", **options)) == whole
    assert len(model.rows) == 3  # the second unit


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_that_may_not_grow_are_one_line(frames, fakes, tmp_path, file_format) -> None:
    """What the system refuses to write, as on a full disk: HDF5 would end the process."""
    options = {"starts": [frames.start(3)], "steps": 3, "members": 4, "statistics": "beside", "format": file_format}
    whole = contents(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "whole", **options))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = {"zarr": 500, "netcdf": max(map(len, whole.values())) - 1000}[file_format]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(UserError, match=r"output=.*/x cannot be written: (File too large|HDF5 could not)"):
            write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "x", **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "x").exists()
    assert contents(write_forecast(fakes.Drift(noise=0.1), frames, tmp_path / "x", **options)) == whole


def test_a_folder_that_cannot_be_made_is_one_line(frames, fakes, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: (Not a directory|File exists)"):
        write_forecast(fakes.Drift(), frames, tmp_path / "file" / "x", starts=[frames.start(3)], steps=1)


# ------------------------------------------------------------------------------------------------------------ memory
def test_memory_is_that_of_a_unit_whatever_members_and_steps(spec, fakes, tmp_path, monkeypatch) -> None:
    """Rows through the model at once, and what Python holds; the forecast case of scripts/bench asks the system."""
    x, z = np.arange(90.0), np.arange(60.0)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 5 * 10 * 4 * x.size * z.size)
    grid = Grid({"x": x, "z": z}, np.ones((x.size, z.size)))
    store, most = fakes.Frames(replace(spec, grid=grid, boundary=np.zeros(grid.num_nodes, dtype=bool))), {}
    options = {"starts": [store.start(3)], "statistics": "only", "member_chunk": 5}
    for members, steps in ((5, 10), (20, 50)):
        model = fakes.Drift()
        tracemalloc.start()
        write_forecast(model, store, tmp_path / str(members), members=members, steps=steps, **options)
        most[members] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert max(model.rows) == 5
    assert most[20] < 1.25 * most[5]


def test_the_data_are_read_a_few_frames_at_a_time(frames, fakes, tmp_path) -> None:
    write_forecast(fakes.Drift(), frames, tmp_path / "x", starts=[frames.start(2)], steps=9, members=4)
    assert frames.most == 2


def test_chunks_hold_a_few_megabytes_and_no_members_of_two_units(tiny_spec, monkeypatch) -> None:
    monkeypatch.undo()
    grid = replace(
        tiny_spec.grid, coordinates={"x": np.arange(180.0), "z": np.arange(120.0)}, valid=np.ones((180, 120))
    )
    for members, steps, chunk in ((50, 300, 6), (5, 30, 6), (1, 7, 1), (50, 300, 50), (8, 1000, 4)):
        made = layout.Layout(replace(tiny_spec, grid=grid), np.zeros(1), steps, members, min(chunk, members))
        held, leads = made.chunks["member"], made.chunks["lead_time"]
        assert min(chunk, members) % held == 0
        assert 4 * 180 * 120 * held * leads <= 1.1 * layout.CHUNK_BYTES
        assert -(-members // held) * -(-steps // leads) <= max(400, 1.2 * members * steps / 48)


def test_progress_counts_the_steps_of_members(frames, fakes, tmp_path) -> None:
    told = []
    options = {"starts": [frames.start(2), frames.start(3)], "steps": 2, "members": 3, "member_chunk": 2}
    write_forecast(fakes.Drift(), frames, tmp_path / "x", progress=lambda *each: told.append(each), **options)
    assert told == [(done, 12) for done in (2, 4, 5, 6, 8, 10, 11, 12)]


def test_place_is_beside_the_file_and_hidden(tmp_path) -> None:
    made = place.Place(tmp_path / "a.nc", {}, None, "none")
    assert made.folder == tmp_path / ".a.nc.unfinished"
