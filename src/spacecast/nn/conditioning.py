"""Noise that makes a model draw: each step's random numbers scale and shift normalised channels of the network.

A conditional layer norm (Chen et al. 2021, AdaSpeech; for ensemble forecasts Lang et al. 2024, AIFS-CRPS, and Alet et
al. 2025, FGN): y = (1 + a(z)) LayerNorm(x) + b(z), where a and b are linear in noise z. Their weights begin at zero and
there is no constant part, so that a network with noise begins as the one without, and z = 0 always is the one without.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.core.ranges import NonNegativeInt
from spacecast.core.types import Draw

NoiseKind = Literal["global", "local", "every"]
NoiseSizes = Mapping[NoiseKind, NonNegativeInt]
EVERY = 4  # cells between two lattice points of local noise
LARGEST_AMPLITUDE = 4.0  # of the noise in forecasts over that in training; 1 / 4 is the smallest


def scale_and_shift(values: Tensor, condition: Tensor | None) -> Tensor:
    """(1 + a) x + b of normalised channels; values as they are without a condition.

    Args:
        values: shape (batch * row, channel).
        condition: a and b side by side, shape (batch, row, 2 channel), or (batch, 1, 2 channel) for all rows alike.

    """
    if condition is None:
        return values
    scale, shift = condition.chunk(2, dim=-1)
    rows = values.view(len(condition), -1, values.shape[-1])
    return torch.addcmul(shift, rows, 1 + scale).view_as(values)


class Lattice(nn.Module):
    """Interpolates numbers on a lattice of points to positions, linearly along each axis.

    The weights of each position are divided by the root of the sum of their squares: where the numbers of the lattice
    are independent and standard normal, the interpolated ones are standard normal too, at every position.

    Args:
        grid: whose plane the lattice covers, from the first cell on, to the last cell or just beyond.
        every: cells between two points.
        positions: by node set, each (node, axis), in R_E; what lies beyond the lattice takes the numbers at its edge.

    """

    def __init__(self, grid: Grid, every: int, positions: Sequence[np.ndarray]) -> None:
        super().__init__()
        counts = [-(-(cells - 1) // every) + 1 for cells in grid.shape]
        self.num_points = int(np.prod(counts))
        origin = np.array([values[0] for values in grid.coordinates.values()])
        corners = np.array(list(itertools.product((0, 1), repeat=len(counts))))
        for number, nodes in enumerate(positions):
            place = ((nodes - origin) / (every * np.array(grid.spacing))).clip(0, np.array(counts) - 1)
            below = np.minimum(place.astype(np.int64), np.array(counts) - 2)
            share = (place - below)[:, None]
            weights = np.where(corners == 1, share, 1 - share).prod(axis=-1)
            weights /= np.linalg.norm(weights, axis=1, keepdims=True)
            points = np.ravel_multi_index(np.moveaxis(below[:, None] + corners, -1, 0), counts)
            self.register_buffer(f"points_{number}", torch.as_tensor(points), persistent=False)
            self.register_buffer(f"weights_{number}", torch.as_tensor(weights, dtype=torch.float32), persistent=False)

    def forward(self, values: Tensor, nodes: int) -> Tensor:
        """Numbers on the lattice (batch, point, channel) to those on a node set (batch, node, channel)."""
        points, weights = self.get_buffer(f"points_{nodes}"), self.get_buffer(f"weights_{nodes}")
        corners = values.index_select(1, points.flatten()).unflatten(1, points.shape)
        return (corners * weights[..., None].to(values.dtype)).sum(dim=2)


class NoiseConditioning(nn.Module):
    """Draws the noise of a step and makes of it scale and shift for each conditioned layer, by zero-initialised maps.

    Args:
        noise: `global`, numbers per batch item (0); `local`, numbers on each point of a lattice (0), interpolated to
            the nodes; `every`, cells between two points of the lattice (4).
        grid: of the data.
        positions: by node set, each (node, axis), in R_E.
        layers: node set and channels of each layer, in the order in which the model takes them.

    Attributes:
        amplitude: what the noise is multiplied by outside of training.

    Raises:
        UserError: there is no noise in it, or an unknown kind of it.

    """

    amplitude: Tensor

    def __init__(
        self, noise: NoiseSizes, grid: Grid, positions: Sequence[np.ndarray], layers: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        kinds = get_args(NoiseKind)
        for name in noise:
            if name not in kinds:
                raise UserError(f"model.noise: unknown kind {name!r}; {nearest(name, kinds)}")
        self.everywhere, self.local = noise.get("global", 0), noise.get("local", 0)
        every = noise.get("every", EVERY)
        if self.everywhere + self.local == 0:
            raise UserError("model.noise has neither global nor local numbers; give {local: 12}, or null for none")
        if every < 1:
            raise UserError(f"model.noise.every is {every}: the points of local noise are 1 cell apart or more")
        self.lattice = Lattice(grid, every, positions) if self.local else None
        self.nodes = [nodes for nodes, _ in layers]
        features = self.everywhere + self.local
        self.maps = nn.ParameterList(torch.zeros(2 * channels, features) for _, channels in layers)
        self.register_buffer("amplitude", torch.ones(()))

    def forward(
        self, like: Tensor, draw: Draw, lay_out: Callable[[Tensor, int], Tensor] | None = None
    ) -> Iterator[Tensor]:
        """Scale and shift of each layer in turn, see `scale_and_shift`.

        Args:
            like: a tensor (batch, ...) of the type and on the device of the noise.
            draw: see `core.types.Draw`; the global numbers are drawn first. `torch.zeros_like`: there is no noise, and
                no condition of any layer either, which is the same and costs nothing.
            lay_out: of values (batch, node, channel) of a node set, those of the rows that its layers have.

        """
        if draw is torch.zeros_like:
            return iter(())
        numbers = like.new_zeros(len(like), 1, self.everywhere)
        if self.everywhere:
            numbers = self._scaled(draw(numbers))
        noise = dict.fromkeys(self.nodes, numbers)
        if self.lattice is not None:
            local = self._scaled(draw(like.new_zeros(len(like), self.lattice.num_points, self.local)))
            for nodes in noise:
                field = self.lattice(local, nodes)
                field = torch.cat([numbers.expand(-1, field.shape[1], -1), field], dim=-1)
                noise[nodes] = field if lay_out is None else lay_out(field, nodes)
        return (functional.linear(noise[nodes], weight) for nodes, weight in zip(self.nodes, self.maps, strict=True))

    def scale(self, factor: float) -> float:
        """Multiply the amplitude, within `LARGEST_AMPLITUDE`.

        The spread of an ensemble is proportional to it where it is small, so that the inverse of a spread-skill ratio
        makes that ratio 1.

        Returns:
            The amplitude from now on.

        """
        self.amplitude.mul_(factor).clamp_(1 / LARGEST_AMPLITUDE, LARGEST_AMPLITUDE)
        return float(self.amplitude)

    def _scaled(self, noise: Tensor) -> Tensor:
        """The noise of a forecast; that of the training as it is, for it is where the amplitude is measured."""
        return noise if self.training else noise * self.amplitude

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Weights that know of no amplitude were made with 1."""
        state_dict.setdefault(f"{prefix}amplitude", torch.ones(()))
        super()._load_from_state_dict(state_dict, prefix, *args)


def make_noise(
    noise: NoiseSizes | None, grid: Grid, positions: Sequence[np.ndarray], layers: Sequence[tuple[int, int]]
) -> NoiseConditioning | None:
    """See `NoiseConditioning`; None for a model that draws nothing."""
    return None if noise is None else NoiseConditioning(noise, grid, positions, layers)


def noise_weights(model: nn.Module) -> list[str]:
    """Names of the weights by which noise enters a model; those of a model without noise lack them."""
    parts = [name for name, part in model.named_modules() if isinstance(part, NoiseConditioning)]
    return [f"{part}.{name}" for part in parts for name, _ in model.get_submodule(part).named_parameters()]
