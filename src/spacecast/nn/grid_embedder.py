"""What is known on the grid, embedded."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.spec import DataSpec
from spacecast.nn.blockwise import compute
from spacecast.nn.inputs import GridInputs, InputKind
from spacecast.nn.mlp import MLP
from spacecast.nn.rows import Source, Task


class GridEmbedder(nn.Module):
    """MLP of the columns of `nn.inputs.GridInputs` and static features, in this order.

    The static features' part of the first layer is the same for all steps and members; `prepare` computes it.

    Args:
        spec: facts of the data.
        dim: size of the result.
        hidden_layers: hidden layers of the MLP.
        inputs, previous_leads, with_next, neighbours: see `nn.inputs.GridInputs`.
    """

    static: Tensor

    def __init__(
        self,
        spec: DataSpec,
        dim: int,
        *,
        hidden_layers: int = 1,
        inputs: InputKind = "states",
        previous_leads: int | None = None,
        with_next: bool = False,
        neighbours: bool = True,
    ) -> None:
        super().__init__()
        self.inputs = GridInputs(
            spec, inputs, previous_leads=previous_leads, with_next=with_next, neighbours=neighbours
        )
        self.num_varying = self.inputs.channels
        self.mlp = MLP([self.num_varying + len(spec.static)] + [dim] * (hidden_layers + 1))
        self.register_buffer("static", torch.as_tensor(spec.static_standardized), persistent=False)

    def prepare(self) -> Tensor:
        """Static features through the first layer, bias included, shape (node, dim)."""
        first = self.mlp.first
        return functional.linear(self.static, first.weight[:, self.num_varying :], first.bias)

    def forward(
        self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: Tensor, following: Tensor | None = None
    ) -> Tensor:
        """(batch, node, variable) to (batch * node, dim); `following` is X_{t+1}."""
        varying = self.inputs(previous, state, forcing, following).flatten(0, 1)
        task = Task(
            number=len(varying),
            sources=[Source(varying), Source(prepared)],
            products=[(0, self.mlp.first.weight[:, : self.num_varying]), (1, None)],
            layers=self.mlp.layers(biased=False),
        )
        embedded, _ = compute(task, recompute=self.mlp.recompute)
        assert embedded is not None
        return embedded
