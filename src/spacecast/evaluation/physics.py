"""What metrics and diagnostics average to judge the physics of forecasts, members one by one, beside the truth.

Functions of a `Sample`, and of the `Setting` and their averages; the formulas are in `formulas.physics` and
`formulas.spectra`. They are called only where the data have what they need (`Plasma`).
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from spacecast.evaluation.boundaries import Line, Rectangle
from spacecast.evaluation.sample import Sample, Setting
from spacecast.formulas.averages import root
from spacecast.formulas.physics import (
    electric_residual,
    extrapolate,
    flux_range,
    pressure_residual,
    reversal_position,
    shock_position,
)

POSITIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bow_shock": shock_position,
    "magnetopause": reversal_position,
}


def extrapolation_squared_error(sample: Sample) -> Tensor:
    """Of going on in a straight line from the two initial states, standardised, shape (window, node, state)."""
    return (extrapolate(sample.previous, sample.start, sample.lead + 1) - sample.truth).square()


def gas_law(sample: Sample) -> Tensor:
    """Squares of P - n k T and of P, means over members, shape (window, node, 2)."""
    return _gas(sample.setting.plasma.columns["gas"].scaled(sample.members)).mean(dim=1)


def gas_law_of_truth(sample: Sample) -> Tensor:
    """The same of the truth."""
    return _gas(sample.setting.plasma.columns["gas"].physical(_interior(sample)))


def ohms_law(sample: Sample) -> Tensor:
    """Squares of E + v x B and of E, means over members, shape (window, node, 2)."""
    return _ohm(sample.setting.plasma.columns["electric"].scaled(sample.members)).mean(dim=1)


def ohms_law_of_truth(sample: Sample) -> Tensor:
    """The same of the truth."""
    return _ohm(sample.setting.plasma.columns["electric"].physical(_interior(sample)))


def relative(_: Setting, squares: Tensor) -> Tensor:
    """Rms of a residual over that of the field, (..., 2) to (..., 1)."""
    return root(squares[..., :1]) / root(squares[..., 1:])


def _interior(sample: Sample) -> Tensor:
    """The truth in physical units outside the boundary, shape (window, node, state)."""
    return sample.physical.index_select(-2, sample.setting.nodes.to(sample.physical.device))


def _gas(values: Tensor) -> Tensor:
    """Squares of P - n k T and of P, from P, n and T on the last axis."""
    pressure, density, temperature = values.unbind(-1)
    return torch.stack([pressure_residual(pressure, density, temperature).square(), pressure.square()], dim=-1)


def _ohm(values: Tensor) -> Tensor:
    """Squares of E + v x B and of E, from the components of E, v and B on the last axis."""
    electric, velocity, magnetic = values.unflatten(-1, (3, 3)).unbind(-2)
    residual = electric_residual(electric, velocity, magnetic)
    return torch.stack([each.square().sum(dim=-1) for each in (residual, electric)], dim=-1)


def spectrum(sample: Sample) -> Tensor:
    """Power spectra, means over members, shape (window, variable, wavenumber)."""
    return sample.spectra[0]


def spectrum_of_truth(sample: Sample) -> Tensor:
    """The same of the truth."""
    return sample.spectra[1]


def small_scales(sample: Sample) -> Tensor:
    """Power of small scales of the forecast and of the truth, shape (window, variable, 2)."""
    small = cast(Rectangle, sample.setting.plasma.rectangle).small.to(sample.everywhere.device)
    return torch.stack([spectra[..., small].sum(dim=-1) for spectra in sample.spectra], dim=-1)


def ratio(_: Setting, pairs: Tensor) -> Tensor:
    """The first average over the second, (..., 2) to (...); NaN where the second is 0."""
    return torch.where(pairs[..., 1] > 0, pairs[..., 0] / pairs[..., 1], math.nan)


def standoffs(sample: Sample) -> Tensor:
    """Positions of the boundaries on the line to the Sun, and how many there are, shape (window, boundary, 7).

    Of the members, means of: whether there is one, and its position, 0 where there is none; the same of the truth;
    and of pairs of a member and the truth that both have one: whether, error and absolute error.
    """
    plasma = sample.setting.plasma
    line, columns = cast(Line, plasma.sunward), [plasma.columns[name] for name in plasma.boundaries]
    x, results = line.x.to(sample.everywhere.device), []
    for name, column in zip(plasma.boundaries, columns, strict=True):
        members, truth = (
            POSITIONS[name](line.along(values[..., 0]), x)
            for values in (column.scaled(sample.everywhere), column.physical(sample.physical).unsqueeze(1))
        )
        error = members - truth
        found, true_found, both = (values.isfinite().double() for values in (members, truth, error))
        numbers = (found, members, true_found, truth, both, error, error.abs())
        results.append(torch.stack([each.nan_to_num(nan=0.0).mean(dim=1) for each in numbers], dim=-1))
    return torch.stack(results, dim=1)


def where_found(number: int) -> Callable[..., Tensor]:
    """A score: the mean of a number of `standoffs` over those that there are; NaN where there is none."""
    count = {1: 0, 3: 2, 5: 4, 6: 4}[number]
    return lambda _, averages: averages[..., number] / averages[..., count]


def missing(number: int) -> Callable[..., Tensor]:
    """A score: the share of forecasts without a boundary, from how many have one."""
    return lambda _, averages: 1 - averages[..., number]


def reconnected_flux(sample: Sample) -> Tensor:
    """Range of A_y along the axis of the tail: of members, of the truth, error and absolute error, (window, 4)."""
    plasma = sample.setting.plasma
    line, column = cast(Line, plasma.tail), plasma.columns["magnetopause"]
    members, truth = (
        flux_range(line.along(values[..., 0]), line.step)
        for values in (column.scaled(sample.everywhere), column.physical(sample.physical).unsqueeze(1))
    )
    error = members - truth
    numbers = (members, truth.expand_as(members), error, error.abs())
    return torch.stack([each.mean(dim=1) for each in numbers], dim=-1)


def column(number: int) -> Callable[..., Tensor]:
    """A score: one of the averages, the last axis removed."""
    return lambda _, averages: averages[..., number]
