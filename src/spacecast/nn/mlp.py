"""Multi-layer perceptrons."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import cast

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear layers with SiLU between them and, as in GraphCast (Lam et al. 2023), a LayerNorm at the end.

    Args:
        sizes: input size, hidden sizes, output size.
        layer_norm: normalise the output.
    """

    def __init__(self, sizes: Sequence[int], *, layer_norm: bool = True) -> None:
        layers: list[nn.Module] = []
        for number, (size_in, size_out) in enumerate(pairwise(sizes)):
            if number > 0:
                layers.append(nn.SiLU())
            layers.append(nn.Linear(size_in, size_out))
        if layer_norm:
            layers.append(nn.LayerNorm(sizes[-1]))
        super().__init__(*layers)

    @property
    def first(self) -> nn.Linear:
        """The first layer, for those who apply it to parts of the input on their own."""
        return cast(nn.Linear, self[0])

    def after_first(self, hidden: Tensor) -> Tensor:
        """Everything behind the first layer."""
        for layer in islice(self, 1, None):
            hidden = layer(hidden)
        return hidden
