"""What pictures of graphs show."""

import numpy as np
import pytest
from figure_contents import assert_a_whole_picture, images, panes, share_of
from matplotlib.collections import LineCollection, PathCollection

from spacecast.core.grid import Grid
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.plots.graph import draw_graph, edge_classes
from spacecast.plots.levels import BY_LENGTH, MOST_LINES, draw_levels


@pytest.fixture
def grid() -> Grid:
    x, z = np.arange(-25.5, 16), np.arange(-14.5, 15)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.85)


@pytest.mark.parametrize(("layout", "levels"), [("multiscale", 3), ("hierarchical", 3)])
def test_the_picture_shows_every_edge_cell_and_degree(grid, tmp_path, layout, levels, drawn):
    graph = MeshGraphBuilder(layout, levels=levels, mesh_spacing=2).build(grid)
    path = draw_graph(graph, grid, tmp_path / "pictures" / "graph.png")
    assert list(path.parent.iterdir()) == [path]
    [figure] = drawn
    numbers = figure.get_suptitle()
    assert numbers.startswith(f"{grid.num_nodes:,} cells, ")
    for level in graph.levels:
        assert f"{level.num_nodes:,}" in numbers
    mesh, within, between, *pieces = panes(figure)
    assert mesh.get_title() == "mesh"
    drawn_edges = sum(len(lines.get_segments()) for lines in mesh.collections if isinstance(lines, LineCollection))
    up, down = (sum(edges.num_edges for edges in sets) for sets in (graph.up, graph.down))
    assert drawn_edges == sum(len(start) for start, _ in edge_classes(graph.levels)) + up
    points = [len(dots.get_offsets()) for dots in mesh.collections if isinstance(dots, PathCollection)]
    assert points == [level.num_nodes for level in graph.levels]
    texts = [text.get_text() for text in mesh.get_legend().get_texts()]
    assert len(texts) == len(edge_classes(graph.levels)) + bool(up)
    assert bool(up) == (layout == "hierarchical") == (f"{up:,} up (drawn) and {down:,} down edges" in texts)
    for axes, names in ((within, "m2m"), (between, "g2m m2g")):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("in-degree", "share of nodes")
        for container in axes.containers:
            assert container.get_label()[:3] in names
            assert sum(bar.get_height() for bar in container) == pytest.approx(1)
    assert [axes.get_title().partition(",")[0] for axes in pieces] == ["grid to mesh", "mesh to grid"]
    for axes in (mesh, *pieces):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("$x$ [$R_E$]", "$z$ [$R_E$]")
        [earth] = images(axes)
        np.testing.assert_array_equal(np.ma.getmaskarray(earth.get_array()), grid.valid.T)
        assert tuple(earth.get_extent()) == (-26, 16, -15, 15)


def test_edges_of_more_lengths_than_there_are_colours_are_all_drawn(tmp_path, drawn):
    x = np.arange(-63.5, 64)
    wide = Grid({"x": x, "z": x}, np.hypot(x[:, None], x[None, :]) >= 3.85)
    graph = MeshGraphBuilder("multiscale", levels=7, coarsening=2, mesh_spacing=1).build(wide)
    lengths = [len(start) for start, _ in edge_classes(graph.levels)]
    assert len(lengths) > len(BY_LENGTH)
    draw_levels(graph, wide, tmp_path / "mesh.png")
    sets = [lines for lines in panes(drawn[0])[0].collections if isinstance(lines, LineCollection)]
    assert [len(lines.get_segments()) for lines in sets] == [min(length, MOST_LINES) for length in lengths]


def test_the_picture_is_written_whole(grid, tmp_path):
    path = draw_graph(MeshGraphBuilder("simple").build(grid), grid, tmp_path / "graph.png")
    assert_a_whole_picture(path)
    assert share_of(path, (0x3F, 0x47, 0x52)) > 0.01  # Earth


def test_edges_fall_into_classes_of_length(grid):
    graph = MeshGraphBuilder("multiscale", levels=3, mesh_spacing=2).build(grid)
    classes = edge_classes(graph.levels)
    assert len(classes) == 3
    assert [round(float(np.abs(stop - start).max())) for start, stop in classes] == [2, 6, 18]
    assert sum(len(start) for start, _ in classes) == graph.levels[0].edges.num_edges // 2


def test_plane_without_earth(tmp_path, drawn):
    x, z = np.arange(20.0), np.arange(15.0)
    grid = Grid({"x": x, "z": z}, np.ones((20, 15), dtype=bool))
    draw_graph(MeshGraphBuilder("simple").build(grid), grid, tmp_path / "graph.png")
    [earth] = images(panes(drawn[0])[0])
    assert np.ma.getmaskarray(earth.get_array()).all()


def test_edges_too_many_to_see_are_named_and_not_drawn(grid, tmp_path, drawn, monkeypatch):
    monkeypatch.setattr("spacecast.plots.graph.MOST_LINES", 10)
    draw_graph(MeshGraphBuilder("simple").build(grid), grid, tmp_path / "graph.png")
    mesh = panes(drawn[0])[0]
    assert not [lines for lines in mesh.collections if isinstance(lines, LineCollection)]
    assert "(not drawn)" in mesh.get_legend().get_texts()[0].get_text()
