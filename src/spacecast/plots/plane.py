"""The plane: Earth, a field on it, and figures of many planes."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.plots.canvas import ColourScale, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

EARTH = "#8d949c"
# in inches: height of a plane, room above it, between planes, and for a colour bar
PANE, HEADING, GAP, BAR = 1.75, 0.27, 0.12, 0.5


def draw_field(axes: "Axes", spec: DataSpec, nodes: np.ndarray, colours: ColourScale) -> "AxesImage":
    """One field on the plane around Earth with its night side; a veil lies over the boundary that the truth drives.

    What is no number is left white. `nodes` has shape (node,).
    """
    from matplotlib.patches import Wedge

    grid = spec.grid
    draw_earth(axes, grid, EARTH)
    field = grid.to_field(np.asarray(nodes, dtype=np.float64)).T
    options: dict[str, Any] = {"extent": extent(grid), "origin": "lower", "interpolation": "nearest"}
    image = axes.imshow(field, cmap=colours.cmap, vmin=colours.low, vmax=colours.high, rasterized=True, **options)
    if spec.boundary.any():
        veil = grid.to_field(spec.boundary.astype(np.float64), fill=0.0).T
        axes.imshow(np.ones_like(veil), cmap="gray", vmin=0, vmax=1, alpha=0.5 * veil, **options)
        axes.contour(*grid.coordinates.values(), veil, levels=[0.5], colors="k", linewidths=0.6, linestyles="--")
    for angle, colour in ((-90, "white"), (90, "black")):
        axes.add_patch(Wedge((0, 0), 1.0, angle, angle + 180, facecolor=colour, edgecolor="black", linewidth=0.4))
    axes.set_xlim(extent(grid)[:2])
    axes.set_ylim(extent(grid)[2:])
    return image


def draw_earth(axes: "Axes", grid: Grid, colour: str) -> None:
    """The cells inside the inner boundary, below everything else."""
    from matplotlib.colors import ListedColormap

    earth = np.ma.masked_where(grid.valid, np.ones(grid.shape)).T
    options: dict[str, Any] = {"extent": extent(grid), "origin": "lower", "interpolation": "nearest"}
    axes.imshow(earth, cmap=ListedColormap([colour]), zorder=0, **options)


def extent(grid: Grid) -> tuple[float, float, float, float]:
    """Edges of the plane: left, right, bottom, top [R_E]."""
    (dx, dz), x, z = grid.spacing, grid.coordinates["x"], grid.coordinates["z"]
    return x[0] - dx / 2, x[-1] + dx / 2, z[0] - dz / 2, z[-1] + dz / 2


@contextmanager
def new_planes(grid: Grid, rows: int, columns: int, bars: Collection[int], title: str | None) -> Iterator["Planes"]:
    """A figure of planes that is laid out by arithmetic, since their shape is known beforehand.

    A layout engine measures every label of dozens of axes, twice: four fifths of the time of such a picture.

    Args:
        grid: of the planes.
        rows: of planes.
        columns: of planes.
        bars: columns with room for a colour bar to their right.
        title: above all; None: none.

    """
    x_min, x_max, z_min, z_max = extent(grid)
    width, left, top = PANE * (x_max - x_min) / (z_max - z_min), 0.5, 0.3 + (0.25 if title else 0.0)
    lefts = [left + column * (width + GAP) + BAR * sum(bar < column for bar in bars) for column in range(columns)]
    bottoms = [0.4 + (rows - 1 - row) * (PANE + HEADING) for row in range(rows)]
    size = lefts[-1] + width + GAP + BAR * (columns - 1 in bars), bottoms[0] + PANE + top
    with new_figure(*size, layout=None) as figure:
        if title:
            figure.suptitle(title, y=1 - 0.08 / size[1], va="top")
        yield Planes(figure, size, lefts, bottoms, width)


class Planes(NamedTuple):
    """Places of planes and colour bars in a figure, all in inches."""

    figure: "Figure"
    size: tuple[float, float]
    lefts: Sequence[float]
    bottoms: Sequence[float]
    width: float

    def plane(self, row: int, column: int, *, labelled: tuple[bool, bool]) -> "Axes":
        """Axes of one plane; `labelled`: whether the ticks of x and of z have numbers and a name."""
        axes = self._axes(self.lefts[column], self.bottoms[row], self.width, PANE)
        along_x, along_z = labelled
        axes.locator_params(axis="x", nbins=5)  # or the last number of a plane meets the first of the next
        axes.set_xlabel("$x$ [$R_E$]")
        axes.set_ylabel("$z$ [$R_E$]", labelpad=0)
        axes.xaxis.set_visible(along_x)
        axes.yaxis.set_visible(along_z)
        return axes

    def colourbar(self, image: "AxesImage", row: int, column: int) -> None:
        """A slim colour bar right of a plane, pointed where colours are clipped."""
        values: np.ndarray = np.ma.compressed(np.ma.masked_invalid(np.ma.asarray(image.get_array())))
        low, high = image.get_clim()
        below, above = bool((values < low).any()), bool((values > high).any())
        pointed = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        place = self._axes(self.lefts[column] + self.width + GAP / 2, self.bottoms[row], 0.09, PANE)
        bar = self.figure.colorbar(image, cax=place, extend=pointed[below, above])
        bar.outline.set_linewidth(0.5)
        bar.ax.tick_params(labelsize=6)
        bar.ax.yaxis.get_offset_text().set_fontsize(6)

    def _axes(self, left: float, bottom: float, width: float, height: float) -> "Axes":
        across, up = self.size
        return self.figure.add_axes((left / across, bottom / up, width / across, height / up))
