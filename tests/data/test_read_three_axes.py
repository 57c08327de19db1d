"""Raw data with a third axis are prepared and read like those of a plane."""

import numpy as np
import pytest
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.data.datastore import RunDatastore
from spacecast.data.prepare import prepare
from spacecast.data.raw import space_axes

AXES = {"x": np.arange(6.0) - 3, "y": np.arange(5.0) * 2 - 4, "z": np.arange(4.0) * 3 - 4.5}
FRAMES = 20


def write(root, frames):
    """A run and its static fields; Earth is the two cells next to the middle."""
    mask = np.ones((6, 5, 4))
    mask[3, 2, 1:3] = 0
    coordinates = {name: (name, values, {"units": "R_E"}) for name, values in AXES.items()}
    time = np.datetime64("2000-01-01", "ns") + np.arange(FRAMES) * np.timedelta64(10, "s")
    fields = {name: (("time", *AXES), frames[..., number]) for number, name in enumerate(("Bx", "By"))}
    xr.Dataset(fields, {**coordinates, "time": time}).to_zarr(root / "run_1.zarr")
    height = np.broadcast_to(AXES["z"], mask.shape).copy()
    static = {"mask": (tuple(AXES), mask), "z_coord": (tuple(AXES), height)}
    xr.Dataset(static, coordinates).to_zarr(root / "static.zarr")
    return mask == 1


@pytest.mark.filterwarnings("ignore")
def test_a_box_is_prepared_and_read(tmp_path):
    frames = np.random.default_rng(0).normal(size=(FRAMES, 6, 5, 4, 2)).astype(np.float32)
    space = write(tmp_path, frames)
    prepare(tmp_path)
    runs = RunDatastore(tmp_path, boundary={"y_min": 4})
    grid = runs.spec.grid
    assert grid.axes == ("x", "y", "z")
    for name, values in AXES.items():
        np.testing.assert_array_equal(grid.coordinates[name], values)
    np.testing.assert_array_equal(grid.valid, space)
    np.testing.assert_array_equal(runs.read_state("1", "all", 0, FRAMES), frames[:, space])
    np.testing.assert_array_equal(runs.spec.static_values[:, 0], grid.positions[:, 2])
    np.testing.assert_array_equal(runs.spec.boundary, grid.positions[:, 1] == 4)


def test_y_is_an_axis_of_space_where_the_data_have_it():
    assert space_axes(("time", "z", "x")) == ("x", "z")
    assert space_axes(("time", "z", "y", "x")) == ("x", "y", "z")


def test_cells_that_no_coordinate_tells_apart_are_refused():
    from spacecast.data.geometry import read_grid

    twice = np.zeros(12)
    flat = xr.Dataset(dict.fromkeys(("x", "y", "z"), ("grid_index", twice)))
    with pytest.raises(UserError, match="share one position; x and y and z do not describe a grid"):
        read_grid(flat, "run 1")
    with pytest.raises(UserError, match="share one position; x and z do not describe a plane"):
        read_grid(flat.drop_vars("y"), "run 1")
