"""Grid, data description, windows, differences and regions on a grid with a third axis."""

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.regions import boundary_nodes
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.types import Batch
from spacecast.data.contract import check_datastore
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.regions import region_masks
from spacecast.forecast.writer import ForecastWriter
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.reference import ReferenceGraph
from spacecast.objectives.divergence_penalty import DivergencePenalty

FIELD = ("Bx", "By", "Bz")


@pytest.fixture
def space():
    """A box of 6 x 5 x 4 cells, the four at its middle cut out."""
    x, y, z = np.arange(6.0), np.arange(5.0) * 2 - 4, np.arange(4.0) * 3 - 4.5
    valid = np.ones((6, 5, 4), dtype=bool)
    valid[3, 2, 1:3] = valid[2, 2, 1:3] = False
    return Grid({"x": x, "y": y, "z": z}, valid)


@pytest.fixture
def spec(space):
    def category(names):
        return FeatureSpec(names, ("nT",) * len(names), np.zeros(len(names)), np.ones(len(names)))

    nothing = np.zeros((space.num_nodes, 0))
    boundary = boundary_nodes(space, {"y_min": 4})
    empty = FeatureSpec.empty()
    return DataSpec(space, category(FIELD), empty, empty, np.zeros(3), np.ones(3), nothing, boundary, 1.0)


class Frames:
    """A datastore of one run."""

    def __init__(self, spec):
        self.spec, self.train_runs, self.holdout_runs = spec, ("1",), ()
        self.frames = np.random.default_rng(0).normal(size=(8, spec.num_nodes, 3)).astype(np.float32)

    def num_frames(self, run, split):
        return len(self.frames)

    def read_state(self, run, split, start, stop):
        return self.frames[start:stop]

    def read_forcing(self, run, split, start, stop):
        return np.zeros((stop - start, self.spec.num_nodes, 0), dtype=np.float32)

    def times(self, run, split):
        return np.datetime64("2000-01-01", "ns") + np.arange(len(self.frames)) * np.timedelta64(1, "s")


def test_nodes_are_numbered_with_the_last_axis_fast_and_lie_where_their_cells_do(space):
    assert space.axes == ("x", "y", "z")
    assert space.shape == (6, 5, 4)
    assert space.spacing == (1.0, 2.0, 3.0)
    assert space.num_nodes == 6 * 5 * 4 - 4
    field = np.random.default_rng(0).normal(size=(2, 6, 5, 4))
    nodes = space.to_nodes(field)
    np.testing.assert_array_equal(space.to_nodes(space.to_field(nodes)), nodes)
    assert np.isnan(space.to_field(nodes)[:, ~space.valid]).all()
    index = [tuple(np.abs(space.coordinates[axis] - at).argmin() for axis, at in zip("xyz", position, strict=True))
             for position in space.positions]  # fmt: skip
    np.testing.assert_array_equal(nodes, np.stack([field[:, i, j, k] for i, j, k in index], axis=-1))
    np.testing.assert_allclose(space.radius, np.linalg.norm(space.positions, axis=1), rtol=1e-15)


def test_neighbours_lie_one_cell_away(space):
    for axis, size in enumerate(space.spacing):
        for side, sign in enumerate((1, -1)):
            there = space.neighbours[2 * axis + side]
            moved = space.positions[there] - space.positions
            known = there != np.arange(space.num_nodes)
            assert known.any()
            np.testing.assert_allclose(moved[known], np.eye(3)[axis] * sign * size * np.ones((known.sum(), 1)))


def test_divergence_of_a_linear_field_is_exact(space):
    x, y, z = torch.as_tensor(space.positions.T.copy())
    divergence = space.divergence(2 * x + z, 3 * y - x, x - 5 * z)
    assert divergence.shape == (space.stencil.shape[1],)
    assert divergence.numel() > 0
    torch.testing.assert_close(divergence, torch.zeros_like(divergence), atol=1e-12, rtol=0)
    torch.testing.assert_close(space.divergence(x, 2 * y, 4 * z), torch.full_like(divergence, 7.0))


def test_the_penalty_and_its_published_form_know_all_components(spec, space):
    free = torch.as_tensor(space.positions * [1.0, 1.0, -2.0], dtype=torch.float32)
    sources = torch.as_tensor(space.positions, dtype=torch.float32)
    assert DivergencePenalty(spec)(free) < 1e-10
    assert float(DivergencePenalty(spec)(sources)) == pytest.approx(9.0, rel=1e-5)  # (3 * smallest cell)^2
    assert float(DivergencePenalty(spec, reduction="reference")(sources)) > 0


def test_bounds_of_the_third_axis(spec, space):
    np.testing.assert_array_equal(spec.boundary, space.positions[:, 1] >= 4)
    masks = region_masks(spec, {"dawn": {"y_max": 0, "x_min": 1}})
    x, y, _ = space.positions.T
    np.testing.assert_array_equal(masks["dawn"], (y < 0) & (x >= 1))


def test_a_description_survives_a_round_trip(spec):
    again = DataSpec.from_dict(spec.to_dict())
    assert again.grid.axes == ("x", "y", "z")
    np.testing.assert_array_equal(again.grid.positions, spec.grid.positions)


def test_windows_scores_and_files_of_a_forecast(spec, tmp_path):
    import xarray as xr

    store = Frames(spec)
    check_datastore(store)
    windows = WindowDataset(store, ["1"], "test", 2)
    batch = windows[3]
    np.testing.assert_array_equal(batch.target, store.frames[5:7])
    sums = Accumulator(spec, 1, regions={"dawn": {"y_max": 0}})
    batch = Batch(*(torch.as_tensor(field)[None] for field in batch))
    sums.add(0, batch.target[:, :1], batch, batch)
    scores = sums.scores()
    for region in ("all", "dawn"):
        forecast, own = (scores.series(metric, "B", region)[1] for metric in ("div_b", "div_b_truth"))
        np.testing.assert_array_equal(forecast, own)
        assert forecast > 0
    with ForecastWriter(tmp_path / "examples.zarr", spec, store.times("1", "test")[:1], 1) as writer:
        writer.write(0, 0, store.frames[None, 0], store.frames[0])
    written = xr.open_zarr(tmp_path / "examples.zarr", consolidated=False)
    assert written["By"].dims[-3:] == ("x", "y", "z")
    np.testing.assert_array_equal(written["y"], spec.grid.coordinates["y"])
    np.testing.assert_array_equal(spec.grid.to_nodes(written["By"].values[0, 0]), store.frames[0, :, 1])


@pytest.mark.parametrize("builder", [MeshGraphBuilder(), ReferenceGraph()], ids=["mesh", "reference"])
def test_recipes_of_the_plane_say_so(builder, space):
    with pytest.raises(UserError, match="on a plane, the grid has axes x, y, z"):
        builder.build(space)
