"""One step ahead by operators on cells alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.spec import DataSpec
from spacecast.core.types import StepOutput
from spacecast.nn.cells import CellLevel, rows_of
from spacecast.nn.directional import ChannelNorm, Conditions, DirectionalOperator, DirectionalUNet, level_widths
from spacecast.nn.inputs import GridInputs, output_of, previous_given
from spacecast.nn.mlp import MLP
from spacecast.nn.stack import Stack
from spacecast.nn.update import StateUpdate

FIRST_OUTPUTS = 0.1  # size of the last weights over the usual: the first forecasts are near persistence


class CellNetwork(nn.Module):
    """Directional operator of the inputs, a U-Net on levels of cells, an MLP on each node, and the next state from it.

    Static features, and where there are cells, have an operator of their own, which is the same for all steps. Where
    the inputs may lack the previous state, there is a second MLP for steps without it.

    Args:
        spec: facts of the data.
        levels: of its cells, see `nn.cells.make_levels`.
        inputs: what is known on the nodes.
        update: makes the next state of the outputs.
        dim: channels on the cells; coarser levels have more, see `nn.directional.level_widths`.
        blocks: residual blocks on each level, on the way down and again on the way up.
    """

    static: Tensor

    def __init__(
        self,
        spec: DataSpec,
        levels: Sequence[CellLevel],
        inputs: GridInputs,
        update: StateUpdate,
        *,
        dim: int,
        blocks: int,
    ) -> None:
        super().__init__()
        axes = len(spec.grid.axes)
        self.levels: Stack[CellLevel] = Stack(levels)
        self.inputs, self.update = inputs, update
        static = functional.pad(torch.as_tensor(spec.static_standardized), (0, 1), value=1.0)
        self.register_buffer("static", static, persistent=False)
        self.embedder = DirectionalOperator(inputs.channels, dim, axes=axes, bias=False)
        self.static_embedder = DirectionalOperator(static.shape[1], dim, axes=axes)
        self.unet = DirectionalUNet(level_widths(dim, len(levels)), blocks, axes=axes)
        self.norm = ChannelNorm(dim)
        self.output = output_network(dim, update.outputs)
        self.output_alone = output_network(dim, update.outputs) if inputs.previous_leads else None

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Level and channels of each norm, in the order in which `step` takes conditions."""
        return [*self.unet.layers, (0, self.norm.normalized_shape[0])]

    def lay_out(self, nodes: Tensor, level: int) -> Tensor:
        """(batch, node, channel) of a level to the rows of its norms."""
        return rows_of(self.levels[level], nodes)

    def prepare(self) -> Tensor:
        """Embedded static features, bias included, on the cells of the finest level."""
        return self.static_embedder(self.levels[0].lay_out(self.static[None]), self.levels[0])

    def step(
        self,
        previous: Tensor,
        state: Tensor,
        forcing: Tensor,
        prepared: Tensor,
        conditions: Conditions | None = None,
    ) -> StepOutput:
        """See `core.protocols.StepModel`; `conditions` are those of the norms, see `nn.directional.Conditions`."""
        cells = self.levels[0]
        known = self.inputs(previous, state, forcing)
        values = self.embedder(cells.lay_out(known), cells) + prepared
        values = self.unet(values, self.levels, conditions)
        values = self.norm.activated(values, cells, conditions, picked=True)
        given = None if self.output_alone is None else previous_given(previous, state)
        output = output_of(self.output, self.output_alone, values.flatten(0, 1), given)
        return self.update.step(output, previous, state)


def output_network(dim: int, outputs: int) -> MLP:
    """From the vector of a node to its outputs, small ones at first."""
    network = MLP([dim, dim, outputs], layer_norm=False)
    with torch.no_grad():
        for parameter in network[-1].parameters():
            parameter.mul_(FIRST_OUTPUTS)
    return network
