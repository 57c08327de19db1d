"""Planted mistakes: each gives one line that names the fault, and nothing is trained on or left half-written."""

import shutil

import numpy as np
import pytest
import zarr
from data_fixtures import FRAMES, SPACE, rewrite

from spacecast.core.errors import UserError
from spacecast.data.datastore import RunDatastore
from spacecast.data.inspection import inspect
from spacecast.data.windows import WindowDataset

RUN = "vlasiator_run_2.zarr"


def edit(change):
    return lambda root: rewrite(root / RUN, change)


def state_value(frame, variable, value):
    """Set one node of one variable in place."""

    def change(root):
        array = zarr.open_group(root / RUN, mode="r+")["state"]
        array[frame, int(np.flatnonzero(SPACE.ravel())[5]), variable] = value

    return change


def remove(path):
    return lambda root: (root / RUN / path).unlink()


def set_splits(ds, **bounds):
    splits = ds["splits"].astype(object)
    for name, (start, end) in bounds.items():
        splits.loc[{"split_name": name}] = [start, end]
    return ds.assign(splits=splits.astype(str))


def truncate_state(root):
    path = root / RUN / "zarr.json"
    text = path.read_text()
    path.write_text(text.replace(f"[\n          {FRAMES},", "[\n          20,", 1))
    array = root / RUN / "state" / "zarr.json"
    array.write_text(array.read_text().replace(f"    {FRAMES},", "    20,", 1))


def rename_variable(ds):
    return ds.assign_coords(state_feature=["Bx", "By", "Bz", "Ex", "Ey", "Ez", "Vx", "vy", "vz", "rho", "P", "T"])


