"""What is known on the grid, embedded."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError, nearest
from spacecast.core.spec import DataSpec
from spacecast.nn.edges import add_shared
from spacecast.nn.mlp import MLP

InputKind = Literal["states", "increments", "stencil"]


class GridEmbedder(nn.Module):
    """MLP of X_{t+1} where known, X_t, X_{t-1}, forcing, neighbours and static features, in this order of columns.

    The static features' part of the first layer is the same for all steps and members; `prepare` computes it.

    Args:
        spec: facts of the data.
        dim: size of the result.
        hidden_layers: hidden layers of the MLP.
        inputs: `states` takes the states as they are; `increments` takes (X_t - X_{t-1}) / diff_std instead of X_{t-1}
            and (X_{t+1} - X_t) / diff_std instead of X_{t+1}: the same information in numbers of order one. `stencil`
            adds the differences of X_t to its neighbouring cells (four on the plane) over diff_std: fluxes and
            gradients, which a mesh that is coarser than the grid does not carry.
        with_next: also embed X_{t+1}.
    """

    static: Tensor
    diff_std: Tensor
    neighbours: Tensor

    def __init__(
        self,
        spec: DataSpec,
        dim: int,
        *,
        hidden_layers: int = 1,
        inputs: InputKind = "states",
        with_next: bool = False,
    ) -> None:
        super().__init__()
        if inputs not in get_args(InputKind):
            raise UserError(f"unknown inputs {inputs!r}; {nearest(inputs, get_args(InputKind))}")
        self.inputs = inputs
        states = (3 if with_next else 2) + (len(spec.grid.neighbours) if inputs == "stencil" else 0)
        self.num_varying = states * len(spec.state) + len(spec.forcing)
        self.mlp = MLP([self.num_varying + len(spec.static)] + [dim] * (hidden_layers + 1))
        self.register_buffer("static", torch.as_tensor(spec.static_standardized), persistent=False)
        self.register_buffer("diff_std", torch.as_tensor(spec.increment_statistics[1]), persistent=False)
        if inputs == "stencil":
            self.register_buffer("neighbours", torch.as_tensor(spec.grid.neighbours), persistent=False)

    def prepare(self) -> Tensor:
        """Static features through the first layer, bias included, shape (node, dim)."""
        first = self.mlp.first
        return functional.linear(self.static, first.weight[:, self.num_varying :], first.bias)

    def forward(
        self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: Tensor, following: Tensor | None = None
    ) -> Tensor:
        """(batch, node, variable) to (batch * node, dim); `following` is X_{t+1}."""
        if self.inputs != "states":
            previous = (state - previous) / self.diff_std
            following = None if following is None else (following - state) / self.diff_std
        known = [state, previous, forcing]
        if self.inputs == "stencil":
            known += [(state.index_select(1, side) - state) / self.diff_std for side in self.neighbours]
        varying = torch.cat(known if following is None else [following, *known], dim=-1).flatten(0, 1)
        hidden = functional.linear(varying, self.mlp.first.weight[:, : self.num_varying])
        return self.mlp.after_first(add_shared(prepared, hidden))
