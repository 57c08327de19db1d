"""Preparation: the real mllam-data-prep, only when needed, never leaving half a store."""

import os
import shutil

import numpy as np
import pytest
import xarray as xr
import yaml
import zarr
from data_fixtures import FRAMES, SPACE, STATE, X, Z, rewrite, save
from mllam_data_prep.create_dataset import create_dataset_zarr
from test_store import truth

from spacecast.core.errors import UserError
from spacecast.data import prepare as module
from spacecast.data.configs import HEADER, find_raw_runs, find_runs, write_configs
from spacecast.data.datastore import RunDatastore
from spacecast.data.inspection import inspect
from spacecast.data.prepare import prepare
from spacecast.data.splits import split_ranges
from spacecast.data.store import RunStore


def contents(root):
    return {
        str(p.relative_to(root)): p.stat().st_mtime_ns
        for p in root.rglob("*")
        if p.is_file() and p.name != ".lock" and p.parent.name != ".spacecast"
    }


def edit_yaml(path, change):
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def test_configs_have_the_published_layout(prepared_root, reference_dir):
    ours = yaml.safe_load((prepared_root / "vlasiator_run_1.yaml").read_text())
    theirs = yaml.safe_load((reference_dir / "data" / "vlasiator_run_1.yaml").read_text())
    assert list(ours) == list(theirs)
    assert ours["output"].keys() == theirs["output"].keys()
    assert ours["output"]["variables"] == theirs["output"]["variables"]
    assert ours["inputs"]["fields"]["variables"] == theirs["inputs"]["fields"]["variables"] == list(STATE)
    assert ours["inputs"].keys() == theirs["inputs"].keys()
    both = [yaml.safe_load((f / "vlasiator_config.yaml").read_text()) for f in (prepared_root, reference_dir / "data")]
    assert both[0].keys() == both[1].keys()
    assert len(both[0]["additional_datastores"]) == 2


def test_runs_are_found_in_natural_order(tmp_path):
    for name in (
        "run_10.zarr",
        "run_2.zarr",
        "vlasiator_run_10.zarr",
        "vlasiator_run_9.zarr",
        "vlasiator_config.yaml",
        "vlasiator_run_1.yaml",
    ):
        (tmp_path / name).mkdir()
    assert find_raw_runs(tmp_path) == ("2", "10")
    assert find_runs(tmp_path) == ("9", "10")
    assert find_runs(tmp_path, "yaml") == ("1",)


def test_nothing_is_done_twice(raw_root):
    before = contents(raw_root)
    prepare(raw_root)
    write_configs(raw_root)
    after = contents(raw_root)
    assert after == before


def test_changed_raw_data_and_changed_yaml_are_prepared_again(raw_root):
    untouched = contents(raw_root / "vlasiator_run_2.zarr")
    raw = zarr.open_group(raw_root / "run_1.zarr", mode="r+")
    raw["By"][5] = raw["By"][5] + 1.0
    calls = []
    prepare(raw_root, progress=lambda *call: calls.append(call))
    assert calls == sorted(set(calls))
    assert (calls[0], calls[-1]) == (("run 1", 0, FRAMES), ("run 1", FRAMES, FRAMES))
    expected = truth(1)
    expected[5, :, 1] += 1
    np.testing.assert_allclose(
        RunStore(raw_root / "vlasiator_run_1.zarr", "1").read("state", 0, FRAMES), expected, rtol=1e-6
    )
    assert contents(raw_root / "vlasiator_run_2.zarr") == untouched


def test_download_without_raw_data_is_taken_as_it_is(root):
    before = contents(root)
    assert [path.name for path in prepare(root)] == ["vlasiator_run_1.zarr", "vlasiator_run_2.zarr"]
    assert contents(root) == before


def test_chunks_of_one_frame_and_a_seconds_yaml(raw_root):
    """No chunking in the YAML, unquoted times, static input first: traps of mllam-data-prep that preparation avoids."""
    path = raw_root / "vlasiator_run_2.yaml"

    def change(config):
        del config["output"]["chunking"]
        config["output"]["coord_ranges"]["time"]["end"] = "2000-01-01T00:03:10"
        config["output"]["splitting"]["splits"] = {
            "train": {"start": "2000-01-01T00:00:00", "end": "2000-01-01T00:01:40"},
            "val": {"start": "2000-01-01T00:01:50", "end": "2000-01-01T00:02:20"},
            "test": {"start": "2000-01-01T00:02:30", "end": "2000-01-01T00:03:10"},
        }
        config["inputs"] = dict(sorted(config["inputs"].items(), key=lambda item: item[0] == "fields"))

    edit_yaml(path, change)
    path.write_text(path.read_text().replace("'2000", "2000").replace("0'", "0"))
    prepare(raw_root, [2])
    store = RunStore(raw_root / "vlasiator_run_2.zarr", "2")
    assert store.num_frames == 20
    assert store.frames_per_chunk("state") == 1
    assert store.splits == {"train": (0, 11), "val": (11, 15), "test": (15, 20)}


