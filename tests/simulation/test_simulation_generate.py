"""Writing the data set: contents, reuse, and folders in which something goes wrong."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.simulation import generate, storage
from spacecast.simulation.magnetosphere import VARIABLES

QUICK = {"nx": 36, "nz": 24, "spinup_coarse": 15.0, "frames": 23}
"""Cells of 2.5 R_E, one block of frames and a part."""


def simulate(root, densities=(1.0,), processes=1, **changes):
    return generate(root, "tiny", densities=densities, processes=processes, **{**QUICK, **changes})


def opened(path):
    return xr.open_zarr(path, chunks=None)


def stores(root):
    return sorted(path.name for path in root.iterdir())


@pytest.mark.filterwarnings("error")
def test_layout_units_times_and_provenance(tmp_path):
    calls = []
    paths = simulate(tmp_path, densities=(0.5, 2.0), cadence=2.5, progress=lambda *call: calls.append(call))
    assert paths == [tmp_path / "run_1.zarr", tmp_path / "run_2.zarr"]
    assert stores(tmp_path) == ["run_1.zarr", "run_2.zarr", "static.zarr"]
    static = opened(tmp_path / "static.zarr")
    assert set(static) == {"x_coord", "z_coord", "r", "mask"}
    assert {static[name].dims for name in static} == {("x", "z")}
    assert np.array_equal(static["mask"] == 0, static["r"] < 3.85)
    for path, density in zip(paths, (0.5, 2.0), strict=True):
        run = opened(path)
        assert run["time"].values[0] == np.datetime64("2000-01-01")
        assert (np.diff(run["time"].values) == np.timedelta64(2500, "ms")).all()
        for name, (unit, text) in VARIABLES.items():
            assert run[name].dims == ("time", "x", "z")
            assert run[name].shape == (23, 36, 24)
            assert run[name].dtype == np.float32
            assert (run[name].attrs["units"], run[name].attrs["long_name"]) == (unit, text)
            assert (np.isnan(run[name].values) == (static["mask"].values == 0)).all()
        assert np.array_equal(run["x"], static["x"])
        assert np.array_equal(static["x_coord"], np.broadcast_to(run["x"].values[:, None], (36, 24)))
        assert run.attrs["solar_wind_density"] == density
        assert json.loads(run.attrs["parameters"])["cadence"] == 2.5
    assert {name for name, _, _ in calls} == {"run_1", "run_2"}
    for name in ("run_1", "run_2"):
        done = [call[1] for call in calls if call[0] == name]
        assert done == sorted(done)
        assert done[-1] == calls[-1][2]


def test_same_seed_gives_the_same_run_in_this_and_in_another_process(tmp_path):
    here, there = simulate(tmp_path / "a", (1.0, 1.0)), simulate(tmp_path / "b", (1.0, 1.0), processes=2)
    for one, other in zip(here, there, strict=True):
        assert opened(one).equals(opened(other))
    assert not opened(here[0]).equals(opened(here[1]))


def test_a_run_of_another_wind_is_added_to_runs_that_are_there(tmp_path):
    """It has the middle density and three quarters of the frames; the others stay as they are."""
    simulate(tmp_path, (0.5, 1.0, 2.0))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run_*.zarr/.zattrs")}
    calls = []
    paths = simulate(tmp_path, (0.5, 1.0, 2.0), test_seed=7, progress=lambda name, *_: calls.append(name))
    assert (set(calls), paths[-1]) == ({"run_unseen"}, tmp_path / "run_unseen.zarr")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    unseen, run = opened(paths[-1]), opened(paths[1])
    assert unseen.attrs["solar_wind_density"] == 1.0
    assert (unseen.attrs["seed"], unseen.sizes["time"]) == (7, 18)
    assert not np.allclose(unseen["rho"][0], run["rho"][0], equal_nan=True)
    calls.clear()
    assert simulate(tmp_path, (0.5, 1.0, 2.0), test_seed=7, progress=lambda name, *_: calls.append(name)) == paths
    assert calls == []


def test_a_folder_that_cannot_be_written_to_goes_on_without_a_run_of_another_wind(tmp_path, monkeypatch, caplog):
    paths = simulate(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert simulate(tmp_path, test_seed=7) == paths
    assert "no run of another wind to score" in caplog.text
    with pytest.raises(UserError, match="Permission denied"):
        simulate(tmp_path, densities=(1.0, 2.0), test_seed=7)


def test_complete_runs_are_kept_and_missing_ones_added(tmp_path):
    simulate(tmp_path)
    before = (tmp_path / "run_1.zarr" / ".zattrs").stat().st_mtime_ns
    calls = []
    simulate(tmp_path, densities=(1.0, 2.0), progress=lambda name, *_: calls.append(name))
    assert set(calls) == {"run_2"}
    assert (tmp_path / "run_1.zarr" / ".zattrs").stat().st_mtime_ns == before


def test_other_parameters_need_overwrite(tmp_path):
    simulate(tmp_path)
    with pytest.raises(UserError, match=r"run_1\.zarr was simulated with other parameters.*overwrite"):
        simulate(tmp_path, frames=2)
    assert opened(tmp_path / "run_1.zarr").sizes["time"] == 23
    simulate(tmp_path, frames=2, overwrite=True)
    assert opened(tmp_path / "run_1.zarr").sizes["time"] == 2
    assert stores(tmp_path) == ["run_1.zarr", "static.zarr"]


def test_foreign_data_are_never_replaced(tmp_path):
    xr.Dataset({"Bx": ("x", [1.0, 2.0])}).to_zarr(tmp_path / "run_1.zarr", zarr_format=2)
    with pytest.raises(UserError, match="not made by the simulation"):
        simulate(tmp_path, overwrite=True)
    assert stores(tmp_path) == ["run_1.zarr"]
    assert opened(tmp_path / "run_1.zarr")["Bx"].values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"densities": ()}, "at least one"),
        ({"densities": (-1.0,)}, "density"),
        ({"processes": 0}, "processes = 0"),
        ({"densities": (1.0, 2.0), "test_seed": 11}, "test_seed=11 is the wind of run_2"),
        ({"density": 2.0}, "densities"),
    ],
)
def test_bad_requests_leave_nothing(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        simulate(tmp_path / "data", **arguments)
    assert not (tmp_path / "data").exists()


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write simulated data to .*file/data: Not a directory"):
        simulate(tmp_path / "file" / "data")


def test_folder_without_permission_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match=r"cannot write simulated data to .*: Permission denied"):
        simulate(tmp_path)
    assert stores(tmp_path) == []


def test_disk_that_is_too_small_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"simulated data need about .* GB free"):
        simulate(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_disk_that_fills_up_is_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    original = storage.frames

    def fills_up(parameters, report):
        for number, values in enumerate(original(parameters, report)):
            if parameters.density == 2.0 and number == 21:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield values

    monkeypatch.setattr(storage, "frames", fills_up)
    with pytest.raises(UserError, match=r"No space left on device; free some space"):
        simulate(tmp_path, densities=(1.0, 2.0))
    assert stores(tmp_path) == ["run_1.zarr", "static.zarr"]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
from spacecast.core.errors import UserError
from spacecast.simulation import generate
try:
    generate(sys.argv[1], "tiny", densities=(1.0, 2.0), processes=2, nx=36, nz=24, spinup_coarse=15.0, frames=23)
except UserError as error:
    print(error)
"""


