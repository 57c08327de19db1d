"""An xarray.Dataset as a datastore: layouts, what is read, and every fault named."""

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr
from data_fixtures import RADIUS, SPACE, STATE, UNITS, X, Z, fields, save

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.data.contract import check_datastore, forcing_reach
from spacecast.data.dataset import DatasetStore, open_source
from spacecast.data.fit import Advice, FittedDatastore
from spacecast.data.forcing import window_names

START, STEP = np.datetime64("2000-01-01", "ns"), np.timedelta64(10, "s")
GRID = Grid({"x": X, "z": Z}, SPACE)
ORDER = (*STATE[6:], *STATE[:6])  # of the model, unlike that of the data


def make_spec(forcing: tuple[str, ...] = (), names: tuple[str, ...] = ORDER) -> DataSpec:
    """What a model was trained on; the sunward edge is driven."""
    rng = np.random.default_rng(0)
    static = np.column_stack([GRID.positions[:, 0], GRID.radius]).astype(np.float32)
    size = len(names)
    return DataSpec(
        grid=GRID,
        state=FeatureSpec(names, tuple(UNITS[name] for name in names), rng.normal(size=size), np.ones(size)),
        static=FeatureSpec(("sunward", "r"), ("R_E", "R_E"), np.zeros(2), np.ones(2)),
        forcing=FeatureSpec(forcing, ("1/cm3",) * len(forcing), np.zeros(len(forcing)), np.ones(len(forcing))),
        diff_mean=np.zeros(size),
        diff_std=np.ones(size),
        static_values=static,
        boundary=GRID.positions[:, 0] > 18,
        step_seconds=10.0,
    )


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    """Six frames as a raw run holds them."""
    times = START + np.arange(6) * STEP
    planes = {name: (("time", "x", "z"), plane[:6], {"units": UNITS[name]}) for name, plane in fields(1).items()}
    axes = {axis: (axis, values, {"units": "R_E"}) for axis, values in (("x", X), ("z", Z))}
    return xr.Dataset(planes, {"time": times, **axes})


@pytest.fixture
def raw(whole) -> xr.Dataset:
    return whole.copy(deep=True)


def prepared(data: xr.Dataset, order: tuple[str, ...] = STATE) -> xr.Dataset:
    """The same run as mllam-data-prep writes it, cells in the other order."""
    cells = {"grid_index": ("z", "x")}
    state = xr.concat([data[name] for name in order], "state_feature", coords="minimal", compat="override")
    state = state.stack(cells).transpose("grid_index", "state_feature", "time").reset_index("grid_index")
    units = ("state_feature", [data[name].attrs["units"] for name in order])
    space = xr.DataArray(SPACE.astype(float), {"x": X, "z": Z}, ("x", "z")).stack(cells).values[None]
    return xr.Dataset(
        {"state": state.drop_attrs(), "mask": (("mask_feature", "grid_index"), space)},
        {"state_feature": list(order), "state_feature_units": units, "mask_feature": ["mask"]},
    )


def expected(data: xr.Dataset, start: int, stop: int) -> np.ndarray:
    planes = np.stack([data[name].values[start:stop] for name in ORDER], axis=-1)
    return planes[:, SPACE].astype(np.float32)


def read(data: xr.Dataset, start: int, stop: int, spec: DataSpec | None = None, **options) -> np.ndarray:
    spec = spec or make_spec()
    store = FittedDatastore(DatasetStore(data, spec), spec, **options)
    return store.read_state(store.train_runs[0], "all", start, stop)


def fails(data, *words: str, spec: DataSpec | None = None, **options) -> None:
    """A dataset is refused, or the reading of its frames, in one line."""
    with pytest.raises(UserError) as caught:
        read(data, 0, 2, spec, **options)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


