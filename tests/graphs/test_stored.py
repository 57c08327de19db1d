"""Graphs in the published file layout."""

import shutil

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.graphs.reference import ReferenceGraph
from spacecast.graphs.stored import StoredGraph
from spacecast.graphs.validation import validate


@pytest.fixture(params=[("simple", 1), ("multiscale", 3), ("hierarchical", 3)], ids=lambda one: one[0])
def stored(request, plane, tmp_path, write_graph):
    grid = plane()
    graph = ReferenceGraph(request.param[0], coarsening=3, levels=request.param[1]).build(grid)
    return grid, graph, write_graph(graph, tmp_path / "graph")


def test_round_trip(stored):
    grid, graph, folder = stored
    read = StoredGraph(folder).build(grid)
    validate(read, grid)
    assert read.length_scale == pytest.approx(graph.length_scale)
    for name, edges in graph.edge_sets().items():
        other = read.edge_sets()[name]
        order = torch.argsort(edges.receivers * edges.num_senders + edges.senders)
        assert torch.equal(other.senders, edges.senders[order])
        assert torch.equal(other.receivers, edges.receivers[order])
        torch.testing.assert_close(other.features, edges.features[order], atol=1e-6, rtol=0)
    for level, other in zip(graph.levels, read.levels, strict=True):
        torch.testing.assert_close(other.positions, level.positions, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layout", ["simple", "multiscale", "hierarchical"])
def test_published_folder(reference_dir, reference_grid, layout):
    graph = StoredGraph(reference_dir / "data" / "graph" / layout).build(reference_grid)
    validate(graph, reference_grid)
    assert graph.num_grid_nodes == 1396
    assert graph.levels[0].num_nodes == 81


def test_recipe_follows_the_content(stored):
    _, _, folder = stored
    before = StoredGraph(folder).recipe
    torch.save(torch.zeros(3, 3), folder / "g2m_features.pt")
    assert StoredGraph(folder).recipe != before


def test_graph_of_another_plane_is_refused(stored, plane):
    _, _, folder = stored
    with pytest.raises(UserError, match="another grid"):
        StoredGraph(folder).build(plane(40, 30))


def test_shifted_plane_is_refused(stored):
    """The same number of nodes, other coordinates: the features give it away."""
    grid, _, folder = stored
    shifted = type(grid)({**grid.coordinates, "x": grid.coordinates["x"] + 3.0}, grid.valid)
    with pytest.raises(UserError, match=r"another grid|outside the plane"):
        validate(StoredGraph(folder).build(shifted), shifted)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "no folder"),
        (lambda folder: (folder / "m2m_features.pt").unlink(), "has no m2m_features.pt"),
        (lambda folder: (folder / "g2m_features.pt").write_bytes(b"no tensor"), "g2m_features.pt cannot be read"),
        (lambda folder: torch.save({"a": 1}, folder / "g2m_features.pt"), "g2m_features.pt holds dict"),
        (lambda folder: torch.save([torch.zeros(2, 3).long()] * 5, folder / "m2m_edge_index.pt"), "holds 5 tensors"),
        (lambda folder: torch.save(torch.zeros(7, 3), folder / "m2g_features.pt"), "m2g: edge index"),
        (lambda folder: flip(folder / "g2m_edge_index.pt"), "g2m_edge_index.pt: senders span"),
        (lambda folder: bump(folder / "m2g_edge_index.pt"), "m2g_edge_index.pt: receivers span"),
    ],
)
def test_damage_is_named(stored, damage, words):
    grid, _, folder = stored
    damage(folder)
    with pytest.raises(UserError, match=words) as caught:
        StoredGraph(folder).build(grid)
    assert "\n" not in str(caught.value)


def test_missing_levels_are_named(plane, tmp_path, write_graph):
    grid = plane()
    folder = write_graph(ReferenceGraph("hierarchical", coarsening=3, levels=2).build(grid), tmp_path / "graph")
    (folder / "mesh_up_features.pt").unlink()
    with pytest.raises(UserError, match="mesh_up_features"):
        StoredGraph(folder).build(grid)


def test_code_in_a_file_is_not_executed(stored, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    grid, _, folder = stored
    (folder / "g2m_features.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        StoredGraph(folder).build(grid)
    assert not (tmp_path / "sprung").exists()


def flip(file):
    torch.save(torch.load(file, weights_only=True).flip(0), file)


def bump(file):
    torch.save(torch.load(file, weights_only=True) + torch.tensor([[0], [1]]), file)