def test_write_error_in_a_worker_is_the_same_line(tmp_path):
    """A limit on the size of files makes real writes of real workers fail."""
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "data")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot write simulated data to" in result.stdout
    assert "File too large" in result.stdout
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""
    assert stores(tmp_path / "data") == ["static.zarr"]


FOREVER = """
import sys
from spacecast.simulation import generate
generate(sys.argv[1], "tiny", densities=(1.0, 2.0), processes=int(sys.argv[2]), frames=int(sys.argv[3]),
         nx=36, nz=24, spinup_coarse=15.0, progress=lambda name, done, total: print(name, done, flush=True))
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_in_the_middle_leaves_no_run_and_the_next_call_recovers(tmp_path, processes):
    command = [sys.executable, "-c", FOREVER, str(tmp_path), str(processes)]
    with subprocess.Popen([*command, "20000"], stdout=subprocess.PIPE, text=True) as process:
        begun = set()  # one worker may be far ahead of the other
        while len(begun) < processes:
            name, done = process.stdout.readline().rsplit(maxsplit=1)
            if int(done) >= 30:
                begun.add(name)
        process.send_signal(signal.SIGKILL)
    partial = [name for name in stores(tmp_path) if "partial" in name]
    assert len(partial) == processes
    assert not (tmp_path / "run_1.zarr").exists()
    simulate(tmp_path)  # waits for nobody
    assert stores(tmp_path) == ["run_1.zarr", "static.zarr"]


@pytest.mark.parametrize("processes", [1, 2])
def test_interrupt_stops_the_workers_and_cleans_up(tmp_path, processes):
    def interrupt(name, done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, (1.0, 2.0), processes=processes, frames=20000, progress=interrupt)
    assert stores(tmp_path) == ["static.zarr"]


def test_two_processes_share_one_folder(tmp_path):
    command = [sys.executable, "-W", "error", "-c", FOREVER, str(tmp_path), "1", "40"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    output = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(bool(stdout) for stdout, _ in output) == [False, True]
    assert [stderr for _, stderr in output] == ["", ""]
    assert stores(tmp_path) == ["run_1.zarr", "run_2.zarr", "static.zarr"]


def test_no_main_module_is_imported_by_workers(tmp_path):
    """An unguarded script works with several processes."""
    script = Path(tmp_path / "script.py")
    script.write_text("open('count.txt', 'a').write('x')\n" + FOREVER)
    subprocess.run([sys.executable, str(script), "data", "2", "2"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "count.txt").read_text() == "x"
    assert stores(tmp_path / "data") == ["run_1.zarr", "run_2.zarr", "static.zarr"]