FORMS = {
    "as it is": lambda data: data,
    "axes in another order": lambda data: data.transpose("z", "time", "x"),
    "z downwards": lambda data: data.isel(z=slice(None, None, -1)),
    "x and z downwards": lambda data: data.isel(x=slice(None, None, -1), z=slice(None, None, -1)),
    "cells in no order": lambda data: data.isel(x=np.random.default_rng(0).permutation(X.size)),
    "an axis of length one": lambda data: data.expand_dims(y=[0.0]).transpose("time", "x", "y", "z"),
    "more variables": lambda data: data.assign(flag=data.Bx > 0, title="a run"),
    "a mask": lambda data: data.assign(mask=(("z", "x"), SPACE.T)),
    "static features": lambda data: data.assign(r=(("z", "x"), RADIUS.T, {"units": "R_E"})),
    "zeros inside Earth": lambda data: data.fillna(0),
    "in pieces": lambda data: data.chunk(time=2, x=5),
    "in single precision": lambda data: data.astype("float32"),
    "coordinates in single precision": lambda data: data.assign_coords(x=X.astype("f4"), z=Z.astype("f4")),
    "times in days": lambda data: data.assign_coords(
        time=("time", np.arange(6) * 10 / 86400, {"units": "days since 2000-01-01"})
    ),
    "without units": lambda data: data.drop_attrs(),
    "prepared": prepared,
    "prepared in the order of the model": lambda data: prepared(data, ORDER),
    "prepared, with more variables": lambda data: prepared(data.assign(n=data.rho), (*STATE, "n")),
    "prepared, in pieces": lambda data: prepared(data).chunk(time=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_run_in_many_forms(raw, form):
    data = FORMS[form](raw)
    np.testing.assert_array_equal(read(data, 1, 4), expected(raw, 1, 4))
    np.testing.assert_array_equal(read(data.isel(time=slice(2, 4)), 0, 2), expected(raw, 2, 4))


def test_what_the_store_says(raw):
    spec = make_spec()
    store = DatasetStore(raw, spec)
    check_datastore(FittedDatastore(store, spec))
    assert (store.train_runs, store.holdout_runs, store.num_frames("dataset", "all")) == (("dataset",), (), 6)
    np.testing.assert_array_equal(store.times("dataset", "all"), raw.time.values)
    assert store.read_forcing("dataset", "all", 0, 3).shape == (3, GRID.num_nodes, 0)
    np.testing.assert_array_equal(store.spec.static_values, spec.static_values)
    with pytest.raises(UserError, match="no split 'test'; valid: all"):
        store.num_frames("dataset", "test")
    with pytest.raises(UserError, match="no run '7'"):
        store.times("7", "all")
    with pytest.raises(IndexError):
        store.read_state("dataset", "all", 5, 7)


def test_only_the_frames_that_are_asked_for_are_read(raw):
    """A fault in another frame is not met."""
    raw["rho"][5] = np.nan
    np.testing.assert_array_equal(read(raw, 0, 5), expected(raw, 0, 5))
    store = DatasetStore(raw, make_spec())
    with pytest.raises(UserError, match=r"rho is nan outside the mask in frame 5, first at x = -22, z = -16 R_E"):
        store.read_state("dataset", "all", 4, 6)


# --- faults ------------------------------------------------------------------------------------------------------


def dated(data, calendar):
    """As xarray opens times of another calendar: objects."""
    seconds = 10.0 * np.arange(data.sizes["time"])
    attributes = {"units": "seconds since 2001-03-01", "calendar": calendar}
    return xr.decode_cf(data.assign_coords(time=("time", seconds, attributes)))


@pytest.mark.parametrize("form", [lambda data: data, prepared], ids=["fields", "prepared"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.isel(time=[0]), ["1 frame(s) of time, at least 2 are needed"]),
        (lambda data: data.isel(time=[0, 2, 4]), ["steps of 10 s, the data have one frame every 20 s; give other"]),
        (lambda data: data.isel(time=[0, 1, 1, 2]), ["time is not uniform"]),
        (lambda data: data.isel(time=[3, 2, 1, 0]), ["sort the frames by time"]),
        (lambda data: data.isel(time=[0, 1, 2, 4]), ["time is not uniform: 20 s between frames 2 and 3"]),
        (lambda data: data.rename(time="t"), ["no axis time"]),
        (lambda data: data.assign_coords(time=np.arange(6.0)), ["time axis holds float64, not dates"]),
        (lambda data: data.assign_coords(time=data.time - data.time[0]), ["time axis holds timedelta64"]),
        (lambda data: data.isel(time=[0, 1]).assign_coords(time=[START, np.datetime64("NaT", "ns")]), ["missing"]),
        (lambda data: dated(data, "noleap"), ["time is in calendar 'noleap', expected one of standard"]),
        (lambda data: dated(data, "360_day"), ["time is in calendar '360_day', expected one of standard"]),
    ],
    ids=["one frame", "step", "twice", "backwards", "gap", "no time", "numbers", "durations", "NaT", "leap", "months"],
)
def test_times(raw, form, change, words):
    fails(change(form(raw)), *words, advice=Advice("give other data", "convert_units=True"))


def scaled_by_nothing(field):
    """As xarray opens a field whose scale_factor is 0."""
    field = 0 * field
    field.encoding["scale_factor"] = 0.0
    return field


def changed_units(data, name, unit, times=1.0):
    return data.assign({name: (data[name] * times).assign_attrs(units=unit)})


@pytest.mark.parametrize("form", [lambda data: data, prepared], ids=["fields", "prepared"])
def test_units(raw, form):
    tesla = form(changed_units(raw, "Bz", "T", 1e-9))
    advice = Advice(convert="convert_units=True")
    fails(tesla, "takes Bz in 'nT', the data hold it in 'T'; convert_units=True converts them", advice=advice)
    np.testing.assert_allclose(read(tesla, 0, 2, convert_units=True), expected(raw, 0, 2), rtol=1e-6)
    fails(form(changed_units(raw, "T", "nPa")), "takes T in 'MK', the data hold it in 'nPa'", convert_units=True)


def test_units_that_are_not_said_are_told(raw, caplog):
    raw["P"].attrs.clear()
    read(raw, 0, 2)
    assert [record.getMessage() for record in caplog.records] == ["dataset: P has no units and is taken to be in nPa"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.drop_vars("vy"), ["has no variable 'vy', which the model takes; valid: Bx, By"]),
        (lambda data: data.rename(rho="density"), ["has no variable 'rho'", "density"]),
        (lambda data: data.isel(time=0), ["no axis time"]),
        (lambda data: data.assign(T=data["T"][0]), ["T has axes x (12), z (9), expected time, x, z"]),
        (lambda data: data.expand_dims(y=[0.0, 1.0]), ["expected time, x, z; select one with dataset.isel(y=NUMBER)"]),
        (lambda data: data.assign(P=data.P.astype(str)), ["P holds <U", "expected real numbers"]),
        (lambda data: data.assign(P=data.P + 1j), ["P holds complex128"]),
        (lambda data: data.drop_vars("x"), ["has no coordinate x"]),
        (lambda data: data.assign_coords(x=X * 6371e3), ["the data lie on a 12 x 9 plane", "x differs by up to"]),
        (lambda data: data.assign_coords(x=("x", X * 6371, {"units": "km"})), ["is in 'km', expected R_E"]),
        (lambda data: data.assign_coords(x=X + 1), ["x differs by up to 1 R_E"]),
        (lambda data: data.assign_coords(x=np.append(X[:-1], X[0])), ["holds one value twice"]),
        (lambda data: data.assign_coords(x=X * np.abs(X)), ["is not uniformly ascending"]),
        (lambda data: data.isel(x=slice(1, None)), ["trained on a 12 x 9 plane", "the data lie on a 11 x 9 plane"]),
        (lambda data: data.rename(x="z", z="x"), ["trained on a 12 x 9 plane", "the data lie on a 9 x 12 plane"]),
        (lambda data: data.assign(mask=(("x", "z"), RADIUS > 9)), ["the mask of the data differs in"]),
        (lambda data: data.assign(mask=(("x", "z"), 2 * SPACE)), ["mask holds [0 2], expected 1 = space"]),
        (lambda data: data.assign(mask=data.Bx > 0), ["mask has axes time, x, z, expected x, z"]),
        (lambda data: data.assign(r=(("x", "z"), RADIUS + Z)), ["static feature r of the data differs"]),
        (lambda data: data.assign(rho=data.rho.where(data.x > -20)), ["rho is nan outside the mask", "9 of"]),
        (lambda data: data.assign(rho=data.rho * 1e300), ["rho is inf outside the mask"]),
        (lambda data: data.assign(rho=data.rho.assign_attrs(valid_max=1.0)), ["rho is nan", "valid range -inf to 1"]),
        (lambda data: data.assign(rho=data.rho.assign_attrs(scale_factor=2.0)), ["not yet decoded by its scale"]),
        (lambda data: data.assign(rho=scaled_by_nothing(data.rho)), ["rho was stored with scale_factor 0"]),
        (lambda data: data.Bx, ["expected an xarray.Dataset, found a DataArray"]),
        (lambda data: data.to_array(), ["expected an xarray.Dataset"]),
    ],
)  # fmt: skip
def test_fields(raw, change, words):
    fails(change(raw), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.drop_vars("mask"), ["has no mask"]),
        (lambda data: data.assign_coords(state_feature=["density", *STATE[1:]]), ["no variable 'Bx'"]),
        (lambda data: data.assign_coords(state_feature=["Bz", *STATE[1:]]), ["given twice"]),
        (lambda data: data.drop_vars("x"), ["coordinate 'x' of grid_index is missing"]),
        (lambda data: data.assign(mask=1 - data.mask), ["probably inverted"]),
        (lambda data: data.expand_dims(level=2), ["mask has axes level, mask_feature, grid_index"]),
        (lambda data: data.isel(grid_index=data.x > -20), ["the data lie on a 11 x 9 plane"]),
        (lambda data: data.assign(state=data.state.where(data.x > -20)), ["vx is nan outside the mask in frame 0"]),
        (lambda data: data.assign(state=data.state.assign_attrs(_FillValue=0)), ["not yet decoded by its _FillValue"]),
    ],
)
def test_prepared_data(raw, change, words):
    fails(change(prepared(raw)), *words)


