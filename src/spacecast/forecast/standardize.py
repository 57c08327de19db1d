"""Physical units outside, numbers of order one inside: the only file that converts."""

import torch
from torch import Tensor, nn

from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch


class Standardizer(nn.Module):
    """Standardises states and forcing by the statistics of a `DataSpec`, on the device of the data.

    Its buffers are not saved with a model: a checkpoint carries the `DataSpec` itself.
    """

    state_mean: Tensor
    state_std: Tensor
    forcing_mean: Tensor
    forcing_std: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        for name, category in (("state", spec.state), ("forcing", spec.forcing)):
            self.register_buffer(f"{name}_mean", torch.as_tensor(category.mean), persistent=False)
            self.register_buffer(f"{name}_std", torch.as_tensor(category.std), persistent=False)

    def state(self, physical: Tensor) -> Tensor:
        """(..., state) in physical units to standardised values."""
        return (physical - self.state_mean) / self.state_std

    def state_to_physical(self, standardized: Tensor) -> Tensor:
        """(..., state) standardised to physical units."""
        return standardized * self.state_std + self.state_mean

    def forcing(self, physical: Tensor) -> Tensor:
        """(..., forcing) in physical units to standardised values."""
        return (physical - self.forcing_mean) / self.forcing_std if self.forcing_std.numel() else physical

    def batch(self, batch: Batch) -> Batch:
        """Standardise every field of a batch in physical units."""
        initial, target = self.state(batch.initial), self.state(batch.target)
        return batch._replace(initial=initial, target=target, forcing=self.forcing(batch.forcing))
