"""Multi-layer perceptrons."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import cast

from torch import Tensor, nn

from spacecast.nn.blockwise import compute
from spacecast.nn.rows import Layers, Source, Task


class MLP(nn.Sequential):
    """Linear layers with SiLU between them and, as in GraphCast (Lam et al. 2023), a LayerNorm at the end.

    Args:
        sizes: input size, hidden sizes, output size.
        layer_norm: normalise the output.

    Attributes:
        recompute: keep nothing of the inside for the backward pass, see `nn.blockwise.compute`.
    """

    recompute = False

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

    def layers(self, *, biased: bool = True) -> Layers:
        """The weights behind the products of the first layer, with its bias or without."""
        norm = self[-1] if isinstance(self[-1], nn.LayerNorm) else None
        others = [layer for layer in islice(self, 1, None) if isinstance(layer, nn.Linear)]
        return Layers(
            bias=self.first.bias if biased else None,
            others=[(layer.weight, layer.bias) for layer in others],
            norm=None if norm is None else (norm.weight, norm.bias, norm.eps),
        )

    def forward(self, values: Tensor, *, residual: bool = False) -> Tensor:
        """(..., input) to (..., output), plus the input where `residual`."""
        rows = values.reshape(-1, values.shape[-1])
        task = Task(
            number=len(rows),
            sources=[Source(rows)],
            products=[(0, self.first.weight)],
            layers=self.layers(),
            after=[0] if residual else [],
        )
        result, _ = compute(task, recompute=self.recompute)
        assert result is not None
        return result.view(*values.shape[:-1], result.shape[-1])
