"""SiLU of a layer norm over the channels of cells, in one compiled pass; see `nn.native` for where there is one."""

from collections.abc import Sequence
from ctypes import Structure, byref, c_double, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spacecast.nn import native

MOST_VECTORS, FEWEST = 16, 32768
"""Vectors of 64 bytes in a row, and numbers that are worth a thread, as torch has it."""


class _Norm(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("parts", "rows", "cells", "size", "hole_count", "left_out")),
        *((name, c_void_p) for name in (
            "holes", "values", "scale", "shift", "of_results", "results", "of_values", "of_weights",
        )),
        ("epsilon", c_double),
    )  # fmt: skip


def usable(values: Tensor, scale: Tensor, shift: Tensor) -> bool:
    """Whether the library computes these cells; see `nn.native.usable`."""
    precision, size = values.dtype, values.shape[-1] * values.dtype.itemsize
    if precision not in native.KINDS or size % 64 or size > 64 * MOST_VECTORS:
        return False
    if not native.enabled() or torch.is_autocast_enabled("cpu") or not values.is_contiguous() or not values.numel():
        return False
    for each in (values, scale, shift):
        if not native.readable(each, precision):
            return False
    return native.library(precision) is not None


class NormSilu(torch.autograd.Function):
    """silu(layer norm(x)) of cells, zeros on some of them or without these."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, scale: Tensor, shift: Tensor, epsilon: float, holes: Tensor | None, left_out: bool
    ) -> Tensor:
        """The same shape, or (batch, cell, channel).

        Args:
            ctx: of autograd.
            values: cells (batch, ..., channel), channels side by side in memory and no gaps.
            scale, shift: of the norm, (channel,).
            epsilon: what is added to the variance.
            holes: numbers of cells that become zero, in order; None: there are none.
            left_out: they do not come out at all.

        """
        ctx.save_for_backward(values, scale, shift, holes)
        ctx.epsilon, ctx.left_out = epsilon, left_out
        results = torch.empty(_shape(values, holes) if left_out else values.shape, dtype=values.dtype)
        if native.mode(values) is None:
            _call("norm_forward", ctx, (values, scale, shift, holes), results=results.data_ptr())
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of values, scale and shift."""
        saved = ctx.saved_tensors  # activation checkpointing lets them be asked for once
        values, scale = saved[:2]
        gradient, parts = gradient.contiguous(), _parts(values)
        of_values = torch.empty(values.shape, dtype=values.dtype)
        of_weights = torch.empty(parts, 2, len(scale), dtype=values.dtype)
        if native.mode(values) is None:
            places = {"of_results": gradient, "of_values": of_values, "of_weights": of_weights}
            _call("norm_backward", ctx, saved, **{name: each.data_ptr() for name, each in places.items()})
        of_scale, of_shift = (of_weights[0] if parts == 1 else of_weights.sum(dim=0)).unbind()
        return of_values, of_scale, of_shift, None, None, None


def _shape(values: Tensor, holes: Tensor | None) -> tuple[int, int, int]:
    """That of cells without the holes."""
    batch, size = len(values), values.shape[-1]
    return batch, values.numel() // (batch * size) - (0 if holes is None else len(holes)), size


def _parts(values: Tensor) -> int:
    """Of how many ranges of rows a pass is."""
    return max(min(torch.get_num_threads(), values.numel() // FEWEST), 1)


def _call(name: str, ctx: Any, saved: Sequence[Tensor | None], **places: int) -> None:
    """A function of the library, with what `NormSilu` saves and the addresses of results or gradients."""
    values, scale, shift, holes = saved
    assert values is not None
    assert scale is not None
    assert shift is not None
    size, parts = values.shape[-1], _parts(values)
    rows = values.numel() // size
    norm = _Norm(
        parts, rows, rows // len(values), size, 0 if holes is None else len(holes), ctx.left_out,
        native.place(holes), values.data_ptr(), scale.data_ptr(), shift.data_ptr(), epsilon=ctx.epsilon, **places,
    )  # fmt: skip
    getattr(native.library(values.dtype), name)(byref(norm), native.parallel() if parts > 1 else None)
