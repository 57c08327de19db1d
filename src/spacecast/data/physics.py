"""How well a frame obeys what it must obey: div B = 0, P = n k T, E = -v x B."""

from collections.abc import Sequence

import numpy as np
import torch

from spacecast.core.grid import Grid
from spacecast.formulas.physics import electric_residual, pressure_residual


def divergence_ratio(state: np.ndarray, names: Sequence[str], grid: Grid) -> float | None:
    """Rms of div B over rms of |B| / dx, on nodes with all neighbours; None without B along each axis of the grid.

    Args:
        state: one frame, shape (node, state), physical units.
        names: variables.
        grid: the cells.

    """
    needed = grid.components("B")
    if not set(needed) <= set(names) or grid.stencil.shape[1] == 0:
        return None
    field = [torch.from_numpy(state[:, names.index(name)].astype(np.float64)) for name in needed]
    divergence = grid.divergence(*field).numpy()
    strength = np.sqrt(torch.stack(field).square().sum(dim=0).numpy()[grid.stencil[0]].mean()) / grid.spacing[0]
    return float(np.sqrt((divergence**2).mean()) / strength) if strength > 0 else 0.0


def pressure_ratio(state: np.ndarray, names: Sequence[str]) -> tuple[float, float] | None:
    """Median of P / (n k T) and rms of P - n k T over rms of P; None without P, rho and T."""
    if not {"P", "rho", "T"} <= set(names):
        return None
    pressure, density, temperature = _columns(state, names, ("P", "rho", "T"))
    return _ratios(pressure, pressure_residual(pressure, density, temperature))


def electric_ratio(state: np.ndarray, names: Sequence[str]) -> tuple[float, float] | None:
    """Median of |E| / |v x B| and rms of E + v x B over rms of E; None without all components."""
    needed = [f"{field}{axis}" for field in "EvB" for axis in "xyz"]
    if not set(needed) <= set(names):
        return None
    columns = _columns(state, names, needed)
    electric, velocity, magnetic = (torch.stack(columns[i : i + 3], dim=-1) for i in (0, 3, 6))
    return _ratios(electric, electric_residual(electric, velocity, magnetic))


def _columns(state: np.ndarray, names: Sequence[str], needed: Sequence[str]) -> list[torch.Tensor]:
    """Values of some variables in double precision, shape (node,) each."""
    return [torch.from_numpy(state[:, names.index(name)].astype(np.float64)) for name in needed]


def _ratios(values: torch.Tensor, residual: torch.Tensor) -> tuple[float, float]:
    """Median ratio of the sizes of values and of what they should be, and rms of the residual over that of the values.

    The ratio is taken where what they should be does not vanish, and is 1 where it does everywhere; vectors have their
    components on a second axis.
    """
    reference = values - residual
    size, expected = (values, reference) if values.ndim == 1 else (values.norm(dim=-1), reference.norm(dim=-1))
    usable = (expected.abs() > 1e-30).numpy()
    ratio = float(np.median((size / expected).numpy()[usable])) if usable.any() else 1.0
    scale = float(values.square().mean().sqrt())
    return ratio, float(residual.square().mean().sqrt()) / scale if scale > 0 else 0.0