DAY = "2000-01-01T00:0"
FAULTS = {
    "missing chunk": (
        remove("state/c/17/0/0"),
        r"run 2: chunks of state are missing in 1 of 30 frames, first in frame 17",
    ),
    "empty chunk": (
        lambda r: (r / RUN / "state/c/4/0/0").write_bytes(b""),
        r"missing in 1 of 30 frames, first in frame 4",
    ),
    "damaged chunk": (
        lambda r: (r / RUN / "state/c/4/0/0").write_bytes(b"\x02\x01" * 40),
        r"run 2: .*state/c/4/0/0 is damaged: it has 80 bytes, not \d+; download or write it again",
    ),
    "NaN outside the mask": (
        state_value(3, 7, np.nan),
        r"run 2: vy is nan outside the mask in frame 3, first at x = .*1 of \d+ nodes",
    ),
    "infinity": (state_value(9, 10, np.inf), r"run 2: P is inf outside the mask in frame 9"),
    "mask inverted": (
        edit(lambda ds: ds.assign(mask=1 - ds["mask"])),
        r"run 2: mask leaves \d+ of 108 cells, it is probably inverted",
    ),
    "mask of other numbers": (
        edit(lambda ds: ds.assign(mask=ds["mask"] * 7)),
        r"run 2: mask holds .*expected 1 = space",
    ),
    "mask missing": (edit(lambda ds: ds.drop_vars("mask")), r"run 2 has no category 'mask', found .*state"),
    "mask elsewhere": (
        edit(lambda ds: ds.assign(mask=ds["mask"].roll(grid_index=9))),
        r"run 2: \w+ is nan outside the mask in frame 0",
    ),
    "static missing": (edit(lambda ds: ds.drop_vars("static")), r"run 2 has no category 'static'"),
    "static NaN": (
        edit(lambda ds: ds.assign(static=ds["static"] * np.nan)),
        r"run 2: static variable 'r' is NaN outside Earth",
    ),
    "other static": (
        edit(lambda ds: ds.assign(static=ds["static"] + 1)),
        r"run 2 and run 1 differ in their static features",
    ),
    "units of one run": (
        edit(
            lambda ds: ds.assign_coords(
                state_feature_units=("state_feature", ["T", *ds["state_feature_units"].values[1:]])
            )
        ),
        r"differ in the units of Bx: 'T' and 'nT'",
    ),
    "values in other units": (
        edit(lambda ds: ds.assign(state=ds["state"].where(ds["state_feature"] != "Bx", ds["state"] * 1e-9))),
        r"run 2: Bx has rms .* its units differ",
    ),
    "other variables": (edit(rename_variable), r"differ in their state variables: .*Vx"),
    "time with a gap": (
        edit(lambda ds: ds.isel(time=np.arange(FRAMES) != 11)),
        r"run 2: time is not uniform: 20 s between frames 10 and 11",
    ),
    "time backwards": (edit(lambda ds: ds.isel(time=slice(None, None, -1))), r"run 2: time is not uniform"),
    "time without dates": (
        edit(lambda ds: ds.assign_coords(time=np.arange(FRAMES))),
        r"run 2: time axis holds int64, not dates",
    ),
    "other cadence": (
        edit(
            lambda ds: set_splits(
                ds.assign_coords(time=ds["time"][0] + (ds["time"] - ds["time"][0]) // 2),
                train=(DAY + "0:00", DAY + "1:00"),
                val=(DAY + "1:05", DAY + "1:30"),
                test=(DAY + "1:35", DAY + "2:00"),
            )
        ),
        r"differ in their time step: 5 s and 10 s",
    ),
    "no metadata": (remove("zarr.json"), r"run 2: .* is no complete zarr store"),
    "array metadata cut": (
        lambda r: (r / RUN / "zarr.json").write_text((r / RUN / "zarr.json").read_text()[:-400]),
        r"run 2: .* is no complete zarr store",
    ),
    "truncated in time": (truncate_state, r"run 2: .* is no complete zarr store"),
    "empty folder": (lambda r: (shutil.rmtree(r / RUN), (r / RUN).mkdir()), r"run 2: .* is no complete zarr store"),
    "run missing": (lambda r: shutil.rmtree(r / RUN), r"run 2: .* does not exist"),
    "other grid": (
        edit(lambda ds: ds.assign_coords(x=ds["x"] * 1.5)),
        r"differ in their grid: 12 x 9 plane, x -33 to 33",
    ),
    "stretched grid": (
        edit(lambda ds: ds.assign_coords(x=ds["x"] ** 3 / 500)),
        r"run 2: grid coordinate x is not uniformly ascending",
    ),
    "metres": (edit(lambda ds: ds.assign_coords(x=ds["x"] * 6.4e6)), r"run 2: the plane spans .* must be in R_E"),
    "no coordinates": (edit(lambda ds: ds.drop_vars("z")), r"run 2: coordinate 'z' of grid_index is missing"),
    "two cells in one place": (
        edit(lambda ds: ds.assign_coords(x=ds["x"] * 0 + 1, z=ds["z"])),
        r"run 2: two values of grid_index share one position",
    ),
    "splits overlap": (
        edit(lambda ds: set_splits(ds, val=(DAY + "3:00", DAY + "4:10"))),
        r"run 2: splits 'train' and 'val' share 3 frames",
    ),
    "split elsewhere": (
        edit(lambda ds: set_splits(ds, test=("1999-01-01", "1999-01-02"))),
        r"run 2: split 'test' from .* holds no frame",
    ),
    "no splits": (edit(lambda ds: ds.drop_vars("splits")), r"run 2 has no splits"),
    "other axes": (edit(lambda ds: ds.rename({"grid_index": "cell"})), r"run 2: state has axes .*cell"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_one_clear_line_and_is_found_by_inspection(root, name):
    plant, pattern = FAULTS[name]
    plant(root)
    before = sorted(path.name for path in root.iterdir())
    with pytest.raises(UserError, match=pattern) as caught:
        RunDatastore(root, [1, 2]).read_state(2, "all", 0, FRAMES)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 420
    assert [name for name in sorted(path.name for path in root.iterdir()) if name != ".spacecast"] == before
    report = inspect(root, [1, 2], frames=FRAMES)
    assert report.errors
    assert not any("\n" in text for text in report.errors)


REQUESTS = {
    "unknown run": ({"runs": [1, 7]}, r"run 7: .* does not exist"),
    "run twice": ({"runs": [1, 1]}, r"datastore.runs names a run twice: 1, 1"),
    "trained on and held out": ({"runs": [1, 2], "holdout": [2]}, r"run 2 is both trained on and held out"),
    "everything held out": ({"holdout": [1, 2]}, r"no prepared run to train on, found 1, 2, held out 1, 2"),
    "no run": ({"runs": []}, r"datastore.runs is empty"),
    "statistics": ({"runs": [1], "statistics": "pooledd"}, r"statistics 'pooledd' is unknown; did you mean 'pooled'"),
    "boundary name": ({"runs": [1], "boundary": {"xmin": 3}}, r"boundary has no bound 'xmin'; did you mean 'x_min'"),
    "boundary outside": ({"runs": [1], "boundary": {"x_min": 99}}, r"holds no node of the 12 x 9 plane"),
    "boundary everywhere": ({"runs": [1], "boundary": {"x_min": -99}}, r"holds every node"),
    "negative window": ({"runs": [1], "forcing_past": -1}, r"must not be negative"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_wrong_request_is_one_clear_line(root, name):
    options, pattern = REQUESTS[name]
    with pytest.raises(UserError, match=pattern) as caught:
        RunDatastore(root, **options)
    assert "\n" not in str(caught.value)


def test_absent_folder(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        RunDatastore(tmp_path / "nowhere")


def test_stored_statistics_missing(root):
    rewrite(root / "vlasiator_run_1.zarr", lambda ds: ds.drop_vars("state__train__diff_mean"))
    with pytest.raises(UserError, match=r"run 1 stores no state__train__diff_mean.*statistics: pooled"):
        RunDatastore(root, [1], statistics="stored")


def test_split_too_short_for_the_roll_out(root):
    data = RunDatastore(root, [1, 2])
    assert len(WindowDataset(data, data.runs, "test", 2)) == 2
    with pytest.raises(
        UserError, match="split 'test' of run 1 has 4 frames, a roll-out of 10 steps needs 12; take at most 2 steps"
    ):
        WindowDataset(data, data.runs, "test", 10)


@pytest.mark.filterwarnings("ignore")
def test_missing_chunk_inside_earth_is_no_fault(root):
    """A chunk that holds only masked cells may be absent: all-NaN chunks are not written."""

    def rechunk(ds):
        order = np.argsort(ds["mask"].values.ravel(), kind="stable")
        return ds.isel(grid_index=order)

    inside = int((~SPACE).sum())
    rewrite(root / RUN, rechunk)
    group = zarr.open_group(root / RUN, mode="r+")
    values, names, attrs = group["state"][:], group["state"].metadata.dimension_names, dict(group["state"].attrs)
    del group["state"]
    array = group.create_array(
        "state", shape=values.shape, chunks=(1, inside, 12), dtype="f4", fill_value=np.nan, dimension_names=names
    )
    array.attrs.update(attrs)
    array[:] = values
    zarr.consolidate_metadata(root / RUN)
    assert not (root / RUN / "state/c/0/0/0").exists()
    data = RunDatastore(root, [1, 2])
    assert np.isfinite(data.read_state(2, "all", 0, FRAMES)).all()
