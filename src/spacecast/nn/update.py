"""From the raw output of a network to the next state."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError
from spacecast.core.spec import NON_NEGATIVE, DataSpec, FeatureSpec
from spacecast.core.types import StepOutput
from spacecast.nn.constraints import Constraints, ElectricKind, Guard, MagneticKind, StateLaw, by_variable
from spacecast.nn.smoothing import Smoothing

Lower = Mapping[str, float] | Literal["nonnegative"]
ROUNDING = 2.0**-22  # of a value in physical units that went through standardised ones in single precision


def inverse_softplus(values: Tensor) -> Tensor:
    """Inverse of softplus: log(exp(y) - 1), linear above 20; values below 1e-6 count as 1e-6."""
    clipped = values.clamp(min=1e-6)
    return torch.where(values > 20, values, clipped + torch.log(-torch.expm1(-clipped)))


def inverse_sigmoid(values: Tensor) -> Tensor:
    """Inverse of the logistic function, on [1e-6, 1 - 1e-6]."""
    return torch.logit(values, eps=1e-6)


def at_least_single(values: Tensor) -> Tensor:
    """The same, but for half precision, which becomes single."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class OutputClamp(nn.Module):
    """Keeps variables within physical limits: the increment is added in an unbounded space f^-1(x).

    Variables with two limits use a logistic function, those with one a softplus. `new = f(f^-1(old) + increment)`.

    Args:
        state: the state variables.
        lower, upper: limits by variable name, physical units.

    Raises:
        UserError: for an unknown variable or limits in the wrong order.
    """

    both_index: Tensor
    both_low: Tensor
    both_high: Tensor
    lower_index: Tensor
    lower_low: Tensor
    upper_index: Tensor
    upper_high: Tensor

    def __init__(
        self, state: FeatureSpec, lower: Mapping[str, float] | None = None, upper: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        lower, upper = dict(lower or {}), dict(upper or {})
        self.limited: dict[int, tuple[str, int]] = {}
        for name in lower.keys() & upper.keys():
            if not lower[name] < upper[name]:
                raise UserError(f"limits of {name}: lower {lower[name]:g} is not below upper {upper[name]:g}")
        both = sorted(lower.keys() & upper.keys(), key=state.index)
        self._limits(state, "both", both, lower, upper)
        self._limits(state, "lower", sorted(lower.keys() - set(both), key=state.index), lower, {})
        self._limits(state, "upper", sorted(upper.keys() - set(both), key=state.index), {}, upper)

    def _limits(
        self, state: FeatureSpec, kind: str, names: list[str], lower: Mapping[str, float], upper: Mapping[str, float]
    ) -> None:
        """Buffers with the variables of a kind and their standardised limits, a rounding error further inwards."""
        index = state.indices(names)
        self.limited |= {column: (kind, place) for place, column in enumerate(index)}
        self.register_buffer(f"{kind}_index", torch.tensor(index, dtype=torch.long), persistent=False)
        for side, limits in (("low", lower), ("high", upper)):
            known = [(name, i) for name, i in zip(names, index, strict=True) if name in limits]
            inwards = ROUNDING if side == "low" else -ROUNDING
            triples = [(limits[name], float(state.mean[i]), float(state.std[i])) for name, i in known]
            values = [(limit - mean + inwards * (abs(limit) + abs(mean))) / std for limit, mean, std in triples]
            self.register_buffer(f"{kind}_{side}", torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, state: Tensor, increment: Tensor) -> Tensor:
        """Old state and increment, (..., state), to the new state; both standardised."""
        new = state + increment
        if self.both_index.numel():
            width = self.both_high - self.both_low
            share = (state[..., self.both_index] - self.both_low) / width
            free = inverse_sigmoid(share) + increment[..., self.both_index]
            new = new.index_copy(-1, self.both_index, self.both_low + width * torch.sigmoid(free))
        if self.lower_index.numel():
            free = inverse_softplus(state[..., self.lower_index] - self.lower_low) + increment[..., self.lower_index]
            new = new.index_copy(-1, self.lower_index, self.lower_low + functional.softplus(free))
        if self.upper_index.numel():
            free = -inverse_softplus(self.upper_high - state[..., self.upper_index]) + increment[..., self.upper_index]
            new = new.index_copy(-1, self.upper_index, self.upper_high - functional.softplus(-free))
        return new

    def one(self, column: int, old: Tensor, increment: Tensor) -> Tensor:
        """`forward` of a single variable: its old values and their increments, of any shape, to the new ones."""
        kind, place = self.limited.get(column, ("none", 0))
        if kind == "both":
            low, width = self.both_low[place], self.both_high[place] - self.both_low[place]
            return low + width * torch.sigmoid(inverse_sigmoid((old - low) / width) + increment)
        if kind == "lower":
            low = self.lower_low[place]
            return low + functional.softplus(inverse_softplus(old - low) + increment)
        if kind == "upper":
            high = self.upper_high[place]
            return high - functional.softplus(inverse_softplus(high - old) - increment)
        return old + increment

    def hold(self, state: Tensor) -> Tensor:
        """A state, (..., state), cut at the limits."""
        for kind, low, high in (
            (self.both_index, self.both_low, self.both_high),
            (self.lower_index, self.lower_low, None),
            (self.upper_index, None, self.upper_high),
        ):
            if kind.numel():
                state = state.index_copy(-1, kind, state[..., kind].clamp(low, high))
        return state


def make_clamp(
    state: FeatureSpec, lower: Lower | None = None, upper: Mapping[str, float] | None = None
) -> OutputClamp | None:
    """The clamp for the limits that a model was given; None: there are none.

    Args:
        state: the state variables.
        lower: by variable name, physical units; `nonnegative`: 0 for density, pressure and temperature where the data
            hold them and their mean is not below 0 (as that of a logarithm may be).
        upper: by variable name, physical units.

    Raises:
        UserError: for an unknown variable or limits in the wrong order.
    """
    lower = lower_limits(state, lower)
    return OutputClamp(state, lower, upper) if lower or upper else None


def lower_limits(state: FeatureSpec, lower: Lower | None) -> Mapping[str, float] | None:
    """Lower limits by variable name, as `make_clamp` takes them, with `nonnegative` spelt out."""
    if lower == "nonnegative":
        names = [name for name in NON_NEGATIVE if name in state.names and state.mean[state.index(name)] >= 0]
        return dict.fromkeys(names, 0.0)
    if isinstance(lower, str):
        raise UserError(f"model.lower={lower}: expected limits by variable name, or 'nonnegative'")
    return lower


class StateUpdate(nn.Module):
    """Next state = state + increment, the increment in units of the one-step differences of the data.

    Args:
        diff_mean, diff_std: statistics of the one-step increments of standardised states, shape (state,).
        clamp: keeps the result within limits, or None.
        scale_increments: multiply the network's output by diff_std and add diff_mean; False adds it as it is.
        trend: share of the last increment X_t - X_{t-1} in the first guess: 0 is persistence, 1 linear extrapolation.
        constraints: what else holds for the result, or None.

    Attributes:
        outputs: how many numbers the network has to put out for each node; `make_update` counts those of a standard
            deviation as well.
    """

    diff_mean: Tensor
    diff_std: Tensor

    def __init__(
        self,
        diff_mean: Tensor,
        diff_std: Tensor,
        *,
        clamp: OutputClamp | None = None,
        scale_increments: bool = True,
        trend: float = 0.0,
        constraints: Constraints | None = None,
        predict_std: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("diff_mean", diff_mean, persistent=False)
        self.register_buffer("diff_std", diff_std, persistent=False)
        self.clamp = clamp
        self.scale_increments = scale_increments
        self.trend = trend
        self.constraints = constraints
        self.means = len(diff_std) if constraints is None else constraints.outputs
        self.outputs = self.means + (len(diff_std) if predict_std else 0)

    @property
    def whole_grid(self) -> list[str]:
        """Options that tie the forecast of a node to that of others, see `core.protocols.whole_grid_of`."""
        if self.constraints is None:
            return []
        smooth = [f"smooth={self.constraints.smooth}"] if self.constraints.smoothing is not None else []
        return [option for option in self.constraints.held if option != "electric=ideal"] + smooth

    def step(self, output: Tensor, previous: Tensor, state: Tensor) -> StepOutput:
        """Network output (batch * node, outputs) to X_{t+1}; the last columns may hold raw standard deviations."""
        output = output.view(*state.shape[:2], -1)
        if output.shape[-1] == self.means:
            return StepOutput(self(output, previous, state), None)
        mean, raw_std = output.split([self.means, state.shape[-1]], dim=-1)
        return StepOutput(self(mean, previous, state), functional.softplus(raw_std))

    def forward(self, output: Tensor, previous: Tensor, state: Tensor) -> Tensor:
        """Network output (..., outputs), X_{t-1} and X_t, each (..., state), to X_{t+1}."""
        if self.constraints is not None:
            return self._constrained(self.constraints, output, previous, state)
        increment = output * self.diff_std + self.diff_mean if self.scale_increments else output
        if self.trend:
            increment = increment + self.trend * (state - previous)
        return self.clamp(state, increment) if self.clamp is not None else state + increment

    def _constrained(self, constraints: Constraints, output: Tensor, previous: Tensor, state: Tensor) -> Tensor:
        """The same where more holds; each variable in a piece of memory of its own, which is faster for formulas.

        In half precision, formulas of velocities and magnetic fields would overflow: they are in single precision.
        """
        given = state.dtype
        previous, state = at_least_single(previous), at_least_single(state)
        old, (outputs, potential) = by_variable(state), constraints.read(output, previous, state)
        base = by_variable(state + self.trend * (state - previous)) if self.trend else old
        new = list(base)
        for column, value in outputs.items():
            change = value * self.diff_std[column] + self.diff_mean[column] if self.scale_increments else value
            if self.trend:
                change = change + (base[column] - old[column])
            new[column] = old[column] + change if self.clamp is None else self.clamp.one(column, old[column], change)
        return constraints(new, potential, old).to(given)

    def drive(self, state: Tensor, truth: Tensor, driven: Tensor) -> Tensor:
        """Put the truth on driven nodes; beside them B keeps its divergence and E obeys its law, where they do so.

        Args:
            state, truth: standardised, (batch, node, state).
            driven: True on the driven nodes, (node,).
        """
        if self.constraints is None:
            return torch.where(driven[:, None], truth, state)
        return self.constraints.drive(at_least_single(state), at_least_single(truth), driven).to(state.dtype)


def make_update(
    spec: DataSpec,
    *,
    trend: float = 0.0,
    lower: Lower | None = "nonnegative",
    upper: Mapping[str, float] | None = None,
    scale_increments: bool = True,
    predict_std: bool = False,
    magnetic: MagneticKind = "free",
    electric: ElectricKind = "free",
    state_law: StateLaw = "free",
    smooth: Smoothing = "none",
    guard: Guard | None = None,
) -> StateUpdate:
    """From facts of the data and the keys that all models have.

    Args:
        spec: facts of the data.
        trend, scale_increments: see `StateUpdate`.
        lower, upper: see `make_clamp`.
        predict_std: the network puts out a raw standard deviation of each variable as well.
        magnetic, electric, state_law, smooth, guard: see `nn.constraints.Constraints`.

    Raises:
        UserError: the data lack what a constraint needs, or an option is unknown.
    """
    constraints = None
    if (magnetic, electric, state_law, smooth, guard) != ("free", "free", "free", "none", None):
        constraints = Constraints(
            spec, magnetic=magnetic, electric=electric, state_law=state_law, smooth=smooth, guard=guard,
            lower=lower_limits(spec.state, lower), upper=upper,
        )  # fmt: skip
    diff_mean, diff_std = map(torch.as_tensor, spec.increment_statistics)
    return StateUpdate(
        diff_mean,
        diff_std,
        clamp=make_clamp(spec.state, lower, upper),
        scale_increments=scale_increments,
        trend=trend,
        constraints=constraints,
        predict_std=predict_std,
    )
