"""What holds for every datastore of conf/datastore, over data of its form."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from data_fixtures import rewrite

from spacecast.config.schema import DatastoreSection
from spacecast.core.protocols import Datastore
from spacecast.data.contract import SPLITS, check_datastore
from spacecast.data.windows import WindowDataset


@pytest.fixture
def section(datastore_member, composed, prepared_root, tmp_path) -> DatastoreSection:
    """What the file says, but where the data lie, which run is held out where all are taken, and a smaller boundary."""
    section = composed(f"datastore={datastore_member}", "simulation=none").datastore
    if section.root is None:
        return section
    for number, run in enumerate(section.runs or [1, 2, 3], start=1):
        name = f"vlasiator_{run}.zarr" if isinstance(run, str) else f"vlasiator_run_{run}.zarr"
        (tmp_path / name).symlink_to(prepared_root / f"vlasiator_run_{number}.zarr")
    changed = {"root": tmp_path, "boundary": section.boundary and {"x_min": 20.0}}
    changed |= {} if section.runs else {"holdout": [3]}
    return replace(section, content={**section.content, **changed}, **changed)


def frames(data: Datastore, runs: tuple[str, ...], split: str) -> np.ndarray:
    """All of a split, (run, frame, node, state)."""
    return np.stack([data.read_state(run, split, 0, data.num_frames(run, split)) for run in runs])


def test_it_keeps_to_the_interface(section, datastore_member):
    data = section.build()
    check_datastore(data)
    assert not set(data.train_runs) & set(data.holdout_runs)
    for run in (*data.train_runs, *data.holdout_runs):
        for split in SPLITS:
            times = data.times(run, split)
            assert len(times) == data.num_frames(run, split) > 0
            assert (np.diff(times) == np.timedelta64(round(1e9 * data.spec.step_seconds), "ns")).all()
            assert np.isfinite(frames(data, (run,), split)).all()
        assert data.times(run, "train")[-1] < data.times(run, "val")[0]
        assert data.times(run, "val")[-1] < data.times(run, "test")[0]
    assert not data.spec.boundary.all()
    assert data.spec.boundary.any() == bool(section.boundary)


def test_windows_hold_consecutive_frames_and_their_forcing(section, datastore_member):
    data = section.build()
    spec, run = data.spec, data.train_runs[0]
    for split, steps in zip(SPLITS, (4, 2, 1), strict=True):
        found = WindowDataset(data, data.train_runs, split, steps)
        assert len(found) == len(data.train_runs) * (data.num_frames(run, split) - 1 - steps)
        for start in (0, 1):
            window = found[start]
            states = data.read_state(run, split, start, start + 2 + steps)
            np.testing.assert_array_equal(np.concatenate([window.initial, window.target]), states)
            forcing = data.read_forcing(run, split, start + 2, start + 2 + steps)
            np.testing.assert_array_equal(window.forcing, forcing)
            assert window.initial.shape == (2, spec.num_nodes, len(spec.state))
            assert window.forcing.shape == (steps, spec.num_nodes, len(spec.forcing))


def test_frames_read_again_in_any_order_are_the_same(section, datastore_member):
    data, again = section.build(), section.build()
    count = data.num_frames(data.train_runs[0], "train")
    for run in (*data.train_runs, *data.holdout_runs):
        whole = data.read_state(run, "train", 0, count)
        for start in reversed(range(0, count, 3)):
            part = data.read_state(run, "train", start, start + 2)
            np.testing.assert_array_equal(part, whole[start : start + 2])
        whole[:] = 0  # what was handed out is the caller's
        np.testing.assert_array_equal(again.read_state(run, "train", 0, 3), data.read_state(run, "train", 0, 3))
        assert data.read_state(run, "train", 0, 1).any()


def test_statistics_are_those_of_the_training_split_of_the_training_runs(section, datastore_member):
    data = section.build()
    values = frames(data, data.train_runs, "train").astype(np.float64)
    np.testing.assert_allclose(data.spec.state.mean, values.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(data.spec.state.std, values.std(axis=(0, 1, 2)), rtol=1e-3)
    steps = np.diff(values, axis=1)
    np.testing.assert_allclose(data.spec.diff_mean, steps.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(data.spec.diff_std, steps.std(axis=(0, 1, 2)), rtol=1e-3)


def test_a_run_that_is_held_out_and_later_frames_take_no_part_in_them(section, datastore_member):
    """Other values there leave the statistics as they are."""
    if section.root is None:
        pytest.skip("its data are not in files")
    data = section.build()
    before, last = data.spec, data.times(data.train_runs[0], "train")[-1]
    for store in section.root.glob("*.zarr"):
        copied = shutil.copytree(store.resolve(), store.with_suffix(".copy"))
        store.unlink()
        copied.rename(store)
        held_out = any(store.stem.endswith(f"_{run}") for run in data.holdout_runs)

        def change(stored, all_of_it=held_out):
            return stored.assign(state=stored.state.where((stored.time <= last) & (not all_of_it), 7.0))

        rewrite(store, change)
    after = section.build().spec
    for name in ("mean", "std"):
        np.testing.assert_array_equal(getattr(after.state, name), getattr(before.state, name))
    np.testing.assert_array_equal(after.diff_mean, before.diff_mean)
    np.testing.assert_array_equal(after.diff_std, before.diff_std)
