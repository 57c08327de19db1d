"""The compiled library against plain operations: rows, sums and gradients."""

import pytest
import torch

from spacecast.nn import native
from spacecast.nn.blockwise import compute
from spacecast.nn.rows import Layers, Segments, Source, Task

NUMBER, RECEIVERS = 150, 50
TASKS = {
    "three edges each": {"degree": 3},
    "ragged": {"degree": None},
    "a bias, a mean, any width of what is read": {"degree": None, "biased": True, "mean": True, "read": 3, "width": 48},
    "rows of usual sizes": {"degree": 3, "width": 64, "read": 64, "mean": True},
    "rows of usual sizes, ragged": {"degree": None, "width": 32, "read": 7},
    "wide rows and a bias": {"degree": None, "width": 128, "read": 24, "biased": True},
    "narrow output without a norm": {"degree": 3, "norm": False, "mean": True, "read": 7, "size": 12},
    "sums alone": {"degree": 3, "norm": False, "biased": True, "size": 33, "kept": None},
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def made(degree, dtype, width=16, read=16, size=None, norm=True, biased=False, mean=False, kept=2):
    """A task with every kind of source, and the tensors that have gradients."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_()

    def numbers(low, high):
        return torch.randint(low, high, (NUMBER,), generator=generator)

    size = size or width
    nodes, receivers, kinds, edges = random(20, size), random(RECEIVERS, read), random(8, width), random(NUMBER, read)
    ends = torch.arange(RECEIVERS).repeat_interleave(3) if degree else numbers(2, RECEIVERS - 3).sort()[0]
    own = Source(receivers, repeat=degree) if degree else Source(receivers, ends)
    sources = [Source(nodes, numbers(0, 20)), own, Source(kinds, numbers(0, 8)), Source(edges)]
    weight, other, constant = random(width, size + 2 * read), random(size, width), random(size)
    scale, shift, bias = random(size), random(size), random(width)
    parts = weight.split([size, read, read], dim=1)
    products = [(0, parts[0]), (1, parts[1]), (2, None), (3, parts[2])]
    products = [products[1], products[0], *products[2:]] if biased else products
    layers = Layers(bias if biased else None, [(other, constant)], (scale, shift, 1e-5) if norm else None)
    factor = torch.rand(RECEIVERS, 1, generator=generator).to(dtype) if mean else None
    segments = Segments(ends, RECEIVERS, degree, factor)
    kept = -1 if size != width and kept is not None else kept
    task = Task(NUMBER, sources, products, layers, [0], kept, segments)
    return task, [nodes, receivers, kinds, edges, weight, other, constant, scale, shift, bias]


def results(task, tensors):
    """Rows, sums and gradients."""
    found = [each for each in compute(task, recompute=False) if each is not None]
    loss = sum((each * torch.linspace(-1, 1, each.numel(), dtype=each.dtype).view_as(each)).sum() for each in found)
    gradients = torch.autograd.grad(loss, tensors, allow_unused=True)
    return [each.detach() for each in (*found, *gradients) if each is not None]


@pytest.mark.parametrize("settings", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_equals_plain_operations(settings, dtype, tolerance, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if native.library(dtype) is None:
        pytest.skip("there is no C compiler")
    task, tensors = made(dtype=dtype, **settings)
    expected = results(task, tensors)
    monkeypatch.setenv(native.SWITCH, "on")
    called, usable = [], native.usable
    monkeypatch.setattr(native, "usable", lambda *given: called.append(usable(*given)) or called[-1])
    found = results(task, tensors)
    assert called == [True]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


def test_a_row_does_not_depend_on_its_place(monkeypatch):
    """What a node gets is the same bit for bit, whichever rows are computed beside it."""
    from spacecast.nn.mlp import MLP

    monkeypatch.setenv(native.SWITCH, "on")
    network, rows = MLP([7, 16, 16]), torch.randn(101, 7)
    assert torch.equal(network(rows)[53:], network(rows[53:].clone()))


def test_plain_operations_where_nothing_compiles(monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda _: None)
    assert native.library.__wrapped__(torch.float32) is None


def test_not_with_several_threads_nor_unasked(monkeypatch):
    from spacecast.nn.blocks import make_plan

    task, tensors = made(3, torch.float32)
    plan = make_plan(task, "nothing")
    monkeypatch.delenv(native.SWITCH, raising=False)
    assert not native.usable(plan, tensors)
    monkeypatch.setenv(native.SWITCH, "on")
    torch.set_num_threads(2)
    assert not native.usable(plan, tensors)
