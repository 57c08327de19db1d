"""Every planted fault is found and named."""

from dataclasses import replace

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.validation import validate


def only(edges: EdgeSet, keep: torch.Tensor) -> EdgeSet:
    return replace(edges, senders=edges.senders[keep], receivers=edges.receivers[keep], features=edges.features[keep])


def with_level(graph, number, **changes):
    levels = list(graph.levels)
    levels[number] = replace(levels[number], **changes)
    return replace(graph, levels=tuple(levels))


def lone_neighbour(graph):
    edges = graph.levels[0].edges
    return with_level(graph, 0, edges=only(edges, (edges.receivers != 5) & (edges.senders != 5)))


def one_way(graph):
    edges = graph.levels[0].edges
    return with_level(graph, 0, edges=only(edges, torch.arange(edges.num_edges) != 7))


def doubled(graph):
    edges = graph.levels[1].edges
    return with_level(graph, 1, edges=only(edges, torch.cat([torch.arange(edges.num_edges), torch.tensor([0])])))


def turned(graph):
    """Vectors of the first up edges reversed."""
    features = graph.up[0].features * torch.tensor([1, -1, -1])
    return replace(graph, up=(replace(graph.up[0], features=features), *graph.up[1:]))


def not_finite(graph):
    features = graph.mesh_to_grid.features.clone()
    features[3] = torch.nan
    return replace(graph, mesh_to_grid=replace(graph.mesh_to_grid, features=features))


FAULTS = {
    r"1 of \d+ mesh nodes of level 0 get nothing from the grid": lambda g: replace(
        g, grid_to_mesh=only(g.grid_to_mesh, g.grid_to_mesh.receivers != 3)
    ),
    "1 of .* cells feed no": lambda g: replace(g, grid_to_mesh=only(g.grid_to_mesh, g.grid_to_mesh.senders != 9)),
    r"cells are reached from no mesh node \(first number 17\)": lambda g: replace(
        g, mesh_to_grid=only(g.mesh_to_grid, g.mesh_to_grid.receivers != 17)
    ),
    "level 0 have no neighbour": lone_neighbour,
    "have no reverse": one_way,
    "m2m_1 are there twice": doubled,
    "level 0 have no parent": lambda g: replace(g, up=(only(g.up[0], g.up[0].senders != 2), *g.up[1:])),
    "level 1 have no child": lambda g: replace(g, up=(bent(g.up[0]), *g.up[1:])),
    "level 0 get nothing from level 1": lambda g: replace(
        g, down=(only(g.down[0], g.down[0].receivers != 2), *g.down[1:])
    ),
    "edges up_0 disagree": turned,
    "1 of .* edges m2g disagree": not_finite,
    "outside the plane": lambda g: with_level(g, 1, positions=g.levels[1].positions + 40),
    "features of level 0 disagree": lambda g: with_level(g, 0, features=2 * g.levels[0].features),
    "edges g2m disagree": lambda g: replace(g, length_scale=2 * g.length_scale),
}


def bent(edges: EdgeSet) -> EdgeSet:
    """All children of node 0 given to node 1."""
    return replace(edges, receivers=edges.receivers.clamp(min=1))


@pytest.fixture(scope="module")
def sound(plane):
    grid = plane(42, 30)
    return MeshGraphBuilder("hierarchical", levels=3, mesh_spacing=2, coarsening=2).build(grid), grid


@pytest.mark.parametrize("words", FAULTS)
def test_fault_is_named_in_one_line(sound, words):
    graph, grid = sound
    with pytest.raises(UserError, match=words) as caught:
        validate(FAULTS[words](graph), grid)
    assert "\n" not in str(caught.value)


def test_sound_graph_passes_as_it_is(sound):
    graph, grid = sound
    before = graph.content_hash
    validate(graph, grid)
    assert graph.content_hash == before


def test_other_mask_is_refused(sound, plane):
    graph, _ = sound
    with pytest.raises(UserError, match="grid nodes, the data have"):
        validate(graph, plane(42, 30, hole=5.0))


def test_published_faults_are_forgiven_only_in_published_graphs(sound):
    graph, grid = sound
    validate(replace(turned(graph), recipe={"builder": "reference"}), grid)
    validate(replace(turned(graph), recipe={"builder": "stored"}), grid)
    with pytest.raises(UserError):
        validate(replace(turned(graph), recipe={"builder": "mesh"}), grid)
