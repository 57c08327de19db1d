"""The plain convolutional network that an honest comparison needs."""

from collections.abc import Mapping

from spacecast.core.graph import MeshGraph
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.core.spec import DataSpec
from spacecast.models.graph_unet import GraphUNet
from spacecast.nn.conditioning import NoiseSizes
from spacecast.nn.constraints import ElectricKind, Guard, MagneticKind, StateLaw
from spacecast.nn.inputs import InputKind
from spacecast.nn.smoothing import Smoothing
from spacecast.nn.update import Lower


class GridUNet(GraphUNet):
    """A U-Net of 3 x 3 convolutions on the whole plane, one step ahead.

    Cells inside Earth are zero at the input, where a channel tells which they are, and like any other cell from there
    on. The mesh of the graph is not used. Weights have the names of those of `models.graph_unet`.

    Args:
        spec: facts of the data.
        graph: mesh graph of the same grid, of any kind.
        hidden_dim: size of the vectors on cells; a root of two more on each coarser level.
        levels: of cells, each of half as many along each axis as the one below.
        blocks: residual blocks of two convolutions on each level, on the way down and again on the way up.
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

    masked = False

    def __init__(
        self,
        spec: DataSpec,
        graph: MeshGraph,
        *,
        hidden_dim: PositiveInt = 48,
        levels: PositiveInt = 3,
        blocks: NonNegativeInt = 1,
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
        super().__init__(
            spec, graph, hidden_dim=hidden_dim, levels=levels, blocks=blocks, execution="dense",
            predict_std=predict_std, inputs=inputs, previous_leads=previous_leads, trend=trend,
            lower=lower, upper=upper, magnetic=magnetic, electric=electric, state_law=state_law, smooth=smooth,
            guard=guard, noise=noise,
        )  # fmt: skip
