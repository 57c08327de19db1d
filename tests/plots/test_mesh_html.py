"""The mesh as a page for a browser."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from spacecast.core.grid import Grid
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.plots.mesh_html import HIDDEN, draw_mesh_page, mesh_figure
from spacecast.plots.picture import ScoredRun
from spacecast.plots.plane import Plane

pytest.importorskip("plotly", reason="an extra: pip install 'spacecast[plots]'")


@pytest.fixture(scope="module")
def grid() -> Grid:
    x, z = np.arange(-25.5, 16), np.arange(-14.5, 15)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.85)


@pytest.fixture(scope="module")
def graph(grid):
    return MeshGraphBuilder("hierarchical", levels=2, mesh_spacing=3).build(grid)


def test_every_kind_of_node_and_edge_has_an_entry(graph, grid):
    traces = {trace.name: trace for trace in mesh_figure(graph, grid).data}
    sets = graph.edge_sets()
    expected = {
        f"{grid.num_nodes:,} cells", "inside the inner boundary",
        f"cells to mesh: {sets['g2m'].num_edges:,} edges", f"mesh to cells: {sets['m2g'].num_edges:,} edges",
        f"level 1 to 2, up: {sets['up_0'].num_edges:,} edges",
        f"level 1 to 2, down: {sets['down_0'].num_edges:,} edges",
        *(f"level {n + 1}: {level.num_nodes:,} nodes" for n, level in enumerate(graph.levels)),
        *(f"level {n + 1}: {level.edges.num_edges:,} edges" for n, level in enumerate(graph.levels)),
    }  # fmt: skip
    assert traces.keys() == expected
    assert {trace.visible for name, trace in traces.items() if "cells to" in name or "down" in name} == {HIDDEN}


def test_edges_join_their_nodes_at_the_heights_of_their_levels(graph, grid):
    traces = {trace.name.partition(":")[0]: trace for trace in mesh_figure(graph, grid).data if trace.mode == "lines"}
    up, fine, coarse = graph.up[0], graph.levels[0].positions.numpy(), graph.levels[1].positions.numpy()
    lines = np.stack([traces["level 1 to 2, up"][axis] for axis in "xyz"], axis=-1).reshape(-1, 3, 3)
    assert np.isnan(lines[:, 2]).all()
    np.testing.assert_allclose(lines[:, 0, :2], fine[up.senders.numpy()])
    np.testing.assert_allclose(lines[:, 1, :2], coarse[up.receivers.numpy()])
    assert len(np.unique(lines[:, 0, 2])) == len(np.unique(lines[:, 1, 2])) == 1
    assert lines[0, 1, 2] == pytest.approx(2 * lines[0, 0, 2])
    within = np.stack([traces["level 2"][axis] for axis in "xyz"], axis=-1).reshape(-1, 3, 3)
    assert len(within) == graph.levels[1].edges.num_edges // 2  # both directions are one line
    assert (within[:, :2, 2] == lines[0, 1, 2]).all()


def test_without_the_plane_there_are_no_cells(graph, grid, tiny_grid):
    for plane in (None, tiny_grid):  # unknown, or another one
        assert not any("cells" in trace.name for trace in mesh_figure(graph, plane).data)


def test_the_page_holds_all_that_it_needs(graph, grid, tmp_path):
    units = {"Bx": "nT"}
    plane = Plane(grid, units, np.zeros(grid.num_nodes, dtype=bool))
    run = ScoredRun(plane=plane, graph=lambda: graph, name="storm <b>")
    path = tmp_path / "figures" / "mesh_html.html"
    assert draw_mesh_page(run, path) == [path]
    assert list(path.parent.iterdir()) == [path]
    page = path.read_text(encoding="utf-8")
    assert page.count("<script") >= 2
    assert 'src="http' not in page
    assert "<link" not in page
    assert len(page) > 1_000_000  # the library is in it
    assert "storm &lt;b&gt;" in page.replace("\\u0026lt;", "&lt;").replace("\\u0026gt;", "&gt;")


def test_without_plotly_that_is_told(graph, tmp_path, monkeypatch, caplog):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "plotly" else found(name, *more)
    )
    assert draw_mesh_page(ScoredRun(graph=lambda: graph), tmp_path / "mesh.html") == []
    assert "no mesh.html: it needs plotly; pip install 'spacecast[plots]'" in caplog.text


def test_there_is_no_page_without_a_graph(tmp_path: Path):
    assert draw_mesh_page(ScoredRun(), tmp_path / "mesh.html") == []
