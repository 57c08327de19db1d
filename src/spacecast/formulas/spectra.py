"""Power spectra of fields on a rectangle of the plane, by wavenumber.

A wavenumber is one over a wavelength, without 2 pi.
"""

import functools

import torch
from torch import Tensor

Pair = tuple[int, int]
Size = tuple[float, float]


def hann(shape: Pair) -> Tensor:
    """Hann window of a rectangle, the product of those of its sides, float64."""
    along, across = (torch.hann_window(count, dtype=torch.float64) for count in shape)
    return along[:, None] * across


def power_spectrum(fields: Tensor, spacing: Size, window: Tensor | None = None) -> Tensor:
    """One-sided, isotropic power spectrum: the density of the variance over the wavenumber, all directions together.

    The mean, weighted by the window w, is subtracted first, and nothing else: a trend over the rectangle is no fault of
    a field, and the window keeps it from the small scales. The power of a ring of modes is divided by the mean of w^2,
    so that, for f' = f - sum(w f) / sum(w), in double precision,

        sum over wavenumbers of spectrum x width of a ring = sum((w f')^2) / sum(w^2)

    exactly (Parseval), which without a window is the variance of f. All modes are in it: rings beyond the Nyquist
    wavenumber of a side are cut by the corners.

    Args:
        fields: shape (..., x, z), any unit.
        spacing: of the cells along x and z [R_E].
        window: shape (x, z); None: no window.

    Returns:
        Shape (..., wavenumber), at those of `wavenumbers`, in unit^2 R_E.

    """
    rows, columns = fields.shape[-2:]
    fields = fields.double().contiguous()
    window = torch.ones(rows, columns, dtype=torch.float64) if window is None else window
    window = window.to(fields.device)
    anomaly = fields - (window * fields).sum(dim=(-2, -1), keepdim=True) / window.sum()
    modes = torch.fft.rfft2(window * anomaly)
    ring, width, number = _rings((rows, columns), spacing)
    weight = torch.full((modes.shape[-1],), 2.0, dtype=torch.float64, device=fields.device)
    weight[0] = 1.0  # has no mirror image among the modes that a real transform leaves out
    if columns % 2 == 0:
        weight[-1] = 1.0
    power = (modes.real.square() + modes.imag.square()) * weight / (rows * columns * window.square().sum())
    result = power.new_zeros(*power.shape[:-2], number)
    result.index_add_(-1, ring.to(fields.device), power.flatten(-2))
    return result / width


def wavenumbers(shape: Pair, spacing: Size) -> Tensor:
    """Wavenumbers of the rings of modes, multiples of one over the shorter side [1/R_E], float64.

    A ring holds the modes that are nearest to it; the first one also those of waves longer than the shorter side.
    """
    _, width, number = _rings(shape, spacing)
    return width * torch.arange(1, number + 1, dtype=torch.float64)


@functools.lru_cache(maxsize=8)
def _rings(shape: Pair, spacing: Size) -> tuple[Tensor, float, int]:
    """Number of the ring of each mode of `rfft2`, flat, the width of a ring [1/R_E], and how many there are."""
    width = 1 / min(count * step for count, step in zip(shape, spacing, strict=True))
    along = torch.fft.fftfreq(shape[0], spacing[0], dtype=torch.float64)
    across = torch.fft.rfftfreq(shape[1], spacing[1], dtype=torch.float64)
    ring = (torch.hypot(along[:, None], across) / width).round().long().clamp(min=1) - 1
    return ring.flatten(), width, int(ring.max()) + 1
