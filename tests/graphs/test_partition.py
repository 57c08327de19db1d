"""Parts of a grid and its mesh graph: nothing is lost, nothing is there twice, and all know what they exchange."""

import dataclasses

import numpy as np
import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.shards import ShardGroup
from spacecast.graphs.partition import part_of

SIZE = 3


@pytest.fixture(scope="module", params=[1, 2, 3])
def graph(request, tiny_grid, graph_factory):
    return graph_factory(tiny_grid, request.param)


@pytest.fixture(scope="module")
def parts(tiny_spec, graph):
    return [part_of(tiny_spec, graph, ShardGroup(rank, SIZE)) for rank in range(SIZE)]


def given(halos, rank, rows):
    """The rows of others that a process takes, in order, when each has its rows."""
    taken = []
    for giver, halo in enumerate(halos):
        numbers = halo.send.split(halo.sent)[rank]
        assert halos[rank].received[giver] == len(numbers)
        taken.append(rows[giver][numbers])
    return torch.cat(taken)


def test_parts_are_the_grid_in_order(tiny_spec, parts):
    specs = [spec for spec, _ in parts]
    assert np.array_equal(np.concatenate([spec.grid.positions for spec in specs]), tiny_spec.grid.positions)
    assert np.array_equal(np.concatenate([spec.static_values for spec in specs]), tiny_spec.static_values)
    assert np.array_equal(np.concatenate([spec.boundary for spec in specs]), tiny_spec.boundary)
    assert np.ptp([spec.num_nodes for spec in specs]) <= 1
    shares = [spec.part.share for spec in specs]
    assert shares == [spec.interior.sum() / tiny_spec.interior.sum() for spec in specs]
    values = torch.randn(2, tiny_spec.num_nodes, 3)
    assert torch.equal(torch.cat([spec.part.cut(values) for spec in specs], dim=1), values)


def test_every_edge_is_in_one_part_and_reads_its_sender(graph, parts):
    """Receivers and senders are told by their features, for numbers differ."""
    for name, whole in graph.edge_sets().items():
        cut = [part.edge_sets()[name] for _, part in parts]
        assert sum(edges.num_edges for edges in cut) == whole.num_edges
        assert sum(edges.num_receivers for edges in cut) == whole.num_receivers
        assert sum(edges.num_senders for edges in cut) == whole.num_senders
        senders, receivers = owned(name, graph, parts, "sender"), owned(name, graph, parts, "receiver")
        halos = [edges.halo for edges in cut]
        found = set()
        for rank, edges in enumerate(cut):
            rows = torch.cat([senders[rank], given(halos, rank, senders)])
            pairs = torch.stack([rows[edges.senders], receivers[rank][edges.receivers]], dim=1)
            found |= {(*pair, *each) for pair, each in zip(pairs.tolist(), edges.features.tolist(), strict=True)}
        wanted = torch.stack([whole.senders, whole.receivers], dim=1).tolist()
        assert found == {(*pair, *each) for pair, each in zip(wanted, whole.features.tolist(), strict=True)}


def owned(name, graph, parts, end):
    """Numbers, in the whole graph, of the nodes that each part owns at one end of an edge set."""
    kind, _, level = name.partition("_")
    low = int(level or 0)
    sets = {"g2m": ("grid", 0), "m2g": (0, "grid"), "m2m": (low, low), "up": (low, low + 1)}
    sets["down"] = sets["up"][::-1]
    nodes = sets[kind][end == "receiver"]
    if nodes == "grid":
        return [torch.arange(spec.part.start, spec.part.stop) for spec, _ in parts]
    number = {tuple(place): number for number, place in enumerate(graph.levels[nodes].positions.tolist())}
    positions = [part.levels[nodes].positions.tolist() for _, part in parts]
    return [torch.tensor([number[tuple(place)] for place in each], dtype=torch.int64) for each in positions]


def test_own_nodes_with_those_beside_them_have_all_their_neighbours(tiny_spec, parts):
    halos = [spec.part.halo for spec, _ in parts]
    numbers = [torch.arange(spec.part.start, spec.part.stop) for spec, _ in parts]
    for rank, (spec, _) in enumerate(parts):
        part = spec.part
        wide = torch.cat([numbers[rank], given(halos, rank, numbers)])[part.order]
        assert np.array_equal(part.wide.positions, tiny_spec.grid.positions[wide])
        own = slice(*part.own)
        assert torch.equal(wide[own], numbers[rank])
        assert np.array_equal(wide[part.wide.neighbours[:, own]], tiny_spec.grid.neighbours[:, numbers[rank]])


def test_halos_are_surfaces(tiny_spec, parts):
    """A slab has two sides, of two cells at most where it begins within a column."""
    for spec, _ in parts:
        assert spec.part.halo.size <= 2 * (tiny_spec.grid.shape[1] + 1)


def test_a_part_without_anything_to_forecast_is_refused(tiny_spec, graph):
    driven = dataclasses.replace(tiny_spec, boundary=tiny_spec.grid.positions[:, 0] > 0)
    with pytest.raises(UserError, match=r"trainer.shards=3: part 3 of 3 has no node that is forecast; take fewer"):
        part_of(driven, graph, ShardGroup(0, SIZE))
