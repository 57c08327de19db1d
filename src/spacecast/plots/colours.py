"""Colours of fields: perceptually uniform, and told apart by all kinds of colour vision."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Normalize

SIGNED, POSITIVE, AMOUNT = "RdBu_r", "viridis", "magma"
WIDE_RANGE = 30.0  # positive values whose bulk spans more than this are shown on a logarithmic scale
LARGEST_RANGE = 1e4  # of a logarithmic scale
STRETCH = 10.0  # of its lower end by other fields than the first
LEAST_POWER, GREATEST_POWER = -4, 5  # between them numbers of a bar are written out
SHORT_RANGE = 10.0  # of the least states over errors that are not worth a logarithm


class ColourScale(NamedTuple):
    """Colour map with its limits.

    Args:
        cmap: name of the colour map.
        low, high: limits.
        logarithmic: whether equal ratios, rather than equal differences, are equal steps of colour.
        linear: below this size values of both signs are shown linearly, above it by their logarithm; 0: all linearly.

    """

    cmap: str
    low: float
    high: float
    logarithmic: bool = False
    linear: float = 0.0

    def norm(self) -> "Normalize":
        """For matplotlib."""
        from matplotlib.colors import LogNorm, Normalize, SymLogNorm

        if self.linear:
            return SymLogNorm(self.linear, vmin=self.low, vmax=self.high)
        return (LogNorm if self.logarithmic else Normalize)(self.low, self.high)


def colour_scale(*fields: np.ndarray) -> ColourScale:
    """Colours for fields that share them: diverging about zero for signed values, sequential for others.

    Limits leave out the outer half per cent, so that the strong dipole near Earth does not drown the rest. The first
    field alone decides whether values are signed, and whether their range asks for a logarithmic scale, on which lobes
    and tail are seen beside the magnetosheath.
    """
    values = np.concatenate([np.ravel(field) for field in fields])
    values = values[np.isfinite(values)]
    if not values.size:
        return ColourScale(POSITIVE, 0.0, 1.0)
    first = np.ravel(fields[0])
    first = first[np.isfinite(first)]
    if (first < 0).any():
        limit = float(np.percentile(np.abs(values), 99)) or float(np.abs(values).max()) or 1.0
        return ColourScale(SIGNED, -limit, limit)
    low, high = (float(limit) for limit in np.percentile(values, (0.5, 99.5)))
    positive = first[first > 0]
    if positive.size == first.size > 0:
        least, most = (float(limit) for limit in np.percentile(first, (0.5, 99.5)))
        if most > WIDE_RANGE * least:  # a forecast near zero must not stretch the scale far beyond the truth
            least = max(min(least, low), least / STRETCH, most / LARGEST_RANGE)
            return ColourScale(POSITIVE, least, max(high, most), logarithmic=True)
    return ColourScale(POSITIVE, low, high if high > low else low + 1.0)


def own_scale(field: np.ndarray, states: ColourScale | None = None) -> ColourScale:
    """Colours of what is no state: an error diverges about zero, a spread starts from it.

    Args:
        field: any shape.
        states: colours of the states that it belongs to; where these are logarithmic, it is too, or the lobes and the
            tail would show no error.

    """
    finite = field[np.isfinite(field)]
    signed = not finite.size or finite.min() < 0
    plain = colour_scale(field) if signed else ColourScale(AMOUNT, 0.0, float(np.percentile(finite, 99)) or 1.0)
    least = plain.high / WIDE_RANGE
    if states is None or not states.logarithmic or least <= states.low / SHORT_RANGE:
        return plain
    return plain._replace(linear=least) if signed else plain._replace(low=least, logarithmic=True)


def part_ticks(bar: "Colorbar", *, roomy: bool) -> None:
    """Number a bar of signed logarithmic colours so that its own ticks do not lie upon each other about zero.

    Args:
        bar: of any colours; others are left alone.
        roomy: whether there is room for all powers of ten; else for the largest alone.

    """
    from matplotlib.colors import SymLogNorm

    if isinstance(bar.norm, SymLogNorm):
        powers = 10.0 ** np.arange(np.ceil(np.log10(bar.norm.linthresh)), np.log10(float(bar.norm.vmax or 1.0)))
        powers = powers if roomy else powers[-1:]
        values = [*-powers[::-1], 0.0, *powers]
        bar.set_ticks(values, labels=[f"{each:g}" for each in values])


def take_out_power(bar: "Colorbar") -> str:
    """The power of ten that all numbers of a bar share, which is then to stand before the units; empty where none.

    Left to itself matplotlib writes it where the units are, and moves these into the plane above.
    """
    from matplotlib.ticker import ScalarFormatter

    numbers = bar.ax.yaxis.get_major_formatter()
    if not isinstance(numbers, ScalarFormatter):
        return ""
    numbers.set_useOffset(False)
    low, high = bar.mappable.get_clim()
    ticks = np.array([each for each in bar.get_ticks() if low <= each <= high])
    power = int(np.floor(np.log10(max(np.abs(ticks).max(initial=0.0), np.finfo(float).tiny))))
    if LEAST_POWER < power < GREATEST_POWER or not ticks.any():
        return ""
    bar.set_ticks(list(ticks), labels=[f"{each:g}" for each in np.round(ticks / 10.0**power, 6)])
    return f"$10^{{{power}}}$"
