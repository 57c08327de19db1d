"""A prepared run is read as the nodes of the closed-form fields, however it is stored."""

import pickle

import numpy as np
import pytest
import yaml
import zarr
from data_fixtures import FRAMES, RADIUS, SPACE, STATE, UNITS, X, Z, fields, rewrite

from spacecast.core.errors import UserError
from spacecast.data.cache import FrameCache
from spacecast.data.datastore import RunDatastore
from spacecast.data.store import RunStore


def truth(run: int) -> np.ndarray:
    """(frame, node, variable) in the order of Grid: x slow, z fast."""
    planes = fields(run)
    return np.stack([planes[name][:, SPACE] for name in STATE], axis=-1).astype(np.float32)


@pytest.mark.parametrize("run", [1, 2, 3])
def test_nodes_are_the_raw_fields(prepared_root, run):
    """Run 1: raw (time, z, x) in format 2; run 3: grid_index stacked [z, x], which the reference scrambles."""
    store = RunStore(prepared_root / f"vlasiator_run_{run}.zarr", str(run))
    np.testing.assert_array_equal(store.grid.coordinates["x"], X)
    np.testing.assert_array_equal(store.grid.coordinates["z"], Z)
    np.testing.assert_array_equal(store.grid.valid, SPACE)
    np.testing.assert_array_equal(store.read("state", 0, FRAMES), truth(run))
    assert store.names["state"] == STATE
    assert store.units["state"] == tuple(UNITS.values())
    assert store.step_seconds == 10
    assert store.splits == {"train": (0, 21), "val": (21, 26), "test": (26, 30)}


def test_stacking_orders_differ_on_disk(prepared_root):
    one, three = (zarr.open_group(prepared_root / f"vlasiator_run_{r}.zarr", mode="r")["x"][:] for r in (1, 3))
    assert not np.array_equal(one, three)


def test_format_2_and_transposed_axes_and_float64(root):
    path = root / "vlasiator_run_2.zarr"
    before = RunStore(path, "2").read("state", 3, 9)
    rewrite(
        path, lambda ds: ds.transpose("time", "grid_index", ...).assign(state=lambda d: d["state"].astype("float64")), 2
    )
    store = RunStore(path, "2")
    np.testing.assert_array_equal(store.read("state", 3, 9), before)
    assert store.read("state", 3, 4).dtype == np.float32


def test_statics_keep_their_names_and_places(prepared_root):
    store = RunStore(prepared_root / "vlasiator_run_3.zarr", "3")
    assert store.names["static"] == ("r", "north", "sunward")
    np.testing.assert_allclose(store.static_values[:, 0], RADIUS[SPACE], rtol=1e-6)
    np.testing.assert_allclose(store.static_values[:, 2], store.grid.positions[:, 0], rtol=1e-6)
    np.testing.assert_allclose(store.static_values[:, 1], store.grid.positions[:, 1], rtol=1e-6)


def test_content_hash_sees_data_not_places(prepared_root, root):
    same = [RunStore(folder / "vlasiator_run_1.zarr", "x").content_hash for folder in (prepared_root, root)]
    assert same[0] == same[1]
    array = zarr.open_group(root / "vlasiator_run_1.zarr", mode="r+")["state"]
    array[7, :, 2] = array[7, :, 2][::-1] * 1.37
    assert RunStore(root / "vlasiator_run_1.zarr", "x").content_hash != same[0]


def test_store_survives_pickling(prepared_root):
    store = RunStore(prepared_root / "vlasiator_run_1.zarr", "1")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read("state", 2, 4), truth(1)[2:4])


class CountingStore(RunStore):
    reads = 0

    def read(self, category, start, stop, *, check=True):
        CountingStore.reads += stop - start
        return super().read(category, start, stop, check=check)


def test_cache_decodes_each_frame_once_within_its_budget(prepared_root):
    store = CountingStore(prepared_root / "vlasiator_run_1.zarr", "1")
    rng = np.random.default_rng(0)
    spans = [(a, a + int(n)) for a, n in zip(rng.integers(0, 24, 60), rng.integers(1, 6, 60), strict=True)]
    frame = truth(1)[0].nbytes / 1e9
    for capacity, most in ((FRAMES * frame, FRAMES), (4 * frame, 10**6), (0.0, 10**6)):
        CountingStore.reads = 0
        cache = FrameCache(capacity)
        for start, stop in spans:
            np.testing.assert_array_equal(cache.read(store, "state", start, stop), truth(1)[start:stop])
            assert cache.used <= max(cache.budget, 0)
        assert CountingStore.reads <= most


def test_result_of_the_cache_may_be_changed(prepared_root):
    data = RunDatastore(prepared_root, [1])
    first = data.read_state("1", "train", 0, 3)
    first[:] = 0
    np.testing.assert_array_equal(data.read_state("1", "train", 0, 3), truth(1)[:3])


def test_shared_split_step_belongs_to_the_earlier_split(raw_root):
    from spacecast.data.prepare import prepare

    path = raw_root / "vlasiator_run_2.yaml"
    config = yaml.safe_load(path.read_text())
    splits = config["output"]["splitting"]["splits"]
    splits["val"]["start"], splits["test"]["start"] = splits["train"]["end"], splits["val"]["end"]
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    prepare(raw_root, [2])
    ranges = sorted(RunStore(raw_root / "vlasiator_run_2.zarr", "2").splits.values())
    assert [a for a, _ in ranges[1:]] == [b for _, b in ranges[:-1]]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == FRAMES


def test_unknown_split_is_named(prepared_root):
    with pytest.raises(UserError, match="no split 'tests'; did you mean 'test'"):
        RunDatastore(prepared_root, [1]).num_frames(1, "tests")
