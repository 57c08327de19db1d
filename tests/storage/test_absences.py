"""A chunk that is absent reads as the fill value: a value, an oddity or a fault."""

import shutil

import numpy as np
import pytest
import xarray as xr
import zarr
from data_fixtures import FRAMES, STATE

from spacecast.core.errors import UserError
from spacecast.data.prepare import prepare
from spacecast.data.raw import open_raw
from spacecast.data.store import RunStore
from spacecast.storage.absences import check_absent

VY = STATE.index("vy")


def flags(**frames):
    """Absent frames of three variables, one place."""
    return {name: np.isin(np.arange(6), frames.get(name, [])).reshape(1, -1) for name in ("vy", "rho", "P")}


@pytest.mark.parametrize(
    ("absent", "gone", "told"),
    [
        (flags(vy=[0, 1]), [], []),
        (flags(vy=[0, 3]), [], ["vy"]),
        (flags(vy=range(6)), [], ["vy"]),
        (flags(vy=[5], rho=[5]), [], ["vy", "rho"]),
        (flags(vy=[3], rho=[3], P=[3]), [3], []),
        (flags(vy=[0, 1], rho=[0], P=[0]), [0], []),
        ({"B": flags(vy=[0])["vy"]}, [], []),
    ],
)
def test_which_absences_are_faults_and_which_are_told(caplog, absent, gone, told):
    assert np.flatnonzero(check_absent(absent, 0.0, "run 1")).tolist() == gone
    assert [record.args[1] for record in caplog.records] == told


def test_absent_is_a_fault_where_the_fill_value_means_missing():
    assert np.flatnonzero(check_absent(flags(rho=[2]), None, "run 1")).tolist() == [2]


def rewritten(raw_root, zarr_format, fill, change):
    """Raw run 2 as zarr-python writes it, with one chunk per frame."""
    data = open_raw(raw_root / "run_2.zarr", "raw").load()
    shutil.rmtree(raw_root / "run_2.zarr")
    group = zarr.create_group(raw_root / "run_2.zarr", zarr_format=zarr_format)
    for name, variable in data.variables.items():
        values, attrs = variable.values, dict(variable.attrs)
        if name == "time":
            values = (values - values[0]).astype("timedelta64[s]").astype("i8")
            attrs = {"units": "seconds since 2000-01-01"}
        if name == "vy":
            change(values)
        dims = {"dimension_names": variable.dims} if zarr_format == 3 else {}
        chunks = tuple(1 if dim == "time" and variable.ndim > 1 else size for dim, size in variable.sizes.items())
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=chunks,
            fill_value=fill if variable.ndim > 1 else 0,
            **dims,
        )
        array.attrs.update(attrs | ({} if zarr_format == 3 else {"_ARRAY_DIMENSIONS": list(variable.dims)}))
        array[...] = values


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zeros_that_zarr_does_not_write_are_values(raw_root, zarr_format):
    """vy = 0 in the first frame, fill value 0 as of times and coordinates: xarray takes it for missing in format 2."""
    before = RunStore(raw_root / "vlasiator_run_2.zarr", "2").read("state", 0, FRAMES)

    def still(values):
        values[0] = 0

    rewritten(raw_root, zarr_format, 0.0, still)
    assert sum(1 for p in (raw_root / "run_2.zarr" / "vy").rglob("*") if p.is_file() and p.name[0] not in ".z") < FRAMES
    prepare(raw_root, [2], overwrite=True)
    after = RunStore(raw_root / "vlasiator_run_2.zarr", "2").read("state", 0, FRAMES)
    assert (after[0, :, VY] == 0).all()
    np.testing.assert_array_equal(after[1:], before[1:])
    np.testing.assert_array_equal(np.delete(after[0], VY, axis=-1), np.delete(before[0], VY, axis=-1))


def test_lost_frames_of_all_variables_are_a_fault(raw_root):
    rewritten(raw_root, 3, 0.0, lambda values: None)
    for name in STATE:
        (raw_root / "run_2.zarr" / name / "c" / "7" / "0" / "0").unlink()
    with pytest.raises(
        UserError, match=r"chunks of all variables in run_2.zarr are missing in 1 of 30 frames, first in frame 7"
    ):
        prepare(raw_root, [2], overwrite=True)


@pytest.mark.filterwarnings("ignore")
def test_prepared_variable_that_is_zero_in_a_chunk_of_its_own(root, caplog):
    path = root / "vlasiator_run_2.zarr"
    before = RunStore(path, "2").read("state", 0, FRAMES)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    values, names = group["state"][...], group["state"].metadata.dimension_names
    values[:2, :, VY] = 0
    array = group.create_array(
        "state", shape=values.shape, dtype="f4", chunks=(1, values.shape[1], 1), dimension_names=names, overwrite=True
    )
    array[...] = values
    zarr.consolidate_metadata(path)
    assert not (path / "state" / "c" / "0" / "0" / str(VY)).exists()
    after = RunStore(path, "2").read("state", 0, FRAMES)
    assert (after[:2, :, VY] == 0).all()
    np.testing.assert_array_equal(after[2:], before[2:])
    assert not caplog.records
    (path / "state" / "c" / "9" / "0" / "3").unlink()
    RunStore(path, "2")
    assert "chunks of Ex are not stored in 1 of 30 frames, first in frame 9" in caplog.records[-1].getMessage()


def test_xarray_reads_a_simulated_zero_as_missing(tmp_path):
    """Why stores are not opened with xarray: it takes the fill value of format 2 for missing."""
    group = zarr.create_group(tmp_path / "one.zarr", zarr_format=2)
    array = group.create_array("v", shape=(3,), dtype="f8", fill_value=0.0, attributes={"_ARRAY_DIMENSIONS": ["x"]})
    array[...] = [0.0, 1.0, 2.0]
    with xr.open_zarr(tmp_path / "one.zarr", chunks=None, consolidated=False) as found:
        assert np.isnan(found["v"].values[0])
    assert open_raw(tmp_path / "one.zarr", "raw")["v"].values.tolist() == [0, 1, 2]
