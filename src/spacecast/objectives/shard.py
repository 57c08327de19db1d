"""An objective on a part of the grid."""

from torch import nn

from spacecast.core.protocols import StepModel
from spacecast.core.shards import GridPart
from spacecast.core.types import Batch, LossTerms, Stage


class ShardObjective(nn.Module):
    """The mean of an objective over the parts of the grid, weighted by the nodes that are forecast.

    The loss is the same in all processes, as if one had computed it; its gradient, averaged over all of them as in
    data-parallel training, is that of the whole.

    Args:
        objective: on the nodes of the part, a mean over those that are forecast.
        part: which they are.
    """

    def __init__(self, objective: nn.Module, part: GridPart) -> None:
        super().__init__()
        self.objective, self.part = objective, part

    def forward(self, model: StepModel, batch: Batch, stage: Stage) -> LossTerms:
        """See `core.protocols.Objective`."""
        own: LossTerms = self.objective(model, batch, stage)
        group, share = self.part.group, self.part.share
        terms = {name: group.total(share * term.detach()) for name, term in own.terms.items()}
        return LossTerms(group.total(share * own.total), terms)
