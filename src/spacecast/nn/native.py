"""The tasks of `nn.blockwise` on a processor in one pass, by a small library that the C compiler makes of `kernels/`.

Unless SPACECAST_KERNELS=off is in the environment. Where there is no compiler, or a task is not of the kind that the
library knows, plain operations of torch do the same. Of several threads, those of torch, each takes a range of rows;
which one, and in which order their gradients are added, is settled by the number of threads alone.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_double, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacecast.nn.blocks import Plan

FOLDER = Path(__file__).with_name("kernels")
SWITCH = "SPACECAST_KERNELS"
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-fPIC", "-shared")
KINDS = {torch.float32: ("-DREAL=float",), torch.float64: ("-DREAL=double", "-DDOUBLE")}
TILE, LONGEST, MOST_LAYERS, FEWEST = 48, 192, 16, 192
"""Rows that are computed at a time, those of a receiver that may be as many as that, weights of a task, and rows that
are worth a thread."""

log = logging.getLogger(__name__)


class _Source(Structure):
    _fields_ = (
        ("table", c_void_p), ("gradient", c_void_p), ("numbers", c_void_p), ("width", c_int64), ("stride", c_int64),
        ("repeat", c_int64), ("period", c_int64), ("once", c_int64), ("apart", c_int64),
    )  # fmt: skip


class _Layer(Structure):
    _fields_ = (
        ("weight", c_void_p), ("bias", c_void_p), ("weight_gradient", c_void_p), ("bias_gradient", c_void_p),
        ("in_", c_int64), ("out", c_int64), ("stride", c_int64), ("source", c_int64),
    )  # fmt: skip


class _Task(Structure):
    _fields_ = (
        *((name, c_int64) for name in (
            "parts", "together", "first", "end", "number", "tile", "hidden", "size", "sources", "products", "layers",
            "afters", "kept", "receiver_count",
        )),
        ("source", POINTER(_Source)), ("product", POINTER(_Layer)), ("layer", POINTER(_Layer)), ("after", c_void_p),
        *((name, c_void_p) for name in (
            "bias", "scale", "shift", "bias_gradient", "scale_gradient", "shift_gradient",
        )),
        ("epsilon", c_double),
        *((name, c_void_p) for name in ("receivers", "factor", "rows", "sums", "of_rows", "of_sums")),
    )  # fmt: skip


def enabled() -> bool:
    """Whether the library may compute at all; where it may not, plain operations of torch do."""
    if os.environ.get(SWITCH) == "off" or (torch.get_num_threads() > 1 and parallel() is None):
        return False
    return not torch.jit.is_tracing()  # type: ignore[attr-defined] # a trace would not see what the library does


def usable(plan: Plan, tensors: Sequence[Tensor]) -> bool:
    """Whether the library computes this task: on a processor, in one precision, by rows that lie in memory as usual.

    Tensors without numbers are judged by what they stand for, so that a plan of the memory counts what will be done.
    """
    if not enabled():
        return False
    if plan.factors != plan.terms or plan.terms not in KINDS or not plan.number:
        return False
    if len(plan.products) + plan.layers > MOST_LAYERS:
        return False
    numbers = [each.numbers for each in plan.readings] + ([] if plan.segments is None else [plan.segments.receivers])
    if any(each is not None and not readable(each, torch.int64) for each in numbers):
        return False
    if not all(readable(each, plan.terms) for each in tensors):
        return False
    if any(each.repeat > 1 and each.numbers is not None for each in plan.readings):
        return False
    if plan.epsilon is not None and plan.size * plan.terms.itemsize % 64:
        return False
    return _together(plan) <= LONGEST and library(plan.terms) is not None


def readable(tensor: Tensor, precision: torch.dtype) -> bool:
    """Whether it lies in the memory of a processor, the numbers of a row side by side, or will when it has some."""
    if type(tensor) in (Tensor, torch.nn.Parameter):
        device: str | None = tensor.device.type
    else:
        device = getattr(mode(tensor), "stands_for", None)
    return device == "cpu" and tensor.dtype == precision and (not tensor.numel() or tensor.stride(-1) == 1)


def mode(tensor: Tensor) -> Any:
    """What has made a tensor without numbers (`training.memory_plan`), None for all others."""
    return getattr(tensor, "fake_mode", None)


def forward(plan: Plan, tensors: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Rows, where they are returned, and sums, where there are; see `nn.blockwise`."""
    shape = plan.number, plan.size
    rows = None if plan.kept is None else torch.empty(shape, dtype=plan.terms)
    sums = None if plan.segments is None else torch.empty(plan.segments.total, plan.size, dtype=plan.terms)
    if mode(tensors[0]) is not None:
        return rows, sums
    task, kept = _task(plan, tensors, [None] * len(tensors))
    task.parts, task.rows, task.sums = _parts(plan), place(rows), place(sums)
    _call(plan, "forward", task)
    del kept
    return rows, sums


