"""What holds for every graph of conf/graph."""

import json

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.graphs.reference import ReferenceGraph
from spacecast.graphs.validation import validate

PUBLISHED = ["reference_multiscale", "reference_hierarchical"]
ROOM = ["graph.coarsening=3"]  # for the published layouts of several levels on a plane as small as this


@pytest.fixture(scope="session")
def plane() -> Grid:
    """90 x 60 cells of 1 R_E with a hole, Earth off its centre."""
    x, z = np.arange(90) - 53.4, np.arange(60) - 29.5
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.85)


@pytest.fixture(scope="session")
def stored(plane, write_graph, tmp_path_factory) -> str:
    """A graph in the published layout."""
    graph = ReferenceGraph("simple", coarsening=3, levels=1).build(plane)
    return str(write_graph(graph, tmp_path_factory.mktemp("stored") / "graph"))


@pytest.fixture
def make(composed, stored):
    """Makes the builder of a member; keywords replace what its file says."""

    def builder(name, **changed):
        words = [f"graph.path={stored}"] if name == "stored" else []
        words += ROOM if name in PUBLISHED and "coarsening" not in changed else []
        return composed(f"graph={name}", *words).graph.build(**changed)

    return builder


def test_it_builds_a_sound_graph_for_a_plane(graph_member, make, plane):
    graph = make(graph_member).build(plane)
    assert isinstance(graph, MeshGraph)
    validate(graph, plane)
    assert graph.num_grid_nodes == plane.num_nodes
    assert graph.hierarchical == ("hierarchical" in graph_member)
    for name, edges in graph.edge_sets().items():
        assert edges.num_edges > 0, name
        assert torch.isfinite(edges.features).all(), name
    assert set(graph.mesh_to_grid.receivers.tolist()) == set(range(plane.num_nodes))  # every cell is fed
    assert set(graph.grid_to_mesh.senders.tolist()) == set(range(plane.num_nodes))  # and heard


def test_its_recipe_is_plain_and_determines_the_graph(graph_member, make, plane):
    """It is what a graph is cached under."""
    one, other = make(graph_member), make(graph_member)
    assert one.recipe == other.recipe
    assert json.loads(json.dumps(one.recipe)).keys() == one.recipe.keys()
    first, second = one.build(plane).edge_sets(), other.build(plane).edge_sets()
    assert first.keys() == second.keys()
    for name, edges in first.items():
        assert torch.equal(edges.senders, second[name].senders)
        assert torch.equal(edges.receivers, second[name].receivers)
        assert torch.equal(edges.features, second[name].features)


@pytest.mark.parametrize("name", ["simple", "multiscale", "hierarchical"])
def test_no_radius_is_the_radius_that_reaches_no_further_node(name, make, plane):
    """On planes with a mesh spacing of 3 the next node is 2/3 away: edges as with 0.6, the former default."""
    graph, other = make(name).build(plane), make(name, grid_to_mesh_radius=0.6).build(plane)
    for edges, same in zip(graph.edge_sets().values(), other.edge_sets().values(), strict=True):
        torch.testing.assert_close(edges.senders, same.senders, rtol=0, atol=0)
        torch.testing.assert_close(edges.receivers, same.receivers, rtol=0, atol=0)
        torch.testing.assert_close(edges.features, same.features, rtol=0, atol=0)
    assert graph.grid_to_mesh.num_edges == plane.num_nodes
    assert make(name, grid_to_mesh_radius=0.67).build(plane).grid_to_mesh.num_edges > plane.num_nodes


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts_need_a_plane_with_room_for_two_levels(name, make, plane):
    with pytest.raises(UserError, match="have room for 1"):
        make(name, coarsening=5).build(plane)


def test_stored_needs_a_path(composed):
    with pytest.raises(UserError, match=r"graph\.path"):
        composed("graph=stored")
