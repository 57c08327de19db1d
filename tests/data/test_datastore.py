"""Statistics, splits, forcing and boundary of a set of runs, against numpy on the closed-form fields."""

import logging
import shutil

import numpy as np
import pytest
import xarray as xr
from data_fixtures import FRAMES, SPACE, STATE, X, rewrite
from test_store import truth

from spacecast.core.errors import UserError
from spacecast.data.datastore import RunDatastore
from spacecast.data.statistics import Moments, Statistics, cached, check_scales, floor_std
from spacecast.data.store import RunStore

TRAIN = slice(0, 21)


def test_pooled_statistics_are_those_of_all_training_runs(prepared_root):
    """Each run counts once (the reference drops the first, takes the last twice), Earth and later splits do not."""
    spec = RunDatastore(prepared_root, [1, 2, 3]).spec
    values = np.stack([truth(run)[TRAIN] for run in (1, 2, 3)]).astype(np.float64)
    steps = np.diff(values, axis=1)
    np.testing.assert_allclose(spec.state.mean, values.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(spec.state.std, values.std(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(spec.diff_mean, steps.mean(axis=(0, 1, 2)), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(spec.diff_std, steps.std(axis=(0, 1, 2)), rtol=1e-6)
    for name, value in (("lower", values.min(axis=(0, 1))), ("upper", values.max(axis=(0, 1)))):
        np.testing.assert_array_equal(getattr(spec, name), value)
        assert getattr(spec, name).dtype == np.float32
    positions = np.argwhere(SPACE)
    assert spec.static_values.shape == (len(positions), 3)
    np.testing.assert_allclose(spec.static.mean, spec.static_values.astype(np.float64).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(spec.static.std, spec.static_values.astype(np.float64).std(axis=0), rtol=1e-5)


def test_all_runs_are_read_in_order_and_share_one_scale(prepared_root):
    """The density, which tells the runs apart, must survive: one scale for all, no run lost."""
    data = RunDatastore(prepared_root, [3, 1, 2])
    assert data.train_runs == ("3", "1", "2")
    means = {run: data.read_state(run, "train", 0, 21)[..., STATE.index("rho")].mean() for run in data.runs}
    assert means["3"] / means["1"] == pytest.approx(3, rel=0.1)
    for run in (1, 2, 3):
        np.testing.assert_array_equal(data.read_state(run, "train", 0, 21), truth(run)[TRAIN])


def test_holdout_gives_no_statistic_but_can_be_read(prepared_root):
    data = RunDatastore(prepared_root, holdout=[3])
    assert (data.train_runs, data.holdout_runs) == (("1", "2"), ("3",))
    alone = RunDatastore(prepared_root, [1, 2])
    np.testing.assert_array_equal(data.spec.state.mean, alone.spec.state.mean)
    np.testing.assert_array_equal(data.spec.diff_std, alone.spec.diff_std)
    np.testing.assert_array_equal(data.spec.upper, alone.spec.upper)
    assert data.num_frames("3", "all") == FRAMES
    np.testing.assert_array_equal(data.read_state("3", "test", 0, 4), truth(3)[26:30])


def test_the_run_of_another_wind_is_held_out_and_no_mark_of_the_data(root):
    """Whether it is there or comes later, training, statistics and the hash of the data are the same."""
    before = RunDatastore(root, holdout=[2])
    shutil.copytree(root / "vlasiator_run_2.zarr", root / "vlasiator_run_unseen.zarr")
    after = RunDatastore(root, holdout=[2])
    assert after.train_runs == before.train_runs
    assert (before.holdout_runs, after.holdout_runs) == (("2",), ("2", "unseen"))
    assert after.spec.data_hash == before.spec.data_hash
    np.testing.assert_array_equal(after.spec.upper, before.spec.upper)
    np.testing.assert_array_equal(after.read_state("unseen", "all", 0, 2), truth(2)[:2])
    named = RunDatastore(root, [1, "unseen"])
    assert (named.train_runs, named.holdout_runs) == (("1", "unseen"), ())
    assert named.spec.data_hash not in (before.spec.data_hash, RunDatastore(root, [1]).spec.data_hash)
    assert RunDatastore(root, [1], ["unseen"]).holdout_runs == ("unseen",)


def test_mdp_stores_the_std_of_second_differences(prepared_root):
    """Why ours are the default: the stored diff_std belongs to the second difference."""
    stored, pooled = (RunDatastore(prepared_root, [1], statistics=kind).spec for kind in ("stored", "pooled"))
    np.testing.assert_allclose(stored.state.mean, pooled.state.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stored.state.std, pooled.state.std, rtol=1e-4)
    second = np.diff(truth(1)[TRAIN].astype(np.float64), n=2, axis=0).std(axis=(0, 1))
    np.testing.assert_allclose(stored.diff_std, second, rtol=1e-3)
    assert not np.allclose(stored.diff_std, pooled.diff_std, rtol=0.1)
    assert stored.lower is None
    assert stored.upper is None


def test_statistics_are_cached_by_content(root, monkeypatch):
    before = RunDatastore(root, [1, 2]).spec
    files = sorted((root / ".spacecast").glob("statistics-*.npz"))
    assert len(files) == 1
    monkeypatch.setattr("spacecast.data.datastore.stream", lambda *_, **__: pytest.fail("computed again"))
    for name in ("diff_std", "lower", "upper"):
        np.testing.assert_array_equal(getattr(RunDatastore(root, [1, 2]).spec, name), getattr(before, name))


def test_damaged_cache_is_computed_again(tmp_path):
    path = tmp_path / "c"
    calls = []

    def compute():
        calls.append(1)
        return {"state": Statistics(*(np.arange(3.0) + i for i in range(4)))}

    cached(path, ["k"], compute)
    np.testing.assert_array_equal(cached(path, ["k"], compute)["state"].diff_std, np.arange(3.0) + 3)
    next(path.glob("*.npz")).write_bytes(b"PK broken")
    cached(path, ["k"], compute)
    assert len(calls) == 2
    assert not list(path.glob(".*"))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_in_pieces_equal_numpy(offset):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(7, 50, 3)) * [1, 10, 0.1] + offset
    total = Moments()
    for piece in (values[:2], values[2:3], values[3:]):
        part = Moments()
        for frame in piece:
            part.update(frame)
        total.merge(part)
    np.testing.assert_allclose(total.mean, values.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(total.std, values.std(axis=(0, 1)), rtol=1e-9)
    assert total.count == 350


def test_constant_field_gets_a_usable_scale(root, caplog):
    for run in (1, 2):
        rewrite(
            root / f"vlasiator_run_{run}.zarr",
            lambda ds: ds.assign(state=ds["state"].where(ds["state_feature"] != "By", 2.5)),
        )
    with caplog.at_level(logging.WARNING):
        spec = RunDatastore(root, [1, 2]).spec
    by = STATE.index("By")
    assert spec.state.std[by] == 2.5
    assert spec.diff_std[by] == 2.5
    assert "By" in caplog.text
    assert (spec.state.std > 0).all()


def test_floor_std_keeps_small_but_real_spread_and_scales_a_constant_by_its_size():
    std = floor_std(np.array([0.0, 1e-9, 1e-9, np.nan]), np.array([0.0, 1e-9, 5.0, 1.0]), list("abcd"), "variable")
    np.testing.assert_array_equal(std, [1.0, 1e-9, 5.0, 1.0])


def test_scales_that_differ_by_units_are_refused():
    check_scales({"1": np.array([1.0, 0.0]), "2": np.array([50.0, 0.0])}, ["Bx", "By"])
    with pytest.raises(UserError, match="run 2: Bx has rms 1e-09"):
        check_scales({"1": np.array([1.0]), "2": np.array([1e-9]), "3": np.array([2.0])}, ["Bx"])


def add_forcing(root, run):
    def change(ds):
        values = np.arange(FRAMES)[:, None] * [1.0, 100.0] + run
        return ds.assign(forcing=(("time", "forcing_feature"), values)).assign_coords(
            forcing_feature=["wind", "dipole"], forcing_feature_units=("forcing_feature", ["km/s", "deg"])
        )

    rewrite(root / f"vlasiator_run_{run}.zarr", change)


def test_forcing_windows(root):
    """The window is t - past ... t + future, variable slow and time fast; a forcing without grid goes to all nodes."""
    for run in (1, 2):
        add_forcing(root, run)
    data = RunDatastore(root, [1, 2], forcing_past=2, forcing_future=1)
    assert data.spec.forcing.names == (
        "wind[-2]",
        "wind[-1]",
        "wind[0]",
        "wind[+1]",
        "dipole[-2]",
        "dipole[-1]",
        "dipole[0]",
        "dipole[+1]",
    )
    values = data.read_forcing(2, "val", 2, 4)
    assert values.shape == (2, SPACE.sum(), 8)
    frame = 21 + 3
    expected = [frame + s + 2 for s in (-2, -1, 0, 1)] + [100 * (frame + s) + 2 for s in (-2, -1, 0, 1)]
    np.testing.assert_array_equal(values[1, 5], expected)
    np.testing.assert_allclose(data.spec.forcing.mean[0], np.mean([np.arange(21) + r for r in (1, 2)]), rtol=1e-6)
    with pytest.raises(IndexError):
        data.read_forcing(2, "val", 1, 3)


def test_no_forcing_is_an_empty_axis(prepared_root):
    data = RunDatastore(prepared_root, [1], forcing_past=3, forcing_future=3)
    assert data.read_forcing(1, "test", 0, 4).shape == (4, SPACE.sum(), 0)
    assert len(data.spec.forcing) == 0


def test_boundary_regions(prepared_root):
    positions = RunDatastore(prepared_root, [1]).grid.positions

    def nodes(boundary):
        return RunDatastore(prepared_root, [1], boundary=boundary).spec.boundary

    np.testing.assert_array_equal(nodes({"x_min": 15}), positions[:, 0] > 15)
    np.testing.assert_array_equal(nodes({"x_min": 15, "z_max": 0}), (positions[:, 0] > 15) & (positions[:, 1] < 0))
    np.testing.assert_array_equal(
        nodes([{"x_min": 15}, {"r_max": 6.5}]), (positions[:, 0] > 15) | (np.hypot(*positions.T) < 6.5)
    )
    assert not nodes(None).any()


def test_times_and_offsets(prepared_root):
    data = RunDatastore(prepared_root, [1])
    assert data.times(1, "val")[0] == np.datetime64("2000-01-01T00:03:30")
    assert data.split_range(1, "val") == (21, 26)
    with pytest.raises(IndexError):
        data.read_state(1, "val", 4, 6)


def test_reference_data_and_its_standardised_batch(reference_dir, tmp_path):
    """Stored statistics of run 2 standardise its frames to the reference's own tensors, bit for bit."""
    data = RunDatastore(reference_dir / "data", [2], statistics="stored")
    stored = xr.open_zarr(reference_dir / "data" / "vlasiator_run_2.zarr", chunks=None)
    for name, found in (
        ("mean", data.spec.state.mean),
        ("std", data.spec.state.std),
        ("diff_mean", data.spec.diff_mean),
        ("diff_std", data.spec.diff_std),
    ):
        np.testing.assert_array_equal(found, stored[f"state__train__{name}"].values)
    np.testing.assert_array_equal(data.spec.static.mean, stored["static__train__mean"].values)
    batch = np.load(reference_dir / "tensors" / "batch.npz")
    for number, start in enumerate((0, 5)):
        window = (data.read_state(2, "train", start, start + 5) - data.spec.state.mean) / data.spec.state.std
        np.testing.assert_allclose(window[:2], batch["init"][number], atol=2e-6)
        np.testing.assert_allclose(window[2:], batch["target"][number], atol=2e-6)
    both = RunDatastore(reference_dir / "data", [1, 2], statistics="stored")
    assert both.num_frames(1, "train") == 33
    assert both.spec.num_nodes == batch["init"].shape[2]


def test_published_names_of_the_small_set(prepared_root, tmp_path):
    """The small published set has one run, vlasiator_run.zarr."""
    shutil.copytree(prepared_root / "vlasiator_run_1.zarr", tmp_path / "vlasiator_run.zarr")
    data = RunDatastore(tmp_path, ["run"])
    assert data.train_runs == ("run",)
    assert RunDatastore(tmp_path).train_runs == ("run",)
    np.testing.assert_array_equal(data.read_state("run", "train", 0, 2), truth(1)[:2])


def test_cropped_plane_leaves_holes(root):
    """Cells that the store lacks are cut out like Earth."""
    rewrite(root / "vlasiator_run_1.zarr", lambda ds: ds.isel(grid_index=np.arange(12 * 9) != 3))
    store = RunStore(root / "vlasiator_run_1.zarr", "1")
    assert store.grid.num_nodes == SPACE.sum() - 1
    assert store.grid.shape == (X.size, 9)