def backward(
    plan: Plan, tensors: Sequence[Tensor], of_rows: Tensor | None, of_sums: Tensor | None, needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of the tensors that need one, from those of rows and sums."""
    parts, apart = _backward_parts(plan, tensors)
    tables = len(plan.readings)
    found: list[Tensor | None] = []
    for number, (each, asked) in enumerate(zip(tensors, needed, strict=True)):
        shape = (parts, *each.shape) if parts > 1 and apart[number] else each.shape
        # a single part writes the gradients of weights, and each part those of rows that are read once
        written = plan.readings[number].once if number < tables else parts == 1 and each.ndim == 2
        found.append((torch.empty if written else torch.zeros)(shape, dtype=each.dtype) if asked else None)
    gradients = [None if each is None else each.contiguous() for each in (of_rows, of_sums)]
    if mode(tensors[0]) is None:
        task, kept = _task(plan, tensors, found)
        task.parts, task.of_rows, task.of_sums = parts, *map(place, gradients)
        _call(plan, "backward", task)
        del kept
    if parts == 1:
        return found
    return [each.sum(dim=0) if own and each is not None else each for each, own in zip(found, apart, strict=True)]


def _backward_parts(plan: Plan, tensors: Sequence[Tensor]) -> tuple[int, list[bool]]:
    """Of how many parts a backward pass is, and whether each has its own gradient of each tensor.

    Rows of tables that are read by one part alone are written in place. Of other tables the parts take no more memory
    than their rows that are read do.
    """
    receivers = None if plan.segments is None else plan.segments.receivers
    apart = [not each.once and (each.numbers is None or each.numbers is not receivers) for each in plan.readings]
    rows = [len(table) for table, own in zip(tensors, apart, strict=False) if own]
    most = max(2 * plan.number // max([1, *rows]), 1)
    return min(_parts(plan), most), apart + [True] * (len(tensors) - len(apart))


def _parts(plan: Plan) -> int:
    """Of how many ranges of rows a task is made at most."""
    return max(min(torch.get_num_threads(), plan.number // FEWEST), 1)


@functools.cache
def parallel() -> c_void_p | None:
    """What calls a function in threads: that of the OpenMP library that torch uses, whose threads wait there anyway."""
    function = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    return None if function is None else ctypes.cast(function, c_void_p)


def _call(plan: Plan, name: str, task: _Task) -> None:
    """A function of the library."""
    getattr(library(plan.terms), name)(byref(task), parallel() if task.parts > 1 else None)


def _together(plan: Plan) -> int:
    """Rows that make one piece."""
    return max(each.repeat for each in plan.readings)


def _apart(table: Tensor, gradient: Tensor | None) -> int:
    """Numbers from the gradient of a part to that of the next."""
    return 0 if gradient is None or gradient.ndim == table.ndim else table.numel()


def place(tensor: Tensor | None) -> int | None:
    """Address of the first number."""
    return None if tensor is None else tensor.data_ptr()


def _task(plan: Plan, tensors: Sequence[Tensor], found: Sequence[Tensor | None]) -> tuple[_Task, list[Any]]:
    """A task for the library, and what must live as long; `found` are the gradients of the tensors."""
    pairs = iter(zip(tensors, found, strict=True))
    tables = [next(pairs) for _ in plan.readings]
    sources = (_Source * len(tables))(*(
        _Source(place(table), place(total), place(each.numbers), table.shape[1], table.stride(0), each.repeat,
                max(each.period, 1), each.once, _apart(table, total))
        for (table, total), each in zip(tables, plan.readings, strict=True)
    ))  # fmt: skip
    firsts = [
        _Layer(source=source) if number is None else _layer(*next(pairs), source) for source, number in plan.products
    ]
    bias, bias_total = next(pairs) if plan.biased else (None, None)
    others = []
    for _ in range(plan.layers):
        others.append(_layer(*next(pairs)))
        others[-1].bias, others[-1].bias_gradient = map(place, next(pairs))
    norm = [next(pairs), next(pairs)] if plan.epsilon is not None else [(None, None)] * 2
    products, layers = (_Layer * len(firsts))(*firsts), (_Layer * max(len(others), 1))(*others)
    after = (c_int64 * max(len(plan.after), 1))(*plan.after)
    together, segments = _together(plan), plan.segments
    factor = None if segments is None or segments.factor is None else segments.factor.to(plan.terms).contiguous()
    hidden = next((layer.out for layer in firsts if layer.weight), tables[plan.products[0][0]][0].shape[1])
    task = _Task(
        parts=1, together=together, number=plan.number, tile=together * max(TILE // together, 1),
        hidden=hidden, size=plan.size, sources=len(tables), products=len(firsts), layers=len(others),
        afters=len(plan.after),
        kept=-1 if plan.kept is None else plan.kept, receiver_count=0 if segments is None else segments.total,
        source=sources, product=products, layer=layers, after=ctypes.addressof(after),
        bias=place(bias), bias_gradient=place(bias_total),
        scale=place(norm[0][0]), shift=place(norm[1][0]),
        scale_gradient=place(norm[0][1]), shift_gradient=place(norm[1][1]), epsilon=plan.epsilon or 0.0,
        receivers=None if segments is None else place(segments.receivers), factor=place(factor),
    )  # fmt: skip
    return task, [sources, products, layers, after, factor]


def _layer(weight: Tensor, total: Tensor | None, source: int = 0) -> _Layer:
    """A weight, (out, in), and its gradient."""
    return _Layer(
        weight=place(weight), weight_gradient=place(total), in_=weight.shape[1], out=weight.shape[0],
        stride=weight.stride(0), source=source,
    )  # fmt: skip


@functools.cache
def library(precision: torch.dtype) -> ctypes.CDLL | None:
    """The library for a precision, compiled where it has not been on this machine; None: there is none."""
    try:
        return ctypes.CDLL(str(_compiled(KINDS[precision])))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: there is no home
        log.debug("plain operations instead of %s: %s", FOLDER.name, error)
        return None


def _compiled(kind: Sequence[str]) -> Path:
    """The file of the library, in the user's cache."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise FileNotFoundError("there is no C compiler")
    text = "".join(path.read_text() for path in sorted(FOLDER.glob("*.[ch]")))
    what = f"{text}{compiler}{FLAGS}{kind}{_processor()}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spacecast"
    path = folder / f"kernels_{hashlib.sha256(what.encode()).hexdigest()[:16]}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            log.info("compiling kernels for this processor, which takes some seconds, once")
            made = Path(temporary) / path.name
            line = [compiler, *FLAGS, *kind, str(FOLDER / "library.c"), "-o", str(made)]
            subprocess.run(line, check=True, capture_output=True, timeout=120)
            made.replace(path)
    return path


def _processor() -> str:
    """What tells processors apart that share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
