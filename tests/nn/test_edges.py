"""EdgeBuffers of a batch laid side by side."""

import pytest
import torch

from spacecast.core.graph import EdgeSet
from spacecast.nn.blocks import add_sums, make_reading, scale_sums
from spacecast.nn.edges import EdgeBuffers, add_shared, distinct_rows
from spacecast.nn.rows import repeated


def edge_set(senders, receivers, num_senders, num_receivers):
    features = torch.arange(3.0 * len(senders)).reshape(-1, 3)
    return EdgeSet(torch.tensor(senders), torch.tensor(receivers), features, num_senders, num_receivers)


def sum_segments(rows, segments):
    sums = rows.new_zeros(segments.total, rows.shape[-1])
    add_sums(segments, sums, 0, len(rows), rows)
    return scale_sums(segments, sums)


def read(source, number, graphs=2):
    """What so many rows of the graphs of a batch read, graph by graph."""
    reading, own = make_reading(source, number), number // graphs
    rows = [reading.rows(source.table, first, first + own) for first in range(0, number, own)]
    return repeated(torch.cat(rows), source.repeat)


CASES = {
    "ragged, last receiver without an edge": ([0, 2, 1, 0, 2], [0, 0, 1, 3, 3], 3, 5),
    "two edges each": ([0, 2, 1, 0, 2, 2], [0, 0, 1, 1, 2, 2], 3, 3),
    "no edge at all": ([], [], 3, 2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("batch", [1, 3])
def test_sum_and_mean_are_those_of_a_plain_loop(case, batch):
    senders, _, num_senders, num_receivers = case
    empty = torch.zeros(0, dtype=torch.long)
    edges = EdgeSet(empty, empty, torch.zeros(0, 3), num_senders, num_receivers) if not senders else edge_set(*case)
    index = EdgeBuffers(edges).index(batch)
    messages = torch.randn(batch, len(senders), 4, dtype=torch.float64)
    total = torch.zeros(batch, num_receivers, 4, dtype=torch.float64)
    count = torch.zeros(num_receivers, 1, dtype=torch.float64)
    for number, receiver in enumerate(edges.receivers.tolist()):
        total[:, receiver] += messages[:, number]
        count[receiver] += 1
    messages = messages.flatten(0, 1)
    torch.testing.assert_close(sum_segments(messages, index.segments(mean=False)), total.flatten(0, 1))
    mean = total / count.clamp(min=1)
    found = sum_segments(messages, index.segments(mean=True))
    torch.testing.assert_close(found, mean.flatten(0, 1), rtol=1e-6, atol=1e-6)


def test_graphs_of_a_batch_do_not_touch():
    edges = EdgeBuffers(edge_set([0, 2, 1], [0, 1, 3], 3, 5))
    index = edges.index(2)
    assert index.senders.tolist() == [0, 2, 1, 3, 5, 4]
    assert index.receivers.tolist() == [0, 1, 3, 5, 6, 8]
    assert index.num_receivers == 10


def test_edges_leave_no_trace_in_the_state_dict():
    assert not EdgeBuffers(edge_set([0, 2, 1], [0, 1, 3], 3, 5)).state_dict()


def test_shared_rows_are_added_to_every_graph():
    shared, own = torch.randn(3, 2), torch.randn(6, 2)
    torch.testing.assert_close(add_shared(shared, own), own + shared.repeat(2, 1))
    torch.testing.assert_close(add_shared(own, own), 2 * own)


def test_an_index_made_in_inference_mode_serves_training():
    edges = EdgeBuffers(edge_set([0, 2, 1], [0, 1, 3], 3, 5))
    with torch.inference_mode():
        edges.index(2)
    nodes = torch.randn(6, 2, requires_grad=True)
    index = edges.index(2)
    messages = nodes.index_select(0, index.senders)
    sum_segments(messages, index.segments(mean=True)).square().sum().backward()
    assert torch.isfinite(nodes.grad).all()


def test_edges_of_one_length_and_direction_share_a_row():
    features = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, -1.0], [0.5, 0.25, 0.0]])
    kinds = torch.tensor([2, 0, 1, 1, 0, 2, 0])
    rows, found = distinct_rows(features[kinds])
    assert len(rows) == 3
    assert torch.equal(rows[found], features[kinds])
    assert distinct_rows(torch.randn(7, 3)) is None
    assert distinct_rows(torch.zeros(0, 3)) is None


def test_what_follows_from_the_kind_is_added_to_each_edge():
    senders, receivers = [0, 2, 1, 0, 2, 2], [0, 0, 1, 1, 2, 2]
    kinds = torch.tensor([1, 0, 0, 1, 1, 1])
    features = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    edges = EdgeBuffers(EdgeSet(torch.tensor(senders), torch.tensor(receivers), features[kinds], 3, 3))
    assert len(edges.features) == 2
    own, double = torch.randn(12, 3), 2 * features[kinds]
    index = edges.index(2)
    torch.testing.assert_close(index.add_static(2 * edges.features, own), own + double.repeat(2, 1))
    torch.testing.assert_close(index.add_static(double, own), own + double.repeat(2, 1))
    torch.testing.assert_close(index.add_static(own, own), 2 * own)
    nodes = torch.randn(6, 3)
    for static, expected in ((2 * edges.features, double.repeat(2, 1)), (double, double.repeat(2, 1)), (own, own)):
        assert torch.equal(read(index.static(static), 12), expected)
    source, _ = index.of_receivers(nodes, torch.eye(3))
    assert torch.equal(read(source, 12), nodes[index.receivers])
