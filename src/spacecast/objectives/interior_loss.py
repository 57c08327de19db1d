"""A loss of single entries, averaged over the nodes that are forecast."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError, nearest
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, Forecast
from spacecast.formulas.pointwise import LOSSES, Loss, LossName, Reduction

Weights = Mapping[str, float] | Literal["plasma"]
PLASMA = {"Ey": 2.0, "rho": 3.0}
"""What grows rough in roll-outs of hundreds of steps, since it changes little where plasma is thin or B is strong."""


class InteriorLoss(nn.Module):
    """A loss of single entries, averaged over interior nodes.

    Errors are measured in units of the one-step increments of the data, so that 1 is the error of persistence after one
    step (up to the mean increment) for every variable.

    Args:
        spec: facts of the data.
        loss: name of a loss in `formulas.pointwise.LOSSES`, or a function like those.
        variable_weights: multiplies a variable's squared error, by name; 1 where it is not named. `plasma`: those of
            `PLASMA` that the data hold.
        reduction: `mean` over all axes, or `reference`, the published definition: mean over batch, lead and node, sum
            over variables, each weighted by 1 / number of variables unless weights are given.
    """

    nodes: Tensor
    driven: Tensor | None
    increments: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        loss: LossName | Loss = "wmse",
        variable_weights: Weights | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if not callable(loss) and loss not in LOSSES:
            raise UserError(f"unknown loss {loss!r}; {nearest(loss, LOSSES)}")
        if reduction not in get_args(Reduction):
            raise UserError(f"unknown reduction {reduction!r}; {nearest(reduction, get_args(Reduction))}")
        self.loss: Loss = loss if callable(loss) else LOSSES[loss]
        self.reference = reduction == "reference"
        if isinstance(variable_weights, str):
            variable_weights = known_weights(variable_weights, spec)
        weights = torch.ones(len(spec.state))
        if self.reference and not variable_weights:
            weights /= len(spec.state)
        for name, weight in (variable_weights or {}).items():
            if weight < 0:
                raise UserError(f"loss weight of {name} is {weight:g}: it must not be negative")
            weights[spec.state.index(name)] = weight
        diff_std = torch.as_tensor(spec.increment_statistics[1])
        self.register_buffer("increments", diff_std, persistent=False)
        self.register_buffer("scale", diff_std / weights.sqrt(), persistent=False)
        self.register_buffer("nodes", torch.as_tensor(spec.interior_nodes), persistent=False)
        driven = None if spec.driven is None else torch.as_tensor(spec.driven)
        self.register_buffer("driven", driven, persistent=False)

    def inside(self, values: Tensor) -> Tensor:
        """Interior nodes of (..., node, variable)."""
        return values if self.driven is None else values.index_select(-2, self.nodes)

    def reduce(self, entries: Tensor) -> Tensor:
        """Losses of entries (..., variable) to a scalar."""
        return entries.flatten(0, -2).mean(dim=0).sum() if self.reference else entries.mean()

    def own_weight(self, batch: Batch) -> Tensor | None:
        """What the errors of forecasts from own states count, shape (batch, 1, 1, variable); None: all as much.

        1 / (1 + 10 e^2), with the squared error e^2 of the state at t in one-step increments, mean over nodes: squared
        errors of states far from the truth would otherwise be all that training sees.
        """
        if batch.initial.shape[1] < 3:
            return None
        error = self.inside(batch.initial[:, 1] - batch.initial[:, 2]) / self.increments
        return 1 / (1 + 10 * error.square().mean(dim=1))[:, None, None]

    def forward(self, forecast: Forecast, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Loss of a roll-out against its target, (batch, lead, node, variable), entries weighted."""
        std = self.scale if forecast.std is None else self.inside(forecast.std)
        entries = self.loss(self.inside(forecast.states), self.inside(target), std)
        return self.reduce(entries if weight is None else weight * entries)


def known_weights(name: str, spec: DataSpec) -> dict[str, float]:
    """The weights that a word stands for.

    Raises:
        UserError: it is another one.

    """
    if name != "plasma":
        raise UserError(f"loss.variable_weights={name}: expected weights by variable name, or 'plasma'")
    return {variable: weight for variable, weight in PLASMA.items() if variable in spec.state.names}
