"""What this process takes, and what this machine could do at best: the two sides of every figure of the suite."""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

HEAVY = {
    "embedding", "embedding_dense_backward", "gather", "index", "index_add", "index_add_", "index_copy",
    "index_put", "index_put_", "index_select", "scatter_add", "scatter_add_",
}  # fmt: skip
"""Kernels that must read and write memory, beside those that multiply; all others could be fused into these."""
CLEAR_PEAK = "5"  # what /proc/self/clear_refs takes to forget the largest size of a process


class Peaks(NamedTuple):
    """Most multiplications and additions a second, and most bytes a second read and written, of one process."""

    flops: float
    bandwidth: float


class Measured(NamedTuple):
    """An action: CPU seconds of its fastest and of its median repetition, bytes above those before the first one."""

    seconds: float
    median: float
    memory: int


def measured_peaks(size: int = 1024, length: int = 2**25) -> Peaks:
    """Product of two square matrices in single precision, and copy of an array that no cache holds (128 MB)."""
    one, other, place = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    source, copy = torch.ones(length), torch.zeros(length)
    product = fastest(lambda: torch.mm(one, other, out=place), 5)
    moved = fastest(lambda: copy.copy_(source), 5)
    return Peaks(2 * size**3 / product, 2 * 4 * length / moved)


def fastest(action: Callable[[], Any], times: int) -> float:
    """CPU seconds of the fastest of some repetitions; the first does not count."""
    return min(cpu_seconds(action) for _ in range(times + 1))


def cpu_seconds(action: Callable[[], Any]) -> float:
    """CPU seconds of this process, system time included."""
    begin = time.process_time()
    action()
    return time.process_time() - begin


def measure(action: Callable[[], Any], repetitions: int) -> Measured:
    """Time and memory of an action; where it is repeated the first time counts for memory alone."""
    before = _memory("VmRSS", clear=True)
    seconds = [cpu_seconds(action) for _ in range(repetitions + 1)]
    counted = sorted(seconds[1:] or seconds)
    return Measured(counted[0], counted[len(counted) // 2], _memory("VmHWM") - before)


def _memory(key: str, *, clear: bool = False) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most since it was cleared."""
    if clear:
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


class Floor(TorchDispatchMode):
    """The least time in which this machine could do what is done while it is on.

    Each product of matrices, convolution, gather and sum of gathered rows takes the longer of two times: that of its
    multiplications at the peak of the machine, and that of its operands and results at the speed of a copy. Everything
    else (activations, norms, residuals, losses) costs nothing, as if it were fused into these.

    Attributes:
        seconds: the sum of these times.
        flops, bytes: what went into it.
    """

    def __init__(self, peaks: Peaks) -> None:
        super().__init__()
        self.peaks = peaks
        self.seconds = self.flops = self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it, and add its least time."""
        made = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in flop_registry or packet.__name__ in HEAVY:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=made) if packet in flop_registry else 0
            moved = sum(part.numel() * part.element_size() for part in _tensors([*args, made]))
            self.flops += flops
            self.bytes += moved
            self.seconds += max(flops / self.peaks.flops, moved / self.peaks.bandwidth)
        return made


def _tensors(values: Any) -> list[Tensor]:
    """Tensors among arguments or results."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def floor_of(action: Callable[[], Any], peaks: Peaks) -> dict[str, float]:
    """Least seconds, multiplications and additions, and bytes of an action, by doing it once more."""
    # compiled kernels (nn/native.py) are out of its sight: it counts the plain operations in their place
    with patch.dict(os.environ, SPACECAST_KERNELS="off"), Floor(peaks) as floor:
        action()
    return {"floor": floor.seconds, "flops": floor.flops, "bytes": floor.bytes}


def description() -> str:
    """The machine in words, without its name."""
    return f"{platform.machine()}, {platform.system()}, Python {sys.version.split()[0]}, torch {torch.__version__}"
