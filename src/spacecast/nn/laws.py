"""Laws of a plasma that a forecast obeys by construction: Ohm's law of an ideal conductor, the law of an ideal gas."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError
from spacecast.core.spec import DataSpec
from spacecast.core.units import NKT, SPEED_TIMES_FIELD, expected_units, factor
from spacecast.nn.limits import Limits, excess_over

GAS = ("P", "rho", "T")
LEAST = 1e-3  # of a standard deviation: what counts as the smallest density, pressure and temperature where no range is
NEWTON_STEPS = 3


class PublishedUnits(nn.Module):
    """Some variables, out of standardised values in the units of the published data, and back.

    Args:
        spec: facts of the data.
        names: of the variables.
        key: of the configuration that needs them, for errors.
        instead: what to set where the data do not have them.

    Raises:
        UserError: a variable is missing, or its units cannot be converted.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, spec: DataSpec, names: Sequence[str], *, key: str, instead: str) -> None:
        super().__init__()
        state = spec.state
        missing = [name for name in names if name not in state.names]
        if missing:
            held = ", ".join(state.names)
            raise UserError(f"{key} needs {', '.join(names)}; the data have no {missing[0]} ({held}); set {instead}")
        self.columns = state.indices(names)
        factors = [factor(state.units[column], str(expected_units(state.names[column]))) for column in self.columns]
        for name, number, column in zip(names, factors, self.columns, strict=True):
            if number is None:
                units = f"{name} in {expected_units(name)}, or a unit that converts to it"
                raise UserError(f"{key} needs {units}, found {state.units[column]!r}; set {instead}")
        self.factors = np.array(factors, dtype=np.float64)
        scale, offset = state.std[self.columns] * self.factors, state.mean[self.columns] * self.factors
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32), persistent=False)
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32), persistent=False)

    def read(self, variables: Sequence[Tensor]) -> Tensor:
        """Of all standardised state variables, (batch, node) each, those of this law, (variable, batch, node)."""
        values = torch.stack([variables[column] for column in self.columns])
        return torch.addcmul(self.offset.view(-1, 1, 1), values, self.scale.view(-1, 1, 1))

    def standardize(self, values: Tensor) -> tuple[Tensor, ...]:
        """Inverse of `read`, (batch, node) for each variable."""
        return ((values - self.offset.view(-1, 1, 1)) / self.scale.view(-1, 1, 1)).unbind()


class IdealField(nn.Module):
    """E = -v x B, the electric field in an ideal conductor.

    Args:
        spec: facts of the data; must have E, v and B.

    Attributes:
        columns: numbers of the components of E among the state variables.

    Raises:
        UserError: a component is missing, or its units cannot be converted.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        about = {"key": "model.electric=ideal", "instead": "model.electric=free"}
        self.velocity, self.magnetic, self.electric = (
            PublishedUnits(spec, [f"{field}{axis}" for axis in "xyz"], **about) for field in "vBE"
        )
        self.columns = self.electric.columns

    def forward(self, variables: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Components of E, standardised, from all standardised state variables."""
        motion = torch.linalg.cross(self.magnetic.read(variables), self.velocity.read(variables), dim=0)
        return self.electric.standardize(SPEED_TIMES_FIELD * motion)

    def slowed(
        self, variables: Sequence[Tensor], field: Sequence[Tensor], limits: Limits
    ) -> tuple[Tensor, ...] | None:
        """Velocities whose E is within limits where B is strong: there little of v is much of E.

        The excess of E over its limits, but for its part along B, which no velocity has made, is taken off by the drift
        that it means, v changing by dE x B / B^2 (the E x B drift, e.g. Chen 1984, eq. 2-15): the smallest change.
        B^2 + s^2 stands in the place of B^2, s being the standard deviation of B, so that a wind in a weak field, whose
        E is that of its field, keeps its speed.

        Args:
            variables: all standardised state variables, (batch, node) each.
            field: standardised E of these, from `forward`.
            limits: least and largest value of its components, (batch, node) or (node,) each.

        Returns:
            Components of v, standardised, (batch, node) each; None where nothing is beyond the limits.
        """
        excess = excess_over(limits, field)
        if excess is None:
            return None
        magnetic, speed = self.magnetic.read(variables), self.velocity.scale.view(-1, 1, 1)
        square = magnetic.square().sum(dim=0) + self.magnetic.scale.square().sum()
        taken = torch.stack(excess) * (self.electric.scale / -SPEED_TIMES_FIELD).view(-1, 1, 1)
        change = torch.linalg.cross(taken, magnetic, dim=0) / (square * speed)
        velocity = torch.stack([variables[column] for column in self.velocity.columns])
        return (velocity + change).unbind()