# --- forcing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize(("past", "future"), [(0, 0), (1, 0), (1, 2)])
def test_forcing_with_its_window(raw, everywhere, past, future):
    """Of two variables, over time alone or everywhere: value = 10 * frame + number of the variable."""
    spec = make_spec(window_names(("wind", "flux"), past, future))
    for number, name in enumerate(("flux", "wind")):
        values = xr.DataArray(10.0 * np.arange(6) + number, dims="time", attrs={"units": "1/cm3"})
        raw[name] = values.broadcast_like(raw.Bx).assign_attrs(values.attrs) if everywhere else values
    store = FittedDatastore(DatasetStore(raw, spec), spec)
    assert forcing_reach(store) == (past, future)
    found = store.read_forcing("dataset", "all", 2, 4)
    shifts = range(-past, future + 1)
    wanted = [[10 * (frame + shift) + number for number in (1, 0) for shift in shifts] for frame in (2, 3)]
    np.testing.assert_array_equal(found, np.broadcast_to(np.array(wanted)[:, None], found.shape))
    fails(raw.drop_vars("flux"), "has no variable 'flux', which the model takes", spec=spec)


def test_forcing_of_prepared_data(raw):
    spec = make_spec(("flux",))
    data = prepared(raw)
    data["forcing"] = ("time", "forcing_feature"), np.column_stack([np.zeros(6), np.arange(6)])
    units = ("forcing_feature", ["", "cm-3"])
    data = data.assign_coords(forcing_feature=["other", "flux"], forcing_feature_units=units)
    store = FittedDatastore(DatasetStore(data, spec), spec)
    assert store.read_forcing("dataset", "all", 2, 4)[:, 7].tolist() == [[2], [3]]
    with pytest.raises(UserError, match="has no forcing"):
        DatasetStore(data.drop_vars("forcing"), spec)


