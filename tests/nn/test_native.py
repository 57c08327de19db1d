"""The compiled library against plain operations: rows, sums and gradients."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.nn import native
from spacecast.nn.blocks import make_plan
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


def task_tensors(task):
    """The tables, weights and biases of a task."""
    tables = [source.table for source in task.sources]
    return [*tables, *(weight for _, weight in task.products if weight is not None)]


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
    monkeypatch.setenv(native.SWITCH, "off")
    expected = results(task, tensors)
    monkeypatch.setenv(native.SWITCH, "on")
    called, usable = [], native.usable
    monkeypatch.setattr(native, "usable", lambda *given: called.append(usable(*given)) or called[-1])
    found = results(task, tensors)
    assert called == [True]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


@pytest.mark.parametrize(("wide", "columns"), [(32, slice(3, 32)), (32, slice(0, 16)), (16, slice(0, 16))])
def test_tables_may_be_columns_of_wider_ones(wide, columns, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    table, weight, other = (
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((NUMBER, wide), (16, wide), (16, 16))
    )
    bias, narrow = torch.zeros(16, dtype=torch.float64), weight[:, columns]
    task = Task(NUMBER, [Source(table[:, columns])], [(0, narrow)], Layers(bias, [(other, bias)], None))
    if not native.usable(make_plan(task, "layers"), task_tensors(task)):
        pytest.skip("there is no C compiler")
    found = results(task, [table, weight, other])
    monkeypatch.setenv(native.SWITCH, "off")
    for mine, expected in zip(found, results(task, [table, weight, other]), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("settings", TASKS.values(), ids=TASKS)
def test_threads_take_parts_and_settle_nothing_by_time(settings, threads, monkeypatch):
    """A few units of the last place from one thread, and the same bit for bit each time."""
    monkeypatch.setattr(native, "FEWEST", 10)
    task, tensors = made(dtype=torch.float64, **settings)
    if not native.usable(make_plan(task, "layers"), task_tensors(task)):
        pytest.skip("there is no C compiler")
    alone = results(task, tensors)
    torch.set_num_threads(threads)
    assert native._parts(make_plan(task, "layers")) == threads
    first = results(task, tensors)
    for mine, other in zip(first, alone, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-13 * float(other.abs().max()))
    for _ in range(5):
        assert all(map(torch.equal, results(task, tensors), first))


def test_a_part_may_have_no_row(monkeypatch):
    """All rows have one receiver, so that one thread takes all."""
    monkeypatch.setattr(native, "FEWEST", 10)
    task, tensors = made(None, torch.float64)
    segments = task.segments._replace(receivers=torch.full((NUMBER,), 30))
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(results(task._replace(segments=segments), tensors))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-13 * float(other.abs().max()))


def test_a_row_does_not_depend_on_its_place(monkeypatch):
    """What a node gets is the same bit for bit, whichever rows are computed beside it."""
    from spacecast.nn.mlp import MLP

    monkeypatch.setenv(native.SWITCH, "on")
    network, rows = MLP([7, 16, 16]), torch.randn(101, 7)
    assert torch.equal(network(rows)[53:], network(rows[53:].clone()))


def test_plain_operations_where_nothing_compiles(monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda _: None)
    assert native.library.__wrapped__(torch.float32) is None


def compiler(folder, script):
    """A folder with a C compiler that does as a script says."""
    folder.mkdir(exist_ok=True)
    path = folder / "cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A cache of its own and a source that compiles at once; skipped where nothing compiles."""
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "library.c").write_text("int forward(void) { return 7; }\n")
    monkeypatch.setattr(native, "FOLDER", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def test_compiled_once_which_the_log_tells(small, tmp_path, caplog):
    caplog.set_level("INFO", "spacecast")
    for _ in range(2):
        assert native.library.__wrapped__(torch.float32).forward() == 7
    assert [record.getMessage() for record in caplog.records] == [
        "compiling kernels for this processor, which takes some seconds, once"
    ]
    assert len(list((tmp_path / "cache" / "spacecast").iterdir())) == 1


@pytest.mark.parametrize("script", ["echo no >&2; exit 1", "exit 0", "kill -9 $$"])
def test_a_compiler_that_fails_leaves_plain_operations_and_nothing_else(small, script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{compiler(tmp_path / 'bin', script)}:/bin")
    assert native.library.__wrapped__(torch.float32) is None
    assert not list((tmp_path / "cache" / "spacecast").iterdir())


def test_a_file_that_is_no_library_leaves_plain_operations(small, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{compiler(tmp_path / 'bin', 'for last; do true; done; : > $last')}:/bin")
    assert native.library.__wrapped__(torch.float32) is None


@pytest.mark.usefixtures("small")
def test_plain_operations_where_no_cache_can_be_written(tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG", "spacecast")
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert native.library.__wrapped__(torch.float32) is None
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user whom the system does not know
    assert native.library.__wrapped__(torch.float32) is None
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]


def test_two_processes_may_compile_at_once(small, tmp_path, monkeypatch):
    """Compilers wait for each other, so that both compile; both get a whole library, and one file is left."""
    (tmp_path / "met").mkdir()
    wait = f"touch {tmp_path}/met/$$; while [ $(ls {tmp_path}/met | wc -l) -lt 2 ]; do sleep 0.01; done"
    folder = compiler(tmp_path / "bin", f'{wait}; exec {small} "$@"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    program = (
        "import sys; from pathlib import Path; import torch; from spacecast.nn import native; "
        "native.FOLDER = Path(sys.argv[1]); print(native.library(torch.float32).forward())"
    )
    line = [sys.executable, "-c", program, str(tmp_path / "kernels")]
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [each.communicate(timeout=600)[0] for each in both] == ["7\n", "7\n"]
    assert len(list((tmp_path / "cache" / "spacecast").iterdir())) == 1


def test_forecasts_with_and_without_differ_by_rounding(tiny_spec, tiny_graph, monkeypatch):
    """In single precision, by a few units of the last place of the largest value; a checkpoint knows of neither."""
    torch.manual_seed(0)
    model = EncodeProcessDecode(tiny_spec, tiny_graph, hidden_dim=32, processor_layers=2).requires_grad_(False)
    state, forcing = torch.randn(2, tiny_spec.num_nodes, 12), torch.zeros(2, tiny_spec.num_nodes, 0)
    found = {}
    for switch in ("on", "off"):
        monkeypatch.setenv(native.SWITCH, switch)
        states = [state, state]
        for _ in range(4):
            states.append(model.step(states[-2], states[-1], forcing, model.prepare()).state)
        found[switch] = states[-1]
    assert not torch.equal(found["on"], found["off"]) or native.library(torch.float32) is None
    torch.testing.assert_close(found["on"], found["off"], rtol=0, atol=1e-5 * float(state.abs().max()))


def test_not_when_switched_off(monkeypatch):
    task, tensors = made(3, torch.float32)
    plan = make_plan(task, "nothing")
    monkeypatch.setenv(native.SWITCH, "off")
    assert not native.usable(plan, tensors)
    monkeypatch.delenv(native.SWITCH)
    assert native.usable(plan, tensors) == (native.library(torch.float32) is not None)
