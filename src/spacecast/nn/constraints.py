"""What holds for a forecast by construction: div B, Ohm's law, the law of gas, the range of the training data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError, nearest
from spacecast.core.ranges import NonNegativeFloat
from spacecast.core.spec import DataSpec
from spacecast.nn.inputs import by_previous, previous_given, undecided
from spacecast.nn.laws import GasLaw, IdealField
from spacecast.nn.limits import Limits
from spacecast.nn.potential import MagneticPotential
from spacecast.nn.seam import Seam
from spacecast.nn.smoothing import FourthDifference, Smoothing

MagneticKind = Literal["free", "potential", "auto"]
ElectricKind = Literal["free", "ideal", "auto"]
Guard = NonNegativeFloat | Literal["auto"]
"""Here and above, `auto` is a word of configurations, see `app.auto`; whatever computes refuses it."""
StateLaw = Literal["free", "project", "forecasts", "auto"]
ASTRAY = 0.01  # share of the nodes that may leave the range in a forecast that needs a guard
SPARE = 0.05  # of a standard deviation, that a value may leave a range of no width


class Constraints(nn.Module):
    """What holds for a forecast besides limits of single variables.

    Variables are computed in this order: B in the plane from the curl of a potential; others cut at their range; P, rho
    and T projected; E from v and B, where v gives way if E would leave its range. The network puts out the other
    variables in the order of the data, and an increment of the potential last.

    Args:
        spec: facts of the data.
        magnetic: `potential`: B in the plane changes by the curl of a potential (`nn.potential`).
        electric: `ideal`: E = -v x B (`nn.laws`).
        state_law: `project`: P = n k T by the smallest change (`nn.laws`); `forecasts`: the same, but not in training,
            where it makes a step an eighth longer.
        smooth: whether to take a sixteenth of the fourth difference off the network's output: `none`, `always`, or
            `without_previous`, where the state before the last is that same state, which stands for none.
        guard: share of its range in the training runs by which a value may leave it on each node, see
            `guarded_limits` for states that have left it by more, as true ones may; None: no such limit.
        lower, upper: limits by variable name, physical units, which hold for the projection too.

    Attributes:
        outputs: numbers that the network puts out for each node.
        held: what noise on the forecast would break, as options.

    Raises:
        UserError: the data lack what a constraint needs, or an option is unknown or at odds with a limit.
    """

    in_single_precision = True  # in a model of half precision, too

    low: Tensor
    high: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        magnetic: MagneticKind = "free",
        electric: ElectricKind = "free",
        state_law: StateLaw = "free",
        smooth: Smoothing = "none",
        guard: Guard | None = None,
        lower: Mapping[str, float] | None = None,
        upper: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        check_choices(magnetic=magnetic, electric=electric, state_law=state_law, smooth=smooth)
        if isinstance(guard, str):
            raise undecided("guard", Guard)
        self.potential = MagneticPotential(spec) if magnetic == "potential" else None
        self.electric = IdealField(spec) if electric == "ideal" else None
        self.gas = GasLaw(spec, lower, upper) if state_law in ("project", "forecasts") else None
        self.gas_in_training = state_law == "project"
        self.smoothing = FourthDifference(spec.grid) if smooth != "none" else None
        self.smooth = smooth
        options = {"magnetic": magnetic, "electric": electric, "state_law": state_law, "guard": guard}
        self.held = [f"{key}={value}" for key, value in options.items() if value not in ("free", None)]
        derived = self._derived(spec, {**(lower or {}), **(upper or {})})
        self.free = [column for column in range(len(spec.state)) if column not in derived]
        self.outputs = len(self.free) + (self.potential is not None)
        low, high = training_range(spec, guard) if guard is not None else (None, None)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.guarded = guard is not None
        self.grid, self.std, self.boundary = spec.grid, spec.state.std, spec.boundary
        self.seam = self._make_seam(spec.boundary)
        self._foreign: tuple[Tensor, Seam | None] | None = None

    def _derived(self, spec: DataSpec, limits: Mapping[str, float]) -> list[int]:
        """Numbers of the variables that the network does not put out."""
        derived = []
        for key, part in (("magnetic=potential", self.potential), ("electric=ideal", self.electric)):
            for column in [] if part is None else part.columns:
                name = spec.state.names[column]
                if name in limits:
                    raise UserError(f"model.{key} computes {name}: take its limit out of model.lower and model.upper")
                derived.append(column)
        return derived

    def read(self, output: Tensor, previous: Tensor, state: Tensor) -> tuple[dict[int, Tensor], Tensor | None]:
        """Network output (batch, node, outputs) by number of the variable, and the increment of the potential."""
        output = output.to(state.dtype)  # in half precision, a curl would have a divergence
        if self.smoothing is not None:
            smooth = self.smoothing(output)
            if self.smooth == "without_previous":
                smooth = by_previous(previous_given(previous, state), output, smooth)
            output = smooth
        columns = by_variable(output)
        potential = columns[-1] if self.potential is not None else None
        return dict(zip(self.free, columns, strict=self.potential is None)), potential

    def forward(self, variables: list[Tensor], potential: Tensor | None, before: list[Tensor]) -> Tensor:
        """The new state (batch, node, state) with all that holds.

        Args:
            variables: standardised, (batch, node) each; of B in the plane the first guess that the curl is added to.
            potential: its increment, from `read`.
            before: the present state, (batch, node) each.
        """
        spared = []
        limits = guarded_limits(torch.stack(before, dim=1), self.low, self.high) if self.guarded else []
        if self.potential is not None and potential is not None:
            spared = self.potential.columns
            own = [limits[column] for column in spared] if self.guarded else []
            _put(variables, spared, self._magnetic(self.potential, potential, [variables[c] for c in spared], own))
        if self.guarded:
            spared = [*spared, *([] if self.electric is None else self.electric.columns)]
            variables = [
                value if column in spared else value.clamp(*limits[column]) for column, value in enumerate(variables)
            ]
        if self.gas is not None and (self.gas_in_training or not self.training):
            own = [limits[column] for column in self.gas.columns] if self.guarded else []
            _put(variables, self.gas.columns, self.gas(variables, own))
        if self.electric is not None:
            field, slowed = self.electric(variables), None
            if self.guarded:
                slowed = self.electric.slowed(variables, field, [limits[column] for column in self.electric.columns])
            if slowed is not None:
                flow = self.electric.velocity.columns
                _put(variables, flow, [v.clamp(*limits[column]) for v, column in zip(slowed, flow, strict=True)])
                field = self.electric(variables)
            _put(variables, self.electric.columns, field)
        return torch.stack(variables).movedim(0, -1).contiguous()

    def _magnetic(
        self,
        head: MagneticPotential,
        potential: Tensor,
        base: list[Tensor],
        limits: Limits,
    ) -> list[Tensor]:
        """Standardised B in the plane, (batch, node) each, within limits of both components, where there are any."""
        change = head.within(potential, base, limits) if limits else head(potential)
        return head.settle([before + one for before, one in zip(base, change, strict=True)])

    def drive(self, state: Tensor, truth: Tensor, driven: Tensor) -> Tensor:
        """See `StateUpdate.drive`."""
        new = torch.where(driven[:, None], truth, state)
        seam = self._seam_of(driven) if self.potential is not None else None
        if seam is None or self.potential is None:
            return new
        columns = self.potential.columns
        jump = torch.stack([truth[..., column] - state[..., column] for column in columns], dim=-1)
        variables = list(new.index_select(1, seam.nodes).unbind(-1))
        change = seam(jump).unbind(-1)
        fields = [(variables[column].double() + one).to(new.dtype) for column, one in zip(columns, change, strict=True)]
        _put(variables, columns, fields)
        if self.electric is not None:
            _put(variables, self.electric.columns, self.electric(variables))
        return new.index_copy(1, seam.nodes, torch.stack(variables, dim=-1))

    def _make_seam(self, driven: np.ndarray) -> Seam | None:
        """The seam beside driven nodes; None where no stencil reaches across."""
        if self.potential is None or not driven.any() or driven.all():
            return None
        seam = Seam(self.grid, driven, self.std[self.potential.columns])
        return seam if seam.mixed.numel() else None

    def _seam_of(self, driven: Tensor) -> Seam | None:
        """That of the training data's boundary, or of another one that a forecast has."""
        if self._foreign is None or self._foreign[0] is not driven:
            nodes = driven.cpu().numpy()
            with torch.inference_mode(False):
                seam = self.seam if np.array_equal(nodes, self.boundary) else self._make_seam(nodes)
            self._foreign = driven, seam if seam is None else seam.to(driven.device)
        return self._foreign[1]


