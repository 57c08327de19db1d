"""What the equations of ideal magnetohydrodynamics make of a standardised state, as numbers of order one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError
from spacecast.core.spec import NON_NEGATIVE, DataSpec
from spacecast.core.units import expected_units, factor
from spacecast.formulas.mhd import PER_LENGTH, Fields, ideal_rates, slope_weights, slopes

NEEDED = ("rho", "P", "vx", "vy", "vz", "Bx", "By", "Bz")
POSITIVE = NEEDED[:2]
PLANE = ("x", "z")
ORDERS = (*[1] * 9, 0, 0)
"""Powers of the step by which the rates are multiplied: div v and J_y are no change over a step."""
INSTEAD = "use inputs=stencil or increments"
LARGEST = 1e18  # whose square single precision still holds
FLOOR = 1e-3
"""Density, pressure and temperature count as this share of their mean where they are below it."""


class Tendencies(nn.Module):
    """Euler increments over one step, divergence of the flow, current and logarithms; no weights.

    In this order: the increments of log rho, log P, v and B by `formulas.mhd.ideal_rates` and of the potential of B in
    the plane, div v, J_y, each over a scale of the data and squashed by asinh, for a step is longer than waves need
    through a cell near Earth; then the logarithms of density, pressure and, where the data have it, temperature over
    their means. Scales: the standard deviations of the one-step increments, of a logarithm those of the variable over
    its mean, of the potential that of the field in the plane times the size of a cell, of div v that of the velocity
    in the plane over the size of a cell; of J_y the standard deviation of the field over the size of a cell.

    Args:
        spec: facts of the data.

    Attributes:
        channels: how many numbers per node.

    Raises:
        UserError: the data have not what is needed.
    """

    in_single_precision = True  # in a model of half precision, too

    scale: Tensor
    offset: Tensor
    floors: Tensor
    log_means: Tensor
    neighbours: Tensor
    weights: Tensor
    per_unit: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        factors = conversion(spec)
        positive = [name for name in NON_NEGATIVE if name in factors]
        names = [*positive, *NEEDED[len(POSITIVE) :]]
        factor_of = np.array([factors[name] for name in names])
        numbers = spec.state.indices(names)
        typical = typical_sizes(spec, positive) * factor_of[: len(positive)]
        neighbours = torch.as_tensor(spec.grid.neighbours)
        buffers = {
            "scale": spec.state.std[numbers] * factor_of,
            "offset": spec.state.mean[numbers] * factor_of,
            "floors": FLOOR * typical,
            "log_means": np.log(typical),
            "per_unit": spec.step_seconds ** np.array(ORDERS) / rate_scales(spec, factors),
        }
        for name, values in buffers.items():
            column = torch.as_tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, column, persistent=False)
        self.numbers = numbers
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("weights", slope_weights(neighbours, spec.grid.spacing), persistent=False)
        self.positive, self.channels = len(positive), len(ORDERS) + len(positive)

    def forward(self, state: Tensor) -> Tensor:
        """Standardised states (batch, node, state) to (batch, node, channel)."""
        columns = state.unbind(-1)
        # a half-precise state becomes single here, for its squares in physical units would overflow
        values = torch.stack([columns[number] for number in self.numbers]).to(self.scale.dtype)
        values = values * self.scale + self.offset
        positive, vectors = values.tensor_split([self.positive])
        logarithms = positive.maximum(self.floors).log()
        fields = torch.cat([logarithms[:2], vectors])
        rates = ideal_rates(*(_named(each) for each in (fields, *slopes(fields, self.neighbours, self.weights))))
        parts = [each if each.ndim == state.ndim else each[None] for each in rates]
        squashed = Squash.apply(torch.cat(parts) * self.per_unit)
        return torch.cat([squashed, logarithms - self.log_means]).movedim(0, -1).to(state.dtype)


class Squash(torch.autograd.Function):
    """The inverse hyperbolic sine: x where it is small, log 2|x| where it is large, up to `LARGEST`.

    Its own backward pass, because torch.asinh takes thirty times as long on a processor, and because formulas with
    |x| have no derivative at 0, which is where much of a plane is.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Of any shape."""
        ctx.save_for_backward(values)
        size = values.abs().clamp_(max=LARGEST)
        return size.square().add_(1).sqrt_().add_(size).log_().copysign_(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """1 / sqrt(1 + x^2)."""
        return gradient * (ctx.saved_tensors[0].square() + 1).rsqrt()


def _named(values: Tensor) -> Fields:
    """Rows (8, ...) in the order of `NEEDED` by name."""
    density, pressure, velocity, magnetic = values.split([1, 1, 3, 3])
    return Fields(density[0], pressure[0], velocity, magnetic)


def conversion(spec: DataSpec) -> dict[str, float]:
    """Factors from the units of the data to the published ones, of the variables that the equations need and of T.

    Raises:
        UserError: the data lie on no x-z plane, lack a variable, have units that cannot be converted, or a density or
            pressure below 0 on average, as a logarithm may be.
    """
    state, found = spec.state, {}
    if spec.grid.axes != PLANE:
        raise UserError(f"inputs=tendencies needs a plane of x and z, the data have {spec.grid.axes}; {INSTEAD}")
    lacking = [name for name in NEEDED if name not in state.names]
    if lacking:
        needed = ", ".join(NEEDED)
        raise UserError(f"inputs=tendencies needs {needed}; the data have no {', '.join(lacking)}; {INSTEAD}")
    for name in (*NEEDED, "T"):
        if name not in state.names:
            continue
        number, wanted = state.index(name), str(expected_units(name))
        units, mean = state.units[number], state.mean[number]
        known = factor(units, wanted)
        if known is not None and (mean >= 0 or name not in NON_NEGATIVE):
            found[name] = known
        elif name in NEEDED:
            what = f"has a mean of {mean:g}" if known is not None else f"is in {units!r}"
            raise UserError(f"inputs=tendencies needs {name} in {wanted}, not below 0: it {what}; {INSTEAD}")
    return found


def typical_sizes(spec: DataSpec, names: Sequence[str]) -> np.ndarray:
    """Mean of variables that are not negative, standard deviation where it is 0, in the units of the data."""
    numbers = spec.state.indices(names)
    mean, std = spec.state.mean[numbers].astype(np.float64), spec.state.std[numbers].astype(np.float64)
    return np.where(mean > 0, mean, std)


def rate_scales(spec: DataSpec, factors: Mapping[str, float]) -> np.ndarray:
    """Sizes of the rates times the step, in the order of `formulas.mhd.Rates`, published units, shape (11,)."""
    cell = float(np.mean(spec.grid.spacing))

    def increments(*names: str) -> np.ndarray:
        return spec.diff_std[spec.state.indices(names)] * [factors[name] for name in names]

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt(np.square(values.astype(np.float64)).mean()))

    field = rms(increments("Bx", "Bz"))
    return np.array(
        [
            *(increments(*POSITIVE) / (typical_sizes(spec, POSITIVE) * [factors[name] for name in POSITIVE])),
            *increments(*NEEDED[2:]),
            field * cell,
            rms(increments("vx", "vz")) / cell * PER_LENGTH,
            field / cell,
        ]
    )