# --- stored data -------------------------------------------------------------------------------------------------

PACKED = {"dtype": "int16", "scale_factor": 0.1, "add_offset": 3.0, "_FillValue": -32768}


def opened(path) -> list[xr.Dataset]:
    """The same data by xarray, with dask and without it, and by ourselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [xr.open_zarr(path), xr.open_zarr(path, chunks=None), open_source(path)]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_packed_numbers_count_as_their_values(raw, tmp_path, zarr_format):
    save(raw.transpose("time", "z", "x"), tmp_path / "run_4.zarr", zarr_format, {"vx": PACKED})
    for data in opened(tmp_path / "run_4.zarr"):
        found = read(data, 0, 2)
        vx = ORDER.index("vx")
        np.testing.assert_allclose(found[..., vx], expected(raw, 0, 2)[..., vx], atol=0.051)
        rest = [number for number in range(12) if number != vx]
        np.testing.assert_array_equal(found[..., rest], expected(raw, 0, 2)[..., rest])
        assert DatasetStore(data, make_spec()).train_runs == ("run_4",)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fails(xr.open_zarr(tmp_path / "run_4.zarr", mask_and_scale=False), "vx holds numbers as they are stored")


def test_a_valid_range_of_packed_numbers(raw, tmp_path):
    """xarray leaves it alone; it is honoured where we open the data, and refused where xarray does."""
    raw["vx"].attrs["valid_max"] = -3600  # of stored numbers: -357
    save(raw, tmp_path / "run.zarr", 3, {"vx": PACKED})
    with_xarray, _, ours = opened(tmp_path / "run.zarr")
    fails(with_xarray, "vx was stored packed and has a valid range", "give its path")
    fails(ours, "vx is nan outside the mask")


@pytest.mark.parametrize("field", [True, False], ids=["of a field", "of the axes as well"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_fill_value_of_zero(raw, tmp_path, zarr_format, field):
    """In format 2 xarray takes it for missing: that is said, and the path is the way around it."""
    raw["By"][:, 3] = 0
    save(raw.fillna(7).assign(mask=(("x", "z"), SPACE.astype(float))), tmp_path / "run.zarr", 3)
    group = zarr.open_group(tmp_path / "run.zarr")
    other = zarr.open_group(tmp_path / "other.zarr", mode="w", zarr_format=zarr_format)
    other_axes = ("time", "x", "z") if field else ()
    for name, array in group.arrays():
        dims = list(array.metadata.dimension_names)
        attrs = {**array.attrs, **({"_ARRAY_DIMENSIONS": dims} if zarr_format == 2 else {})}
        attrs.pop("_FillValue", None)
        names = {} if zarr_format == 2 else {"dimension_names": dims}
        fill = None if name in other_axes else 0
        other.create_array(name, data=array[...], fill_value=fill, attributes=attrs, **names)
    with_xarray, _, ours = opened(tmp_path / "other.zarr")
    np.testing.assert_array_equal(read(ours, 0, 2), expected(raw, 0, 2))
    if zarr_format == 2:
        told = "xarray takes stored values of 0 (fill value) for missing, give the path of the data instead if they are"
        wanted = ["vz is nan outside the mask", told] if field else ["xarray takes 0 in time (its fill value)"]
        fails(with_xarray, *wanted)
    else:
        np.testing.assert_array_equal(read(with_xarray, 0, 2), expected(raw, 0, 2))


@pytest.mark.parametrize("form", [lambda data: data, prepared], ids=["fields", "prepared"])
def test_chunks_that_are_lost_are_not_read_as_zeros(raw, tmp_path, form):
    """Whoever opened the store."""
    data = form(raw).chunk(time=1)
    for variable in data.variables.values():
        variable.encoding.clear()
    names = [name for name in ("state", *STATE) if name in data]
    save(data, tmp_path / "run.zarr", 3, {name: {"fill_value": 0.0} for name in names})
    for data in opened(tmp_path / "run.zarr"):
        np.testing.assert_array_equal(read(data, 0, 2), expected(raw, 0, 2))
    for name in names:
        for chunk in (tmp_path / "run.zarr" / name / "c").rglob("*"):
            at_time = 2 if name == "state" else 0
            if chunk.is_file() and chunk.relative_to(tmp_path / "run.zarr" / name / "c").parts[at_time] == "3":
                chunk.unlink()
    for data in opened(tmp_path / "run.zarr"):
        fails(data, "missing", "first in frame 3")


def test_netcdf(raw, tmp_path):
    raw.to_netcdf(tmp_path / "run_9.nc")
    with open_source(tmp_path / "run_9.nc") as data:
        assert DatasetStore(data, make_spec()).train_runs == ("run_9",)
        np.testing.assert_array_equal(read(data, 1, 4), expected(raw, 1, 4))


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("unlimited", [(), ("time",)], ids=["fixed", "growing"])
def test_a_classic_netcdf_file_is_read_but_not_where_its_end_is_lost(raw, tmp_path, kind, unlimited):
    """The C library reads zeros there, which would be taken for values."""
    raw.attrs, path = {}, tmp_path / "run_9.nc"
    raw.to_netcdf(path, engine="scipy", format=kind, unlimited_dims=unlimited)
    with open_source(path) as data:
        np.testing.assert_array_equal(read(data, 1, 4), expected(raw, 1, 4))
    content = path.read_bytes()
    for size in (len(content) // 2, len(content) - 100):
        path.with_name("cut.nc").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"dataset cut\.nc: .* is no NetCDF file that can be read"):
            open_source(path.with_name("cut.nc"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "no complete zarr store"),
        (lambda path: path.write_text("time,x,z"), "is no NetCDF file that can be read"),
    ],
)
def test_what_cannot_be_opened(tmp_path, make, words):
    make(tmp_path / "run")
    with pytest.raises(UserError, match=words):
        open_source(tmp_path / "run")


def test_a_damaged_chunk_is_named(raw, tmp_path):
    save(raw, tmp_path / "run.zarr", 3)
    for chunk in (tmp_path / "run.zarr" / "Ez" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    for data in opened(tmp_path / "run.zarr"):
        fails(data, "Ez", "download or write it again")
    shutil.rmtree(tmp_path / "run.zarr")


def test_three_axes(raw):
    """A model of a box takes all three; on a plane they are refused, see above."""
    y = np.linspace(-4.0, 4.0, 3)
    grid = Grid({"x": X, "y": y, "z": Z}, np.broadcast_to(SPACE[:, None], (X.size, 3, Z.size)))
    spec = replace(
        make_spec(),
        grid=grid,
        static=FeatureSpec.empty(),
        static_values=np.zeros((grid.num_nodes, 0)),
        boundary=np.zeros(grid.num_nodes, dtype=bool),
    )
    box = raw.expand_dims(y=y).transpose("z", "y", "x", "time")
    found = read(box, 0, 2, spec)
    assert found.shape == (2, grid.num_nodes, 12)
    planes = grid.to_field(np.moveaxis(found, 1, -1))
    np.testing.assert_array_equal(planes[:, 3, :, 1][..., SPACE], raw["rho"].values[:2, SPACE].astype("f4"))
