"""Networks of rows block by block against plain operations, values and gradients."""

import pytest
import torch
from torch.nn import functional

from spacecast.core.graph import EdgeSet
from spacecast.nn import blocks, interaction, mlp, native
from spacecast.nn.blockwise import compute
from spacecast.nn.edges import EdgeBuffers
from spacecast.nn.interaction import InteractionNet
from spacecast.nn.mlp import MLP
from spacecast.nn.rows import Source, Task, repeated

DIM, BATCH = 5, 2
GRAPHS = {
    "ragged": ([0, 1, 2, 2, 0, 1, 1], [0, 0, 0, 2, 3, 3, 4], 4, 6),
    "three edges each": ([0, 1, 2, 1, 2, 0, 2, 1, 3], [0, 0, 0, 1, 1, 1, 2, 2, 2], 4, 3),
    "one edge of each sender": ([3, 1, 0, 2], [0, 0, 1, 1], 4, 3),
    "no edge": ([], [], 3, 2),
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of three rows or so, by plain operations."""
    monkeypatch.setattr(blocks, "CACHED", 3 * DIM * 8)
    monkeypatch.setenv(native.SWITCH, "off")


def add_read(total, source, number, weight=None, bias=None):
    """Add what so many rows of a network read, or its product with a weight, made once for each row of the table."""
    if source.numbers is not None:
        table, numbers = source.table, source.numbers
        rows = table[numbers]
        rows = rows if weight is None else functional.linear(rows, weight, bias)
        return rows if total is None else total + rows
    table = source.table if weight is None else functional.linear(source.table, weight, bias)
    if total is None:
        rows = repeated(table, source.repeat)
        return rows if len(rows) == number else rows.repeat(number // len(rows), 1)
    graphs = number // max(len(table) * source.repeat, 1)
    return (total.view(graphs, len(table), source.repeat, table.shape[-1]) + table[:, None]).view_as(total)


def sum_segments(rows, segments):
    """Sums of the rows that have one receiver, times their factor."""
    sums = rows.new_zeros(segments.total, rows.shape[-1]).index_add_(0, segments.receivers, rows)
    return sums if segments.factor is None else sums * segments.factor.to(sums.dtype)


def plain(task, *, recompute):
    """Rows and sums of a task by plain operations, which autograd knows."""
    hidden = None
    bias = task.layers.bias
    for number, weight in task.products:
        hidden = add_read(hidden, task.sources[number], task.number, weight, bias)
        bias = bias if weight is None else None
    for weight, bias in task.layers.others:
        hidden = functional.linear(functional.silu(hidden), weight, bias)
    if task.layers.norm is not None:
        weight, bias, epsilon = task.layers.norm
        hidden = functional.layer_norm(hidden, hidden.shape[-1:], weight, bias, epsilon)
    for number in task.after:
        hidden = add_read(hidden, task.sources[number], task.number)
    sums = None if task.segments is None else sum_segments(hidden, task.segments)
    if task.kept is None:
        return None, sums
    return hidden if task.kept < 0 else add_read(hidden, task.sources[task.kept], task.number), sums


@pytest.fixture(params=[False, True], ids=["kept", "computed again"])
def recompute(request):
    return request.param


def by_plain_operations(monkeypatch):
    for module in (interaction, mlp):
        monkeypatch.setattr(module, "compute", plain)


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
def test_message_passing_is_the_same(graph, kind, aggregation, hidden_layers, static, recompute, monkeypatch):
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

    found = values_and_gradients(recomputing(net, recompute), tensors, run)
    by_plain_operations(monkeypatch)
    for one, other in zip(values_and_gradients(net, tensors, run), found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("shape", [(7,), (2, 5), (0,)])
def test_a_perceptron_is_the_same(layer_norm, shape, residual, recompute, monkeypatch):
    net = recomputing(MLP([4, DIM, 4], layer_norm=layer_norm).double(), recompute)
    values = torch.randn(*shape, 4, dtype=torch.float64)

    def run(x):
        return [net(x, residual=residual)]

    found = values_and_gradients(net, [values], run)
    by_plain_operations(monkeypatch)
    for one, other in zip(values_and_gradients(net, [values], run), found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_frozen_weights_and_inputs_without_gradients_get_none():
    net = recomputing(MLP([3, DIM, 4]), True)
    net[0].weight.requires_grad_(False)
    values = torch.randn(7, 3)
    net(values).sum().backward()
    assert net[0].weight.grad is None
    assert net[0].bias.grad is not None


def test_what_is_kept_of_the_inside(recompute):
    """What comes out of both linear layers, or none of it; in each case two numbers of a row."""
    net = recomputing(MLP([DIM, DIM, DIM]), recompute)
    values, kept = torch.randn(50, DIM, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        net(values)
    given = {each.data_ptr() for each in (values, *net.parameters())}
    inside = [each.shape for each in kept if each.data_ptr() not in given]
    assert sum(rows for rows, size in inside if size == DIM) == (0 if recompute else 2 * 50)
    assert sum(rows for rows, size in inside if size == 1) == 2 * 50


def test_without_gradients_nothing_is_kept(monkeypatch):
    net, kept = MLP([DIM, DIM]), []
    monkeypatch.setattr(blocks.Plan, "found", lambda self, *_: kept.append(self.keep) or [])
    net(torch.randn(7, DIM))
    with torch.no_grad():
        net(torch.randn(7, DIM))
    assert kept[0] == "layers"
    assert kept[-1] == "nothing"


def test_gradients_that_came_in_are_left_alone():
    """Those of a table that two graphs read are summed in memory of their own."""
    net = MLP([DIM, DIM])
    task = Task(
        number=6,
        sources=[Source(torch.randn(6, DIM)), Source(torch.randn(3, DIM, requires_grad=True))],
        products=[(0, net.first.weight)],
        layers=net.layers(),
        after=[1],
    )
    rows, _ = compute(task, recompute=False)
    gradient = torch.randn(6, DIM)
    given = gradient.clone()
    rows.backward(gradient)
    assert torch.equal(gradient, given)
    torch.testing.assert_close(task.sources[1].table.grad, given[:3] + given[3:])


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
