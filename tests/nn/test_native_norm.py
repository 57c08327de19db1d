"""Norm, SiLU and the clearing of holes in one compiled pass against plain operations."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from spacecast.nn import native, native_norm
from spacecast.nn.cells import CellLevel, DenseLevel, EdgeLevel
from spacecast.nn.directional import ChannelNorm

SHAPE = (13, 9)
VALID = np.random.default_rng(0).random(SHAPE) < 0.8
LEVELS = {
    "holes": DenseLevel(VALID),
    "no holes": DenseLevel(np.ones(SHAPE, dtype=bool)),
    "holes that send": DenseLevel(VALID, masked=False),
    "the first and the last cell": DenseLevel(~np.isin(np.arange(117), [0, 116]).reshape(SHAPE)),
    "nodes": EdgeLevel(VALID),
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv(native.SWITCH, "on")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def compiled():
    if native.library(torch.float32) is None or native.library(torch.float64) is None:
        pytest.skip("there is no C compiler")


def made(level: CellLevel, channels: int = 48, dtype: torch.dtype = torch.float64) -> tuple[ChannelNorm, torch.Tensor]:
    """A norm with any weights, and three batch items of cells."""
    torch.manual_seed(0)
    norm = ChannelNorm(channels).to(dtype)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    inner = SHAPE if isinstance(level, DenseLevel) else (np.count_nonzero(VALID),)
    return norm, (3 * torch.randn(3, *inner, channels, dtype=dtype) + 1).requires_grad_()


def results(norm: ChannelNorm, values: torch.Tensor, level: CellLevel, picked: bool = False) -> list[torch.Tensor]:
    """What comes out, and gradients."""
    found = norm.activated(values, level, None, picked=picked)
    given = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(1))
    before = given.clone()
    gradients = torch.autograd.grad(found, [values, norm.weight, norm.bias], given)
    assert torch.equal(given, before)
    return [found.detach(), *gradients]


def is_compiled(found: torch.Tensor) -> bool:
    """Whether the compiled pass has made it."""
    return type(found.grad_fn).__name__ == "NormSiluBackward"


@pytest.mark.parametrize("picked", [False, True])
@pytest.mark.parametrize("channels", [16, 48, 64, 96, 112])
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_equals_plain_operations(compiled, level, channels, dtype, tolerance, picked, monkeypatch):
    norm, values = made(level, channels, dtype)
    assert is_compiled(norm.activated(values, level, None, picked=picked))
    found = results(norm, values, level, picked)
    monkeypatch.setenv(native.SWITCH, "off")
    for mine, other in zip(found, results(norm, values, level, picked), strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


@pytest.mark.parametrize("picked", [False, True])
@pytest.mark.parametrize("level", [LEVELS["holes"], LEVELS["nodes"]])
def test_gradients_are_those_of_differences(compiled, level, picked):
    norm, values = made(level, 16)
    sample = values.detach()[:2].requires_grad_()

    def function(given, scale, shift):
        holes = level.skipped(picked=picked)
        return native_norm.NormSilu.apply(given, scale, shift, norm.eps, holes, picked)

    assert torch.autograd.gradcheck(function, (sample, norm.weight, norm.bias), fast_mode=True)


@pytest.mark.parametrize("picked", [False, True])
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_threads_take_parts_and_settle_nothing_by_time(compiled, level, threads, picked, monkeypatch):
    """The same from each number of threads but for the order of sums over rows, and bit for bit each time."""
    monkeypatch.setattr(native_norm, "FEWEST", 100)
    norm, values = made(level)
    alone = results(norm, values, level, picked)
    torch.set_num_threads(threads)
    first = results(norm, values, level, picked)
    assert all(map(torch.equal, first[:2], alone[:2]))
    for mine, other in zip(first[2:], alone[2:], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12 * float(other.abs().max()))
    for _ in range(3):
        assert all(map(torch.equal, results(norm, values, level, picked), first))


def test_sums_over_many_rows_keep_their_digits(compiled):
    """As many as a large grid has; gradients of scale and shift against those in double precision."""
    level = DenseLevel(np.ones((700, 300), dtype=bool))
    norm = ChannelNorm(16)
    values = torch.randn(1, 700, 300, 16, requires_grad=True)
    gradients = torch.autograd.grad(norm.activated(values, level, None).sum(), [*norm.parameters()])
    exact = ChannelNorm(16).double()
    expected = torch.autograd.grad(functional.silu(exact(values.double())).sum(), [*exact.parameters()])
    for mine, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-5, atol=0)


def test_a_gradient_that_is_laid_out_in_another_way(compiled):
    """Channels first, as the sum over cells of another operator may send it."""
    level = LEVELS["holes"]
    norm, values = made(level)
    found = norm.activated(values, level, None)
    given = torch.randn(3, 48, *SHAPE, dtype=torch.float64).movedim(1, -1)
    expected = torch.autograd.grad(found, values, given.contiguous(), retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(found, values, given)[0], expected)


def test_a_value_that_is_no_number_stays_in_its_cell(compiled):
    level = LEVELS["no holes"]
    norm, values = made(level, dtype=torch.float32)
    with torch.no_grad():
        values[1, 2, 3, 4] = torch.nan
    wrong = norm.activated(values, level, None).isnan()
    assert wrong[1, 2, 3].all()
    assert wrong.sum() == 48


def test_plain_operations_elsewhere(compiled, monkeypatch):
    """With noise, in other or mixed precision, of other layouts and widths, in a trace and where it is switched off."""
    level = LEVELS["holes"]
    norm, values = made(level, dtype=torch.float32)

    def computed(norm=norm, values=values, conditions=None):
        return is_compiled(norm.activated(values, level, conditions))

    assert computed()
    assert computed(conditions=iter(()))
    assert not computed(conditions=iter([torch.zeros(3, 1, 96)]))
    assert not computed(*made(level, dtype=torch.bfloat16))
    assert not computed(*made(level, channels=40, dtype=torch.float32))
    assert not computed(*made(level, channels=272, dtype=torch.float32))
    assert not computed(values=values.detach().movedim(-1, 1).contiguous().movedim(1, -1).requires_grad_())
    with torch.autocast("cpu", torch.bfloat16):
        assert not computed()
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    assert not computed()
    monkeypatch.undo()
    monkeypatch.setenv(native.SWITCH, "off")
    assert not computed()


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_plain_operations_are_what_they_say(level, monkeypatch):
    """Bit for bit."""
    monkeypatch.setenv(native.SWITCH, "off")
    norm, values = made(level, dtype=torch.float32)
    expected = functional.silu(norm(values))
    assert torch.equal(norm.activated(values, level, None, picked=True), level.pick(expected))
    assert torch.equal(norm.activated(values, level, None), level.clear(expected.clone()))