class GasLaw(nn.Module):
    """P = n k T by the smallest change of the three, each in units of its one-step increments.

    Newton's method on P - n k T = 0, each step along the normal of the surface: three of them leave less than anyone
    sees of a residual, and the pressure takes that over, so that the law holds to rounding errors.

    Args:
        spec: facts of the data; must have P, rho and T.
        lower, upper: limits by variable name, physical units. Besides them nothing falls below half of its least value
            in the training runs, or, where that is unknown, a thousandth of its standard deviation.

    Attributes:
        columns: numbers of P, rho and T among the state variables.

    Raises:
        UserError: a variable is missing, or its units cannot be converted.
    """

    size: Tensor
    least: Tensor
    most: Tensor

    def __init__(
        self, spec: DataSpec, lower: Mapping[str, float] | None = None, upper: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.gas = PublishedUnits(spec, GAS, key="model.state_law=project", instead="model.state_law=free")
        self.columns = columns = self.gas.columns
        size, floor = np.maximum(spec.diff_std, 1e-6 * spec.state.std)[columns], LEAST * spec.state.std[columns]
        if spec.lower is not None:
            known = spec.lower[:, columns].min(axis=0) / 2
            floor = np.where(known > 0, known, floor)
        least = np.maximum(floor, [(lower or {}).get(name, 0.0) for name in GAS])
        most = np.array([(upper or {}).get(name, np.inf) for name in GAS])
        self.register_buffer("size", torch.as_tensor(size * self.gas.factors, dtype=torch.float32), persistent=False)
        self.register_buffer("least", torch.as_tensor(least / size, dtype=torch.float32), persistent=False)
        self.register_buffer("most", torch.as_tensor(most / size, dtype=torch.float32), persistent=False)
        pressure, density, temperature = (size * self.gas.factors).tolist()
        self.strength = NKT * density * temperature / pressure

    def forward(self, variables: Sequence[Tensor], limits: Limits = ()) -> tuple[Tensor, ...]:
        """P, rho and T, standardised, from all standardised state variables.

        Args:
            variables: each of shape (batch, node).
            limits: least and largest value of standardised P, rho and T, (batch, node) or (node,) each; none: floors.
        """
        lows, highs = self._limits(limits)
        values = list((self.gas.read(variables) / self.size.view(-1, 1, 1)).unbind())
        values = [value.clamp(least, most) for value, least, most in zip(values, lows, highs, strict=True)]
        for _ in range(NEWTON_STEPS):
            pressure, density, temperature = values
            slopes = (1.0, -self.strength * temperature, -self.strength * density)
            residual = pressure + slopes[1] * density
            share = residual / (1 + slopes[1].square() + slopes[2].square())
            values = [
                (value - share * slope).clamp(least, most)
                for value, slope, least, most in zip(values, slopes, lows, highs, strict=True)
            ]
        pressure, density, temperature = values
        pressure = (self.strength * density * temperature).clamp(lows[0], highs[0])
        temperature = (pressure / (self.strength * density)).clamp(lows[2], highs[2])
        values = [self.strength * density * temperature, density, temperature]
        return self.gas.standardize(torch.stack(values) * self.size.view(-1, 1, 1))

    def _limits(self, limits: Limits) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Limits of P, rho and T in units of their increments: one number, or one for each node."""
        if not limits:
            return self.least.unbind(), self.most.unbind()
        lows, highs = [], []
        facts = zip(limits, self.gas.scale, self.gas.offset, self.size, self.least, self.most, strict=True)
        for (low, high), scale, offset, size, least, most in facts:
            lows.append(torch.maximum((low * scale + offset) / size, least))
            highs.append(torch.maximum(torch.minimum((high * scale + offset) / size, most), lows[-1]))
        return lows, highs
