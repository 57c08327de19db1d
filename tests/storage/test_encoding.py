"""What a store says of its numbers is honoured wherever they are read, or refused by name."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import xarray as xr
import zarr
from data_fixtures import FRAMES, SPACE, STATE, X, fields, rewrite, save

from spacecast.core.errors import UserError
from spacecast.data.configs import write_configs
from spacecast.data.datastore import RunDatastore
from spacecast.data.inspection import inspect
from spacecast.data.prepare import prepare
from spacecast.data.raw import open_raw
from spacecast.data.store import RunStore
from spacecast.storage.encoding import encoding_of

RUN = "vlasiator_run_2.zarr"


def array(tmp_path, numbers, attrs, zarr_format=3, fill=0):
    """A stored array with attributes."""
    group = zarr.open_group(tmp_path / "one.zarr", mode="w", zarr_format=zarr_format)
    found = group.create_array(
        "v", shape=np.shape(numbers), dtype=np.asarray(numbers).dtype, fill_value=fill, attributes=attrs
    )
    found[...] = numbers
    return found


def decoded(found):
    return encoding_of(found, "run 1: v").decode(np.asarray(found[...]))


NAN = np.nan
HONOURED = {
    "packed": ([1, 2, 3], "i2", {"scale_factor": 0.5, "add_offset": 10}, [10.5, 11, 11.5]),
    "as text": ([1, 2, 3], "i2", {"scale_factor": "0.5", "add_offset": "10.0"}, [10.5, 11, 11.5]),
    "list of one": ([1, 2, 3], "i2", {"scale_factor": [0.5]}, [0.5, 1, 1.5]),
    "floats": ([1, 2, 3], "f4", {"scale_factor": 0.01}, [0.01, 0.02, 0.03]),
    "missing value": ([1, -9, 3], "i4", {"missing_value": -9}, [1, NAN, 3]),
    "several": ([1, -9, -8], "f4", {"missing_value": [-9, -8]}, [1, NAN, NAN]),
    "both marks": ([1, -9, -8], "f4", {"missing_value": -9, "_FillValue": -8.0}, [1, NAN, NAN]),
    "1e20 in single precision": ([1, 1e20, 3], "f4", {"_FillValue": 1e20}, [1, NAN, 3]),
    "unsigned": ([-1, -2, 3], "i1", {"_Unsigned": "true", "scale_factor": 2}, [510, 508, 6]),
    "unsigned mark": ([-1, -2, 3], "i1", {"_Unsigned": "true", "_FillValue": 255}, [NAN, 254, 3]),
    "signed": ([255, 2, 3], "u1", {"_Unsigned": "false", "scale_factor": 2}, [-2, 4, 6]),
    "valid range of counts": ([1, 5, 9], "i2", {"scale_factor": 0.5, "valid_range": [2, 8]}, [NAN, 2.5, NAN]),
    "valid range of values": ([1, 5, 9], "i2", {"scale_factor": 0.5, "valid_range": [1.0, 4.0]}, [NAN, 2.5, NAN]),
    "valid minimum": ([1, 5, 9], "f4", {"valid_min": 2}, [NAN, 5, 9]),
    "flags": ([0, 1, 1], "i1", {"flag_values": [0, 1], "flag_meanings": "earth space"}, [0, 1, 1]),
    "NaN of integers": ([0, 1, 1], "i1", {"_FillValue": "NaN"}, [0, 1, 1]),
}


@pytest.mark.parametrize("name", HONOURED)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.filterwarnings("ignore")
def test_attributes_are_honoured(tmp_path, name, order):
    numbers, dtype, attrs, wanted = HONOURED[name]
    found = decoded(array(tmp_path, np.array(numbers, dtype=dtype).astype(np.dtype(dtype).newbyteorder(order)), attrs))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


REFUSED = {
    "scale 0": ({"scale_factor": 0}, "v has scale_factor 0, which leaves no values"),
    "scale NaN": ({"scale_factor": "NaN"}, "v has scale_factor 'NaN', expected one finite number"),
    "offset text": ({"add_offset": "large"}, "v has add_offset 'large'"),
    "one scale per row": ({"scale_factor": [1, 2]}, "expected one finite number"),
    "mark beyond the type": ({"_FillValue": 99999}, "_FillValue 99999, which its type int16 cannot hold"),
    "mark is no number": ({"missing_value": "none"}, "missing_value that is no number"),
    "_Unsigned": ({"_Unsigned": "perhaps"}, "expected 'true' or 'false'"),
    "range": ({"valid_range": [1]}, "expected two numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_attributes_that_make_no_sense_are_refused(tmp_path, name):
    attrs, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        encoding_of(array(tmp_path, np.arange(3, dtype="i2"), attrs), "run 1: v")


FILLS = {
    "2: 0 is a value": (2, 0.0, {}, [0, 1, 2]),
    "3: 0 is a value": (3, 0.0, {}, [0, 1, 2]),
    "2: 1 is a value": (2, 1.0, {}, [0, 1, 2]),
    "2: others are marks": (2, 2.0, {}, [0, 1, NAN]),
    "3: others are marks": (3, 2.0, {}, [0, 1, NAN]),
    "2: none": (2, None, {}, [0, 1, 2]),
    "2: 0 of packed numbers may be a mark": (2, 0.0, {"scale_factor": 2.0}, [NAN, 2, 4]),
    "2: unless there is another one": (2, 0.0, {"scale_factor": 2.0, "_FillValue": -1}, [0, 2, 4]),
    "3: packed": (3, 0.0, {"scale_factor": 2.0}, [0, 2, 4]),
}


@pytest.mark.parametrize("name", FILLS)
def test_fill_value_of_zarr(tmp_path, name):
    zarr_format, fill, attrs, wanted = FILLS[name]
    found = decoded(array(tmp_path, np.arange(3.0), attrs, zarr_format, fill))
    np.testing.assert_array_equal(found, wanted)


def test_plain_numbers_are_handed_on_as_they_are(tmp_path):
    """No copy and no pass over the data where nothing is packed."""
    numbers = np.arange(3, dtype="f4")
    encoding = encoding_of(array(tmp_path, numbers, {"_FillValue": "AAAAAAAA+H8=", "units": "nT"}), "v")
    assert encoding.plain
    assert encoding.decode(numbers) is numbers


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_packed_prepared_run_is_read_in_physical_units(root, zarr_format):
    """As xarray packs it: states, static features and statistics are those of the plain store."""
    before = RunDatastore(root, [2])
    plain = before.read_state(2, "all", 0, FRAMES)
    packed = {"dtype": "i2", "scale_factor": 0.02, "add_offset": -200.0, "_FillValue": np.int16(-32768)}
    repack(root, {"state": packed, "static": {"dtype": "f8", "scale_factor": 0.1}}, zarr_format)
    after = RunDatastore(root, [2])
    nodes = after.read_state(2, "all", 0, FRAMES)
    assert np.abs(nodes - plain).max() <= 0.0101
    np.testing.assert_allclose(after.spec.static_values, before.spec.static_values, atol=1e-5)
    np.testing.assert_allclose(after.spec.state.std, before.spec.state.std, atol=0.01)


def repack(root, encoding, zarr_format=3):
    """Write the prepared run again with an encoding of xarray."""
    dataset = xr.open_zarr(root / RUN, chunks=None).load().drop_encoding()
    shutil.rmtree(root / RUN)
    save(dataset, root / RUN, zarr_format, encoding)


@pytest.mark.filterwarnings("ignore")
def test_hole_is_named_with_its_mark(root):
    cell = int(np.flatnonzero(SPACE.ravel())[5])
    state = zarr.open_group(root / RUN, mode="r+")["state"]
    state[7, cell, 3] = np.nan
    repack(root, {"state": {"_FillValue": np.float32(-9999)}})
    with pytest.raises(UserError, match=r"Ex is nan outside .* stored values of -9999 count as missing") as caught:
        RunDatastore(root, [2]).read_state(2, "all", 0, FRAMES)
    assert "\n" not in str(caught.value)
    assert not inspect(root, [2], frames=FRAMES).ok


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.assign(state=ds["state"].astype("c8")), "state holds complex64, expected real numbers"),
        (lambda ds: ds.assign(static=ds["static"].astype(str)), "static holds .*, expected real numbers"),
        (lambda ds: ds.assign_coords(x=ds["x"].assign_attrs(units="km")), "'x' of grid_index is in 'km', expected R_E"),
        (lambda ds: ds.assign(mask=ds["mask"].where(ds["mask"] == 1)), "mask holds"),
        (lambda ds: ds.assign_coords(state_feature=["Bx"] * 12), "names of state variables are missing or given twice"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_prepared_data_of_other_kinds_are_refused(root, change, message):
    rewrite(root / RUN, change)
    with pytest.raises(UserError, match=message):
        RunStore(root / RUN, "2")


def test_axis_of_length_one_is_dropped(root):
    before = RunStore(root / RUN, "2").read("state", 3, 9)
    rewrite(
        root / RUN, lambda ds: ds.assign(state=ds["state"].expand_dims(level=1), static=ds["static"].expand_dims("y"))
    )
    np.testing.assert_array_equal(RunStore(root / RUN, "2").read("state", 3, 9), before)


def test_contradicting_metadata_are_refused(root):
    file = root / RUN / "state" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attributes": {"scale_factor": 2.0}}))
    with pytest.raises(UserError, match=r"consolidated metadata of .* contradict those of its array 'state'"):
        RunStore(root / RUN, "2")


def test_cut_blosc_chunk_is_refused(root):
    """Blosc itself reads on beyond the end and gives some numbers."""
    file = root / RUN / "state" / "c" / "4" / "0" / "0"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"state/c/4/0/0 is damaged: it has 200 bytes, not \d+"):
        RunStore(root / RUN, "2")


@pytest.mark.parametrize("run", ["run_2.zarr", "vlasiator_run_2.zarr"])
def test_zip_file_is_named_with_the_way_out(raw_root, run):
    files = sorted(path for path in (raw_root / run).rglob("*") if path.is_file())
    (raw_root / run).rename(raw_root / "folder")
    with zipfile.ZipFile(raw_root / run, "w") as target:
        for file in files:
            target.write(raw_root / "folder" / file.relative_to(raw_root / run), file.relative_to(raw_root / run))
    if run.startswith("run"):
        (raw_root / "vlasiator_run_2.yaml").unlink()
        (raw_root / "vlasiator_run_2.zarr").rename(raw_root / "old")
    with pytest.raises(UserError, match=rf"{run} is a zip file, not a folder; unpack it: mv .* unzip .* -d {run}"):
        prepare(raw_root, [2], overwrite=True)


def raw_copy(root, change_run=lambda ds: ds, change_static=lambda ds: ds, **options):
    """Change the raw data of run 2 and prepare it anew."""
    for name, change in (("run_2.zarr", change_run), ("static.zarr", change_static)):
        with_coordinates = open_raw(root / name, "raw").load()
        shutil.rmtree(root / name)
        save(change(with_coordinates), root / name, **options)
    write_configs(root, [2], overwrite=True)
    prepare(root, [2], overwrite=True)
    return RunStore(root / RUN, "2").read("state", 0, FRAMES)


def truth(run):
    planes = fields(run)
    return np.stack([planes[name][:, SPACE] for name in STATE], axis=-1).astype(np.float32)


@pytest.mark.filterwarnings("ignore")
def test_coordinates_of_two_stores_may_differ_by_direction_and_rounding(raw_root):
    single = raw_copy(
        raw_root,
        lambda ds: ds.isel(z=slice(None, None, -1)).assign_coords(x=ds["x"].astype("f4")),
        lambda ds: ds.isel(x=slice(None, None, -1)),
    )
    np.testing.assert_array_equal(single, truth(2))


@pytest.mark.filterwarnings("ignore")
def test_coordinates_that_differ_are_named_with_the_difference(raw_root):
    with pytest.raises(UserError, match=r"x in static.zarr differs from that in run_2.zarr by up to 0.01 R_E"):
        raw_copy(raw_root, change_static=lambda ds: ds.assign_coords(x=np.where(np.arange(12) == 3, X + 0.01, X)))


@pytest.mark.filterwarnings("ignore")
def test_single_axes_are_squeezed_and_what_is_left_out_is_told(raw_root, caplog):
    def change(ds):
        rho = ds["rho"].expand_dims(y=[0.0], axis=2)
        return ds.assign(rho=rho, quality=("time", np.arange(FRAMES)), label=(("time", "x", "z"), ds["P"].values + 1j))

    np.testing.assert_array_equal(raw_copy(raw_root, change), truth(2))
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert told == ["run 2: left out of run_2.zarr: label (type complex128); quality (axes time (30))"]
