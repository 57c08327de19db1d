"""From what is known on the grid to the raw output of a step, by operators on cells."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.spec import DataSpec
from spacecast.nn.cells import CellLevel
from spacecast.nn.directional import ChannelNorm, Conditions, DirectionalOperator, DirectionalUNet, level_widths
from spacecast.nn.inputs import by_previous
from spacecast.nn.mlp import MLP
from spacecast.nn.stack import Stack

FIRST_OUTPUTS = 0.1  # size of the weights of the output layer over the usual: the first forecasts are near persistence


class CellNetwork(nn.Module):
    """Directional operator of the inputs, a U-Net on levels of cells, and an MLP on each node to the outputs.

    Static features, and where there are cells, have an operator of their own, which is the same for all steps.

    Args:
        spec: facts of the data.
        levels: of its cells, see `nn.cells.make_levels`.
        channels: width of the inputs, (batch, node, channel).
        dim: channels on the cells; coarser levels have more, see `nn.directional.level_widths`.
        blocks: residual blocks on each level, on the way down and again on the way up.
        outputs: numbers per node.
        alone: there is a second output network, for steps without a previous state.
    """

    static: Tensor

    def __init__(
        self,
        spec: DataSpec,
        levels: Sequence[CellLevel],
        channels: int,
        *,
        dim: int,
        blocks: int,
        outputs: int,
        alone: bool = False,
    ) -> None:
        super().__init__()
        axes = len(spec.grid.axes)
        self.levels: Stack[CellLevel] = Stack(levels)
        static = torch.as_tensor(spec.static_standardized)
        self.register_buffer("static", functional.pad(static, (0, 1), value=1.0), persistent=False)
        self.embedder = DirectionalOperator(channels, dim, axes=axes, bias=False)
        self.static_embedder = DirectionalOperator(self.static.shape[1], dim, axes=axes)
        self.unet = DirectionalUNet(level_widths(dim, len(levels)), blocks, axes=axes)
        self.norm = ChannelNorm(dim)
        self.output = output_network(dim, outputs)
        self.output_alone = output_network(dim, outputs) if alone else None

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Level and channels of each norm, in the order in which `forward` takes conditions."""
        return [*self.unet.layers, (0, self.norm.normalized_shape[0])]

    def prepare(self) -> Tensor:
        """Embedded static features, bias included, on the cells of the finest level."""
        return self.static_embedder(self.levels[0].lay_out(self.static[None]), self.levels[0])

    def forward(
        self, inputs: Tensor, prepared: Tensor, conditions: Conditions | None = None, given: Tensor | None = None
    ) -> Tensor:
        """Raw outputs of a step.

        Args:
            inputs: shape (batch, node, channel).
            prepared: what `prepare` has made.
            conditions: of the norms, see `nn.directional.Conditions`.
            given: which batch items have a previous state, shape (batch,); needed with two output networks.

        Returns:
            Shape (batch, node, output).

        """
        cells = self.levels[0]
        values = self.embedder(cells.lay_out(inputs), cells) + prepared
        values = self.unet(values, self.levels, conditions)
        values = functional.silu(cells.pick(self.norm.conditioned(values, cells, conditions)))
        output: Tensor = self.output(values)
        if self.output_alone is None or given is None:
            return output
        return by_previous(given, output, self.output_alone(values))


def output_network(dim: int, outputs: int) -> MLP:
    """From the vector of a node to its outputs, small ones at first."""
    network = MLP([dim, dim, outputs], layer_norm=False)
    with torch.no_grad():
        for parameter in network[-1].parameters():
            parameter.mul_(FIRST_OUTPUTS)
    return network
