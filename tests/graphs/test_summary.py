"""Counts for people."""

import pytest

from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.summary import format_summary, summary


def test_rows_count_edges(plane):
    grid = plane()
    graph = MeshGraphBuilder("hierarchical", levels=2, mesh_spacing=2, mesh_to_grid_nearest=3).build(grid)
    rows = {row.name: row for row in summary(graph)}
    assert list(rows) == ["g2m", "m2g", "m2m_0", "m2m_1", "up_0", "down_0"]
    assert rows["m2g"].edges == 3 * grid.num_nodes
    assert (rows["m2g"].min_degree, rows["m2g"].mean_degree, rows["m2g"].max_degree) == (3, 3.0, 3)
    assert rows["m2m_0"].longest == pytest.approx(2 * 2**0.5, rel=1e-4)
    assert rows["m2m_1"].longest == pytest.approx(6 * 2**0.5, rel=1e-4)
    assert rows["up_0"].edges == rows["up_0"].senders == graph.levels[0].num_nodes


def test_text_has_a_line_per_set(plane):
    graph = MeshGraphBuilder("hierarchical", levels=2).build(plane())
    lines = format_summary(graph).splitlines()
    assert len(lines) == 2 + 6
    assert graph.content_hash in lines[0]
