"""Networks of rows block by block against plain operations, values and gradients."""

import pytest
import torch

from spacecast.core.graph import EdgeSet
from spacecast.nn import blocks
from spacecast.nn.edges import EdgeBuffers
from spacecast.nn.interaction import InteractionNet
from spacecast.nn.mlp import MLP

DIM, BATCH = 5, 2
GRAPHS = {
    "ragged": ([0, 1, 2, 2, 0, 1, 1], [0, 0, 0, 2, 3, 3, 4], 4, 6),
    "three edges each": ([0, 1, 2, 1, 2, 0, 2, 1, 3], [0, 0, 0, 1, 1, 1, 2, 2, 2], 4, 3),
    "one edge of each sender": ([3, 1, 0, 2], [0, 0, 1, 1], 4, 3),
    "no edge": ([], [], 3, 2),
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of three rows or so."""
    monkeypatch.setattr(blocks, "CACHED", 3 * DIM * 8)


def recomputing(net, recompute):
    for part in net.modules():
        if isinstance(part, MLP):
            part.recompute = recompute
    return net


def values_and_gradients(net, tensors, run):
    """What `run` makes of the tensors and the gradients of all tensors and weights, of an uneven loss."""
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    net.zero_grad()
    results = [result for result in run(*tensors) if result is not None]
    sum((result * torch.arange(result.numel()).view_as(result).cos()).sum() for result in results).backward()
    gradients = [each.grad for each in (*tensors, *net.parameters())]
    return [*results, *gradients]


def edges_of(graph):
    senders, receivers, *sizes = GRAPHS[graph]
    senders, receivers = (torch.tensor(each, dtype=torch.long) for each in (senders, receivers))
    torch.manual_seed(0)
    kinds = torch.randn(2, 3)[torch.arange(len(senders)) % 2]  # two kinds of edges
    return EdgeBuffers(EdgeSet(senders, receivers, kinds, *sizes))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    ("kind", "aggregation"), [("interaction", "sum"), ("interaction", "mean"), ("propagation", "mean")]
)
@pytest.mark.parametrize(("hidden_layers", "static"), [(1, "edges"), (2, "receivers"), (0, "nothing")])
def test_message_passing_is_the_same(graph, kind, aggregation, hidden_layers, static):
    edges = edges_of(graph)
    net = InteractionNet(DIM, hidden_layers=hidden_layers, kind=kind, aggregation=aggregation).double()
    alone = 1 if static == "receivers" else BATCH
    rows = (BATCH * edges.num_senders, alone * edges.num_receivers)
    last = BATCH * len(edges.senders) if static == "nothing" else len(edges.features)
    tensors = [torch.randn(count, DIM, dtype=torch.float64) for count in (*rows, last)]

    def run(senders, receivers, edge):
        prepared = edge
        if static == "receivers":
            prepared = net.prepare(edge, receivers, edges.index(1))
        return net(senders, receivers, prepared, edges.index(BATCH))

    plain, again = (values_and_gradients(recomputing(net, recompute), tensors, run) for recompute in (False, True))
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("shape", [(7,), (2, 5), (0,)])
def test_a_perceptron_is_the_same(layer_norm, shape):
    net = MLP([3, DIM, 4], layer_norm=layer_norm).double()
    values = torch.randn(*shape, 3, dtype=torch.float64)
    plain, again = (
        values_and_gradients(recomputing(net, recompute), [values], lambda x: [net(x)]) for recompute in (False, True)
    )
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_frozen_weights_and_inputs_without_gradients_get_none():
    net = recomputing(MLP([3, DIM, 4]), True)
    net[0].weight.requires_grad_(False)
    values = torch.randn(7, 3)
    net(values).sum().backward()
    assert net[0].weight.grad is None
    assert net[0].bias.grad is not None


@pytest.mark.parametrize("recompute", [False, True])
def test_nothing_of_the_inside_is_kept(recompute):
    net = recomputing(MLP([DIM, DIM, DIM]), recompute)
    values, kept = torch.randn(50, DIM, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        net(values)
    inside = {each.data_ptr() for each in kept if each.shape == (50, DIM)} - {values.data_ptr()}
    assert bool(inside) != recompute


@pytest.mark.parametrize("recompute", [False, True])
def test_messages_are_summed_in_single_precision_in_a_mixed_one(recompute):
    """In half precision the sum of ones ends at 256."""
    count = 2000
    receivers = torch.zeros(count, dtype=torch.long)
    edges = EdgeBuffers(EdgeSet(torch.arange(count), receivers, torch.randn(count, 3), count, 2))
    net = recomputing(InteractionNet(DIM), recompute)
    torch.nn.init.zeros_(net.edge_mlp[-1].weight)
    torch.nn.init.ones_(net.edge_mlp[-1].bias)
    with torch.autocast("cpu", torch.bfloat16):
        prepared = net.prepare(torch.randn(count, DIM))
        sums, rows = net._messages(torch.randn(count, DIM), torch.randn(2, DIM), prepared, edges.index(1))
        new, _ = net(torch.randn(count, DIM), torch.randn(2, DIM), prepared, edges.index(1))
    assert sums.dtype == rows.dtype == new.dtype == torch.float32
    assert torch.equal(sums, torch.tensor([[float(count)], [0.0]]).expand(2, DIM))
