"""How well a frame obeys what it must obey: div B = 0, P = n k T, E = -v x B."""

from collections.abc import Sequence

import numpy as np
import torch

from spacecast.core.grid import Grid
from spacecast.core.units import BOLTZMANN, SPEED_TIMES_FIELD

NKT = BOLTZMANN * 1e21  # n[1/cm3] k T[MK] in nPa


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
    pressure, density, temperature = (state[:, names.index(name)].astype(np.float64) for name in ("P", "rho", "T"))
    ideal = NKT * density * temperature
    return _median_ratio(pressure, ideal), _residual(pressure, ideal)


def electric_ratio(state: np.ndarray, names: Sequence[str]) -> tuple[float, float] | None:
    """Median of |E| / |v x B| and rms of E + v x B over rms of E; None without all components."""
    needed = [f"{field}{axis}" for field in "EvB" for axis in "xyz"]
    if not set(needed) <= set(names):
        return None
    columns = [state[:, names.index(name)].astype(np.float64) for name in needed]
    electric, velocity, magnetic = (np.stack(columns[i : i + 3], axis=-1) for i in (0, 3, 6))
    ideal = -SPEED_TIMES_FIELD * np.cross(velocity, magnetic)
    sizes = np.linalg.norm(electric, axis=-1), np.linalg.norm(ideal, axis=-1)
    return _median_ratio(*sizes), _residual(electric, ideal)


def _median_ratio(values: np.ndarray, reference: np.ndarray) -> float:
    """Median ratio where the reference does not vanish, 1 where both vanish."""
    usable = np.abs(reference) > 1e-30
    return float(np.median(values[usable] / reference[usable])) if usable.any() else 1.0


def _residual(values: np.ndarray, reference: np.ndarray) -> float:
    """Rms of the difference over rms of the values."""
    scale = np.sqrt((values**2).mean())
    return float(np.sqrt(((values - reference) ** 2).mean()) / scale) if scale > 0 else 0.0
