"""The initial states that a training starts from: true ones with noise, at times without the one before; own ones."""

import torch
from torch import Tensor, nn

from spacecast.core.protocols import StepModel
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch


class InitialStates(nn.Module):
    """Perturbs true initial states, so that a model learns to forecast from states like its own.

    Both states get Gaussian noise, independent of each other (Sanchez-Gonzalez et al. 2020, section 3.3), none on
    driven nodes, which are always true; targets stay as they are. A state that is the model's own is left alone.

    A model with `previous_leads` N > 0, which has the state before in the first N leads of a roll-out, learns to do
    without it as well: in a share of the windows it is given the state at t in its place, which means just that. Where
    a batch holds states of the model's own, this has been decided already.

    Args:
        spec: facts of the data.
        noise: standard deviation of the noise, in one-step increments of each variable.
        previous_given: share of the windows in which such a model has the state before.
    """

    scale: Tensor

    def __init__(self, spec: DataSpec, *, noise: float = 0.0, previous_given: float = 0.7) -> None:
        super().__init__()
        self.noise, self.previous_given = noise, previous_given
        increments = torch.as_tensor(spec.increment_statistics[1])
        self.register_buffer("scale", noise * increments * torch.as_tensor(spec.interior)[:, None], persistent=False)

    def forward(self, model: StepModel, batch: Batch) -> Batch:
        """A standardised batch with the two initial states that the model is to start from."""
        previous, state, true = batch.initial[:, 0], batch.initial[:, 1], batch.initial[:, 2:]
        given = None
        if getattr(model, "previous_leads", None):
            if true.shape[1]:
                given = ~_same(previous, state)
            else:
                given = torch.rand(len(state), 1, 1, device=state.device) < self.previous_given
        if self.noise:
            scale = self.scale.to(state.dtype)
            if true.shape[1]:
                scale = scale * _same(state, true[:, 0])
            previous, state = (each + scale * torch.randn_like(each) for each in (previous, state))
        if given is not None:
            previous = torch.where(given, previous, state)
        return batch._replace(initial=torch.stack([previous, state], dim=1))


def _same(one: Tensor, other: Tensor) -> Tensor:
    """Which windows have the same state twice, shape (window, 1, 1)."""
    return (one == other).flatten(1).all(dim=1)[:, None, None]
