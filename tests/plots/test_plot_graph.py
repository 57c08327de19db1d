"""Pictures of graphs are written whole."""

import numpy as np
import pytest

from spacecast.core.grid import Grid
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.plots.graph import draw_graph, edge_classes


@pytest.fixture
def grid() -> Grid:
    x, z = np.arange(-25.5, 16), np.arange(-14.5, 15)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.85)


@pytest.mark.parametrize(("layout", "levels"), [("multiscale", 3), ("hierarchical", 3)])
def test_picture_is_written(grid, tmp_path, layout, levels):
    from matplotlib.image import imread

    graph = MeshGraphBuilder(layout, levels=levels).build(grid)
    path = draw_graph(graph, grid, tmp_path / "pictures" / "graph.png")
    assert list(path.parent.iterdir()) == [path]
    image = imread(path)
    assert image.shape[1] > 1000
    assert 0.3 < image[..., :3].mean() < 0.98  # neither black nor blank


def test_edges_fall_into_classes_of_length(grid):
    graph = MeshGraphBuilder("multiscale", levels=3, mesh_spacing=2).build(grid)
    classes = edge_classes(graph)
    assert len(classes) == 3
    assert [round(float(np.abs(stop - start).max())) for start, stop in classes] == [2, 6, 18]
    assert sum(len(start) for start, _ in classes) == graph.levels[0].edges.num_edges // 2


def test_plane_without_earth(tmp_path):
    x, z = np.arange(20.0), np.arange(15.0)
    grid = Grid({"x": x, "z": z}, np.ones((20, 15), dtype=bool))
    assert draw_graph(MeshGraphBuilder("simple").build(grid), grid, tmp_path / "graph.png").exists()