def test_numbers_are_those_of_mllam_data_prep_laid_out_as_nodes_are_read(raw_root, tmp_path):
    config = yaml.safe_load((raw_root / "vlasiator_run_1.yaml").read_text())
    for entry in config["inputs"].values():
        entry["path"] = str(raw_root / entry["path"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    create_dataset_zarr(fp_config=tmp_path / "run.yaml", fp_zarr=tmp_path / "theirs.zarr")
    theirs, ours = (xr.open_zarr(path) for path in (tmp_path / "theirs.zarr", raw_root / "vlasiator_run_1.zarr"))
    state = zarr.open_group(raw_root / "vlasiator_run_1.zarr", mode="r")["state"]
    assert state.metadata.dimension_names == ("time", "grid_index", "state_feature")
    assert state.chunks == (1, *state.shape[1:])
    for name, values in theirs.variables.items():
        found = ours.variables[name]
        assert (found.dtype, found.attrs) == (values.dtype, values.attrs)
        np.testing.assert_array_equal(found.transpose(*values.dims).values, values.values)
    np.testing.assert_array_equal(
        *(RunStore(path, "1").read("state", 0, FRAMES) for path in (tmp_path / "theirs.zarr", state.store.root))
    )


@pytest.mark.slow
def test_child_processes_give_the_same_and_report(raw_root):
    shutil.rmtree(raw_root / "vlasiator_run_1.zarr")
    calls = []
    prepare(raw_root, [1], processes=2, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("run 1", FRAMES, FRAMES)
    np.testing.assert_array_equal(RunStore(raw_root / "vlasiator_run_1.zarr", "1").read("state", 0, FRAMES), truth(1))


def drop_raw(root):
    shutil.rmtree(root / "run_2.zarr")
    shutil.rmtree(root / "vlasiator_run_2.zarr")


def other_static(root):
    """A static.zarr whose axes were swapped."""
    path = root / "static.zarr"
    with xr.open_zarr(path, chunks=None) as opened:
        static = opened.load()
    shutil.rmtree(path)
    save(static.rename({"x": "z", "z": "x"}).drop_encoding(), path)


RAW_FAULTS = {
    "raw run missing": (drop_raw, r"run 2: raw data run_2.zarr named in vlasiator_run_2.yaml do not exist"),
    "variable missing": (
        lambda r: rewrite(r / "run_2.zarr", lambda ds: ds.drop_vars("rho")),
        r"run 2: run_2.zarr has no variable 'rho'",
    ),
    "variable misspelt": (
        lambda r: edit_yaml(
            r / "vlasiator_run_2.yaml", lambda c: c["inputs"]["fields"].update(variables=["Bx", "By", "vxx"])
        ),
        r"no variable 'vxx'; did you mean 'vx'",
    ),
    "raw chunk missing": (
        lambda r: (r / "run_2.zarr/vx/c/1/0/0").unlink(),
        r"run 2: 1 chunk\(s\) of vx in run_2.zarr are missing, first in frame 10",
    ),
    "raw time gap": (
        lambda r: rewrite(r / "run_2.zarr", lambda ds: ds.isel(time=np.arange(FRAMES) != 4)),
        r"run 2: run_2.zarr: time is not uniform: 20 s between frames 3 and 4",
    ),
    "raw truncated": (
        lambda r: (r / "run_2.zarr/zarr.json").unlink(),
        r"run 2: .*run_2.zarr is no complete zarr store",
    ),
    "swapped dimensions": (
        other_static,
        r"run \d: x in static.zarr \(9 cells from -16 to 16\) differs from run_\d.zarr \(12 cells",
    ),
    "other dimensions": (
        lambda r: rewrite(r / "run_2.zarr", lambda ds: ds.rename({"x": "y"})),
        r"run 2: Bx in run_2.zarr has dimensions time, y, z, the configuration says time, x, z",
    ),
    "no YAML": (
        lambda r: (r / "vlasiator_run_2.yaml").write_text("inputs: [1, 2"),
        r"run 2: .*vlasiator_run_2.yaml is no mllam-data-prep configuration",
    ),
    "time range": (
        lambda r: edit_yaml(
            r / "vlasiator_run_2.yaml", lambda c: c["output"]["coord_ranges"]["time"].update(end="2000-01-01T09:00:00")
        ),
        r"run 2: mllam-data-prep could not prepare it .*not in the data",
    ),
    "NaN outside the mask": (
        lambda r: zarr.open_group(r / "run_2.zarr", mode="r+")["T"].__setitem__((7, 0, 0), np.nan),
        r"run 2: T is nan outside the mask in frame 7",
    ),
}


@pytest.mark.parametrize("name", RAW_FAULTS)
def test_raw_fault_is_one_clear_line_and_leaves_the_old_output(raw_root, name):
    plant, pattern = RAW_FAULTS[name]
    plant(raw_root)
    before = contents(raw_root)
    with pytest.raises(UserError, match=pattern) as caught:
        prepare(raw_root, [2])
    assert "\n" not in str(caught.value)
    assert contents(raw_root) == before


@pytest.mark.slow
def test_fault_in_a_child_process_is_the_same_line(raw_root):
    RAW_FAULTS["time range"][0](raw_root)
    before = contents(raw_root)
    with pytest.raises(UserError, match=r"^run 2: mllam-data-prep could not prepare it"):
        prepare(raw_root, [2], processes=2)
    assert contents(raw_root) == before


def test_interruption_leaves_the_old_output(raw_root, monkeypatch):
    def interrupted(config, folder, mark, name):
        (folder / "state").mkdir(parents=True)
        raise KeyboardInterrupt

    before = contents(raw_root)
    monkeypatch.setattr(module, "run_mdp", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw_root, [1], overwrite=True)
    assert contents(raw_root) == before
    assert not [path for path in raw_root.iterdir() if ".partial-" in path.name]


def test_what_a_killed_process_left_is_removed(raw_root):
    for name in (".vlasiator_run_1.zarr.partial-1.zarr", ".vlasiator_run_2.zarr.partial-2.zarr.old"):
        (raw_root / name / "state").mkdir(parents=True)
    prepare(raw_root)
    assert [path.name for path in raw_root.iterdir() if path.name.startswith(".vlasiator")] == []


def test_unwritable_folder(raw_root, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = contents(raw_root)
    with pytest.raises(UserError, match="cannot be written to"):
        prepare(raw_root, overwrite=True)
    with pytest.raises(UserError, match="cannot be written to"):
        write_configs(raw_root)
    assert [path.name for path in prepare(raw_root, [1])] == ["vlasiator_run_1.zarr"]
    RunDatastore(raw_root, [1])
    assert contents(raw_root) == before


def test_folder_without_write_permission(raw_root):
    """Write permission counts for the superuser, too, who could write anyway."""
    shutil.rmtree(raw_root / ".spacecast", ignore_errors=True)
    raw_root.chmod(0o555)
    try:
        with pytest.raises(UserError, match="cannot be written to"):
            prepare(raw_root, overwrite=True)
        RunDatastore(raw_root, [2])
        assert not (raw_root / ".spacecast").exists()
    finally:
        raw_root.chmod(0o755)


def test_what_is_in_the_way_is_named_and_left_alone(raw_root):
    """A file where a store goes, a folder where the lock goes, bytes where a text goes, a file for the data folder."""
    target = raw_root / "vlasiator_run_1.zarr"
    shutil.rmtree(target, ignore_errors=True)
    target.write_text("mine")
    with pytest.raises(UserError, match=r"vlasiator_run_1.zarr is a file where the prepared store goes; move it away"):
        prepare(raw_root)
    assert target.read_text() == "mine"
    with pytest.raises(UserError, match="is a file; give a folder"):
        prepare(target)
    target.unlink()
    (raw_root / "vlasiator_run_1.yaml").write_bytes(b"\xd8\x00")
    with pytest.raises(UserError, match="is no mllam-data-prep configuration"):
        prepare(raw_root)
    (raw_root / "vlasiator_run_1.yaml").unlink()
    (raw_root / ".lock").unlink(missing_ok=True)
    (raw_root / ".lock").mkdir()
    with pytest.raises(UserError, match=r"\.lock is a folder where a lock file goes"):
        prepare(raw_root)


def test_empty_folder_and_bad_fractions(tmp_path, raw_root):
    with pytest.raises(UserError, match="holds no run to prepare"):
        prepare(tmp_path)
    with pytest.raises(UserError, match="holds no raw run"):
        write_configs(tmp_path)
    with pytest.raises(UserError, match="add up to 1"):
        write_configs(raw_root, fractions=(0.5, 0.2, 0.2))


def test_new_raw_time_axis_replaces_the_yaml(raw_root):
    path = raw_root / "vlasiator_run_2.yaml"
    edit_yaml(path, lambda config: config["output"]["splitting"]["splits"]["test"].update(end="2000-01-01T00:04:40"))
    kept = path.read_text()
    write_configs(raw_root)
    assert path.read_text() == kept
    rewrite(raw_root / "run_2.zarr", lambda ds: ds.isel(time=slice(0, 20)))
    write_configs(raw_root)
    assert path.read_text() == kept
    path.write_text(HEADER + kept)
    write_configs(raw_root)
    assert yaml.safe_load(path.read_text())["output"]["coord_ranges"]["time"]["end"] == "2000-01-01T00:03:10"


def test_partial_dates_cover_their_whole_day_as_in_mdp():
    times = np.datetime64("2000-01-01", "ns") + np.arange(48) * np.timedelta64(1, "h")
    assert split_ranges(times, {"train": ("2000-01-01", "2000-01-01"), "val": ("2000-01-02", "2000-01-02")}, "r") == {
        "train": (0, 24),
        "val": (24, 48),
    }


def test_inspection_of_sound_data(prepared_root):
    calls = []
    report = inspect(prepared_root, frames=10, progress=lambda *call: calls.append(call))
    assert report.ok, report.errors
    text = "\n".join(report.lines)
    for part in ("12 x 9 plane", f"{SPACE.sum()} nodes", "21 / 5 / 4", "mV/m", "vx"):
        assert part in text
    assert calls[-1][1] == calls[-1][2] == 10
    store = report.stores["3"]
    assert store.names["state"] == tuple(STATE)
    planes = store.grid.to_field(store.read("state", 4, 5)[0].T)
    assert planes.shape == (len(STATE), X.size, Z.size)
    np.testing.assert_array_equal(np.isnan(planes), np.broadcast_to(~SPACE, planes.shape))


def constant(ds, names, along_time=False):
    chosen = ds["state_feature"].isin(names)
    value = ds["state"].isel(time=0) if along_time else 1.0
    return ds.assign(state=ds["state"].where(~chosen, value).transpose(*ds["state"].dims))


ODDITIES = {
    "constant": (lambda ds: constant(ds, ["vy"]), "warning", "constant everywhere: vy"),
    "frozen variable": (lambda ds: constant(ds, ["vy"], True), "warning", "constant in time: vy"),
    "frozen run": (lambda ds: constant(ds, list(STATE), True), "error", "no variable changes in time"),
    "units by name": (
        lambda ds: ds.assign_coords(
            state_feature_units=("state_feature", ["T", *ds["state_feature_units"].values[1:]])
        ),
        "warning",
        "Bx has units 'T', the published data have 'nT'",
    ),
    "pressure in Pa": (
        lambda ds: ds.assign(state=ds["state"].where(ds["state_feature"] != "P", ds["state"] * 1e-9)),
        "error",
        "P over n k T is 1e-09",
    ),
    "E in V/m": (
        lambda ds: ds.assign(
            state=ds["state"].where(~ds["state_feature"].isin(["Ex", "Ey", "Ez"]), ds["state"] * 1e-3)
        ),
        "error",
        r"|E| over |v x B| is 0.001",
    ),
    "B not divergence-free": (
        lambda ds: ds.assign(state=ds["state"].where(ds["state_feature"] != "Bx", 20 * np.sin(ds["x"]))),
        "warning",
        "div B is",
    ),
    "static x and z swapped": (
        lambda ds: ds.assign_coords(static_feature=["r", "x_coord", "z_coord"]),
        "error",
        "static feature 'x_coord' is not the x",
    ),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_inspection_tells_oddities_from_faults(root, name):
    change, severity, text = ODDITIES[name]
    shutil.rmtree(root / "vlasiator_run_1.zarr")
    rewrite(root / "vlasiator_run_2.zarr", change)
    report = inspect(root)
    found = report.errors if severity == "error" else report.warnings
    assert any(text in line for line in found), report.findings
    assert report.ok == (severity == "warning")
