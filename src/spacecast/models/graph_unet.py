"""Message passing among neighbouring cells that knows directions, on the cells and on coarser levels of them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spacecast.core.graph import MeshGraph
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.core.spec import DataSpec
from spacecast.core.types import Draw, StepOutput
from spacecast.models.encode_process_decode import check_graph
from spacecast.nn.cell_network import CellNetwork
from spacecast.nn.cells import Execution, level_positions, make_levels
from spacecast.nn.conditioning import NoiseSizes, make_noise
from spacecast.nn.constraints import ElectricKind, Guard, MagneticKind, StateLaw
from spacecast.nn.inputs import GridInputs, InputKind
from spacecast.nn.smoothing import Smoothing
from spacecast.nn.update import Lower, make_update


class GraphUNet(nn.Module):
    """A U-Net whose operator is message passing with one weight matrix for each direction, one step ahead.

    Nodes are cells and blocks of 2 x 2, 4 x 4, ... cells; edges join the eight neighbours, and the cells of a block to
    it. Earth has no nodes. The mesh of the graph is not used.

    Args:
        spec: facts of the data.
        graph: mesh graph of the same grid, of any kind.
        hidden_dim: size of the vectors on cells; a root of two more on each coarser level.
        levels: of cells, each of half as many along each axis as the one below.
        blocks: residual blocks of two operators on each level, on the way down and again on the way up.
        execution: `dense` lays nodes out on the whole grid and convolves, `edges` gathers from neighbours, with the
            same result; `auto`: dense where at least half of the cells are nodes.
        predict_std: also predict a standard deviation for each entry.
        inputs: `states`, `increments`, `stencil` or `tendencies`, see `nn.inputs`.
        previous_leads: of how many leads of a roll-out X_{t-1} is an input; None: of all of them. Where it is given for
            some, the model has two output networks, one for the steps with it and one for those without.
        trend: share of the last increment in the first guess (0: persistence, 1: linear extrapolation).
        lower, upper: physical limits of the forecast, see `nn.update.make_clamp`.
        magnetic, electric, state_law, smooth, guard: what holds for the forecast, see `nn.constraints.Constraints`.
        noise: random numbers that each step draws, see `nn.conditioning.NoiseConditioning`; None: it draws nothing.

    Raises:
        UserError: when the graph is of another grid, or the grid too small for the levels.
    """

    masked = True  # cells without plasma send nothing

    def __init__(
        self,
        spec: DataSpec,
        graph: MeshGraph,
        *,
        hidden_dim: PositiveInt = 48,
        levels: PositiveInt = 3,
        blocks: NonNegativeInt = 1,
        execution: Execution = "auto",
        predict_std: bool = False,
        inputs: InputKind = "increments",
        previous_leads: NonNegativeInt | None = None,
        trend: float = 0.0,
        lower: Lower | None = "nonnegative",
        upper: Mapping[str, float] | None = None,
        magnetic: MagneticKind = "free",
        electric: ElectricKind = "free",
        state_law: StateLaw = "free",
        smooth: Smoothing = "none",
        guard: Guard | None = None,
        noise: NoiseSizes | None = None,
    ) -> None:
        super().__init__()
        check_graph(graph, spec, "any")
        update = make_update(
            spec, trend=trend, lower=lower, upper=upper, predict_std=predict_std,
            magnetic=magnetic, electric=electric, state_law=state_law, smooth=smooth, guard=guard,
        )  # fmt: skip
        self.previous_leads, self.cell_levels = previous_leads, levels
        known = GridInputs(spec, inputs, previous_leads=previous_leads, neighbours=False)
        cells = make_levels(spec.grid, levels, execution, masked=self.masked)
        self.network = CellNetwork(spec, cells, known, update, dim=hidden_dim, blocks=blocks)
        self.noise = make_noise(noise, spec.grid, level_positions(spec.grid, levels), self.network.layers)

    @property
    def draws(self) -> bool:
        """See `core.protocols.draws`."""
        return self.noise is not None

    def prepare(self) -> Tensor:
        """Embedded static features."""
        return self.network.prepare()

    def step(
        self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: Tensor, draw: Draw | None = None
    ) -> StepOutput:
        """See `core.protocols.StepModel`."""
        conditions = None
        if self.noise is not None:
            conditions = self.noise(state, draw or torch.randn_like, self.network.lay_out)
        return self.network.step(previous, state, forcing, prepared, conditions)

    def drive(self, state: Tensor, truth: Tensor, driven: Tensor) -> Tensor:
        """See `nn.update.StateUpdate.drive`."""
        return self.network.update.drive(state, truth, driven)
