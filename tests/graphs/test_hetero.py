"""Conversion to torch_geometric and back, judged by its utilities."""

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.hetero import edge_types, from_hetero, to_hetero

pytest.importorskip("torch_geometric")


@pytest.fixture(scope="module", params=[("simple", 1), ("multiscale", 3), ("hierarchical", 3)], ids=lambda one: one[0])
def case(request, plane):
    grid = plane()
    return MeshGraphBuilder(request.param[0], levels=request.param[1]).build(grid), grid


def test_round_trip(case):
    graph, grid = case
    back = from_hetero(to_hetero(graph, grid))
    assert back.content_hash == graph.content_hash
    assert back.recipe == graph.recipe
    assert back.length_scale == graph.length_scale
    assert torch.equal(back.levels[-1].positions, graph.levels[-1].positions)


def test_torch_geometric_finds_it_sound(case):
    from torch_geometric.utils import coalesce, contains_isolated_nodes, contains_self_loops, is_undirected

    graph, grid = case
    data = to_hetero(graph, grid)
    assert data.validate(raise_on_error=True)
    assert not data.has_isolated_nodes()
    assert not data.has_self_loops()
    for level in range(len(graph.levels)):
        store = data[edge_types(len(graph.levels))[f"m2m_{level}"]]
        nodes = graph.levels[level].num_nodes
        assert is_undirected(store.edge_index, num_nodes=nodes)
        assert is_undirected(store.edge_index, store.edge_attr[:, 0], num_nodes=nodes)
        assert not contains_isolated_nodes(store.edge_index, nodes)
        assert not contains_self_loops(store.edge_index)
        assert coalesce(store.edge_index).shape == store.edge_index.shape
    assert data["grid"].pos.shape == (grid.num_nodes, 2)


def test_connected(case):
    """Everything can reach everything: one weakly connected component."""
    from scipy.sparse.csgraph import connected_components
    from torch_geometric.utils import to_scipy_sparse_matrix

    whole = to_hetero(case[0]).to_homogeneous(add_node_type=False)
    assert connected_components(to_scipy_sparse_matrix(whole.edge_index), directed=True, connection="strong")[0] == 1


def test_transforms_come_back(case):
    from torch_geometric.transforms import ToUndirected

    graph, _ = case
    data = to_hetero(graph)
    more = ToUndirected(merge=False)(data)
    assert len(more.edge_types) > len(graph.edge_sets())
    assert from_hetero(more).content_hash == graph.content_hash


def test_missing_edge_type_is_named(case):
    data = to_hetero(case[0])
    del data[("mesh_0", "m2g", "grid")]
    with pytest.raises(UserError, match="m2g"):
        from_hetero(data)