def by_variable(values: Tensor) -> tuple[Tensor, ...]:
    """(batch, node, variable) to (batch, node) for each variable, in one piece of memory each."""
    return values.movedim(-1, 0).contiguous().unbind()


def guarded_limits(present: Tensor, low: Tensor, high: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Limits of each variable, wide enough for where the present state is.

    A value beyond the limits need not come back, but goes no further. Where more nodes than one in a hundred are
    beyond them, the state is of a kind that the training did not have, such as another density of the solar wind, and
    no forecast that went astray: all limits of the variable move as far as all but a hundredth of the nodes need.

    Args:
        present: standardised state, (batch, state, node).
        low, high: limits, (state, node) each.

    Returns:
        Least and largest value of each variable, (batch, node) each.
    """
    with torch.no_grad():
        width, beyond = high - low, present - high
        torch.maximum(low - present, beyond, out=beyond).div_(width)
        spared = max(round(ASTRAY * present.shape[-1]), 1)
        room = beyond.topk(spared + 1, dim=-1).values[..., -1:].clamp_(min=0.0) * width
        least, most = low - room, room.add_(high)
        torch.minimum(least, present, out=least)
        torch.maximum(most, present, out=most)
    return list(zip(least.unbind(1), most.unbind(1), strict=True))


def training_range(spec: DataSpec, share: float) -> tuple[Tensor, Tensor]:
    """Least and largest standardised value that a guard lets through, each (state, node).

    Raises:
        UserError: the share is negative, or the data do not know their range.
    """
    if not share >= 0:
        raise UserError(f"model.guard={share:g}: expected a share of the training range, 0 or more, or null")
    if spec.lower is None or spec.upper is None:
        raise UserError(
            "model.guard needs the range of each variable on each node, which the statistics of these data do not "
            "hold; set model.guard=null, or datastore.statistics=pooled"
        )
    low, high = ((values - spec.state.mean) / spec.state.std for values in (spec.lower, spec.upper))
    spare = np.maximum(share * (high - low), SPARE)
    low, high = (np.ascontiguousarray(each.T, dtype=np.float32) for each in (low - spare, high + spare))
    return torch.from_numpy(low), torch.from_numpy(high)


def check_choices(
    *, magnetic: MagneticKind, electric: ElectricKind, state_law: StateLaw, smooth: Smoothing
) -> None:
    """Refuse unknown options.

    Raises:
        UserError: with the nearest one that there is.
    """
    for key, value, kind in (
        ("magnetic", magnetic, MagneticKind),
        ("electric", electric, ElectricKind),
        ("state_law", state_law, StateLaw),
        ("smooth", smooth, Smoothing),
    ):
        if value == "auto" and value in get_args(kind):
            raise undecided(key, kind)
        if value not in get_args(kind):
            raise UserError(f"model.{key}={value} is unknown; {nearest(str(value), get_args(kind))}")


def _put(variables: list[Tensor], columns: Sequence[int], values: Iterable[Tensor]) -> None:
    """Replace some variables."""
    for column, value in zip(columns, values, strict=True):
        variables[column] = value
