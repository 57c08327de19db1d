"""Message passing against the concatenated form, edge by edge and by torch_geometric."""

import pytest
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet
from spacecast.nn.edges import EdgeBuffers
from spacecast.nn.interaction import InteractionNet

DIM, SENDERS, RECEIVERS, BATCH = 5, 4, 6, 2


@pytest.fixture
def edges():
    """Ragged in-degrees; receiver 5 and sender 3 have no edge."""
    senders, receivers = torch.tensor([0, 1, 2, 2, 0, 1, 1]), torch.tensor([0, 0, 0, 2, 3, 3, 4])
    return EdgeBuffers(EdgeSet(senders, receivers, torch.randn(7, 3), SENDERS, RECEIVERS))


@pytest.fixture
def vectors():
    torch.manual_seed(1)
    sizes = (SENDERS, RECEIVERS, 7)
    return [torch.randn(BATCH, size, DIM) for size in sizes]


def by_hand(net, senders, receivers, edge, index, aggregation):
    """The network of one graph, edge by edge, with the inputs of the first layers concatenated."""
    messages = torch.zeros_like(edge)
    for number, (s, r) in enumerate(zip(index.senders.tolist(), index.receivers.tolist(), strict=True)):
        messages[number] = net.edge_mlp(torch.cat([edge[number], senders[s], receivers[r]]))
        if net.propagation:
            messages[number] += senders[s]
    gathered = torch.zeros_like(receivers)
    for r in range(len(receivers)):
        mine = messages[index.receivers == r]
        if len(mine):
            gathered[r] = mine.mean(dim=0) if aggregation == "mean" else mine.sum(dim=0)
    change = net.aggr_mlp(torch.cat([receivers, gathered], dim=-1))
    return (gathered if net.propagation else receivers) + change, edge + messages


KINDS = [("interaction", "sum"), ("interaction", "mean"), ("propagation", "mean")]


@pytest.mark.parametrize(("kind", "aggregation"), KINDS)
@pytest.mark.parametrize("hidden_layers", [1, 2])
def test_split_first_layer_equals_the_concatenated_form(edges, vectors, kind, aggregation, hidden_layers):
    net = InteractionNet(DIM, hidden_layers=hidden_layers, kind=kind, aggregation=aggregation)
    flat = [each.flatten(0, 1) for each in vectors]
    receivers, edge = net(*flat, edges.index(BATCH))
    with torch.no_grad():
        one_by_one = [
            by_hand(net, *(each[b] for each in vectors), edges.index(1), aggregation) for b in range(BATCH)
        ]
    torch.testing.assert_close(receivers, torch.cat([new for new, _ in one_by_one]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(edge, torch.cat([new for _, new in one_by_one]), rtol=1e-5, atol=1e-5)


def test_a_propagation_network_always_averages(edges, vectors):
    torch.manual_seed(0)
    by_sum = InteractionNet(DIM, kind="propagation", aggregation="sum")
    torch.manual_seed(0)
    by_mean = InteractionNet(DIM, kind="propagation", aggregation="mean")
    flat = [each.flatten(0, 1) for each in vectors]
    torch.testing.assert_close(by_sum(*flat, edges.index(BATCH)), by_mean(*flat, edges.index(BATCH)))


@pytest.mark.parametrize("kind", ["interaction", "propagation"])
@pytest.mark.parametrize("static_receivers", [False, True])
def test_what_is_prepared_once_gives_the_same(edges, vectors, kind, static_receivers):
    """Static edges, and static receivers, are given without the batch."""
    net = InteractionNet(DIM, kind=kind)
    senders, receivers, edge = vectors
    receivers = receivers[:1].expand(BATCH, -1, -1) if static_receivers else receivers
    edge = edge[:1].expand(BATCH, -1, -1)
    expected = net(*(each.flatten(0, 1) for each in (senders, receivers, edge)), edges.index(BATCH))
    if static_receivers:
        prepared = net.prepare(edge[0], receivers[0], edges.index(1))
        found = net(senders.flatten(0, 1), receivers[0], prepared, edges.index(BATCH))
    else:
        found = net(senders.flatten(0, 1), receivers.flatten(0, 1), net.prepare(edge[0]), edges.index(BATCH))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "aggregation"), KINDS)
def test_torch_geometric_agrees(edges, vectors, kind, aggregation):
    from torch_geometric.nn import MessagePassing

    net = InteractionNet(DIM, kind=kind, aggregation=aggregation)

    class Concatenated(MessagePassing):
        def __init__(self):
            super().__init__(aggr=aggregation)

        def forward(self, senders, receivers, edge, index):
            gathered = self.propagate(index, x=(senders, receivers), edge=edge, size=(SENDERS, RECEIVERS))
            change = net.aggr_mlp(torch.cat([receivers, gathered], dim=-1))
            return change + (gathered if net.propagation else receivers)

        def message(self, x_j, x_i, edge):
            message = net.edge_mlp(torch.cat([edge, x_j, x_i], dim=-1))
            return message + x_j if net.propagation else message

    index = torch.stack([edges.index(1).senders, edges.index(1).receivers])
    one = [each[0] for each in vectors]
    torch.testing.assert_close(net(*one, edges.index(1))[0], Concatenated()(*one, index), rtol=1e-5, atol=1e-5)


def test_edges_are_returned_only_where_they_are_updated(edges, vectors):
    flat = [each.flatten(0, 1) for each in vectors]
    assert InteractionNet(DIM, update_edges=False)(*flat, edges.index(BATCH))[1] is None


def test_unknown_options_name_the_nearest():
    with pytest.raises(UserError, match=r"unknown kind 'propagate'; did you mean 'propagation'\?"):
        InteractionNet(DIM, kind="propagate")
    with pytest.raises(UserError, match="unknown aggregation 'max'; valid: sum, mean"):
        InteractionNet(DIM, aggregation="max")
