"""The plane: Earth, a field on it, lines of the magnetic field, and figures of many planes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.plots.canvas import fitting, new_figure, size_of_now, unit_text, wrapped
from spacecast.plots.colours import ColourScale, part_ticks, take_out_power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

EARTH = "#8d949c"
# in inches: height of a plane, room above it, between planes, and for a colour bar
PANE, HEADING, GAP, BAR = 1.75, 0.27, 0.12, 0.5
LEAST = 0.2  # height of a plane on a slide
FOOT_POINTS = 6.6  # height of the letters at the foot
LOW_BAR = 1.2  # up to which a colour bar has room for one number above and below zero
TICKS = 0.42  # at least so many inches from one number of an axis to the next
FEW = ("rho", "vx", "Bz")  # variables that have a picture of their own where none are chosen
ALL = ("all",)
DRIVEN = "pale, beyond the dashed line: driven by true values, not scored"


@dataclass(frozen=True, eq=False)
class Plane:
    """Where fields are and what they are.

    Args:
        grid: the cells.
        units: of each variable by name, in the order of the columns of a state.
        boundary: True where true values drive the forecast, shape (node,).

    """

    grid: Grid
    units: Mapping[str, str]
    boundary: np.ndarray

    @classmethod
    def of(cls, spec: DataSpec) -> "Plane":
        """The plane of data."""
        return cls(spec.grid, dict(zip(spec.state.names, spec.state.units, strict=True)), spec.boundary)

    def index(self, name: str) -> int:
        """Column of a variable.

        Raises:
            UserError: there is none of that name.

        """
        if name not in self.units:
            raise UserError(f"there is no variable {name!r}; {nearest(name, self.units)}")
        return list(self.units).index(name)

    def chosen(self, wanted: Sequence[str] | None) -> list[str]:
        """Variables that have a picture of their own: those that are wanted, `ALL` of them, or a few."""
        if wanted is None:
            return [name for name in FEW if name in self.units] or list(self.units)[: len(FEW)]
        return list(self.units) if tuple(wanted) == ALL else list(wanted)


def draw_field(axes: "Axes", plane: Plane, nodes: np.ndarray, colours: ColourScale) -> "AxesImage":
    """One field on the plane around Earth with its night side; a veil lies over the boundary that the truth drives.

    What is no number is left white. `nodes` has shape (node,).
    """
    grid = plane.grid
    draw_earth(axes, grid, EARTH)
    field = plane_image(plane, nodes, colours)
    options: dict[str, Any] = {"extent": extent(grid), "origin": "lower", "interpolation": "nearest"}
    image = axes.imshow(field, cmap=colours.cmap, norm=colours.norm(), rasterized=True, **options)
    if plane.boundary.any():
        veil = grid.to_field(plane.boundary.astype(np.float64), fill=0.0).T
        axes.imshow(np.ones_like(veil), cmap="gray", vmin=0, vmax=1, alpha=0.5 * veil, **options)
        axes.contour(*grid.coordinates.values(), veil, levels=[0.5], colors="k", linewidths=0.6, linestyles="--")
    draw_globe(axes)
    axes.set_xlim(extent(grid)[:2])
    axes.set_ylim(extent(grid)[2:])
    return image


def plane_image(plane: Plane, nodes: np.ndarray, colours: ColourScale) -> np.ndarray:
    """A field as an image shows it, (node,) to (z, x)."""
    field = plane.grid.to_field(np.asarray(nodes, dtype=np.float64)).T
    if colours.logarithmic:  # which has no place for zero and less; the bar is pointed there
        field = np.where(field <= 0, 0.999 * colours.low, field)
    return field


def draw_globe(axes: "Axes") -> None:
    """Earth itself, its day side white and its night side black."""
    from matplotlib.patches import Wedge

    for angle, colour in ((-90, "white"), (90, "black")):
        axes.add_patch(Wedge((0, 0), 1.0, angle, angle + 180, facecolor=colour, edgecolor="black", linewidth=0.4))


def draw_earth(axes: "Axes", grid: Grid, colour: str) -> None:
    """The cells inside the inner boundary, below everything else."""
    from matplotlib.colors import ListedColormap

    earth = np.ma.masked_where(grid.valid, np.ones(grid.shape)).T
    options: dict[str, Any] = {"extent": extent(grid), "origin": "lower", "interpolation": "nearest"}
    axes.imshow(earth, cmap=ListedColormap([colour]), zorder=0, **options)


def flux_function(grid: Grid, bx: np.ndarray, bz: np.ndarray) -> np.ndarray:
    """A_y of a field in the plane, whose contours are field lines: B = curl(A_y e_y), Bx = -dA_y/dz, Bz = dA_y/dx.

    The potential whose curl is nearest to the field in the least squares: its Laplacian is dBz/dx - dBx/dz, with the
    normal derivatives of the field at the edges, solved by cosine transforms. The line dipole that fits the cells
    around Earth, whose potential is known, is set apart, so that what is unknown inside Earth is small.

    Args:
        grid: the plane.
        bx, bz: on the nodes, shape (node,), any unit.

    Returns:
        Shape (x, z), that unit times R_E, up to a constant; NaN inside Earth.

    """
    fields = [grid.to_field(np.asarray(values, dtype=np.float64)) for values in (bx, bz)]
    inner = ~grid.valid
    dipole = _dipole(grid, *fields) if inner.any() else np.zeros((3, *grid.shape))
    fields = [np.where(inner, 0.0, field - own) for field, own in zip(fields, dipole[1:], strict=True)]
    (dx, dz), (nx, nz) = grid.spacing, grid.shape
    # differences of A_y between neighbouring cells, from the field halfway
    along_x, along_z = dx * (fields[1][1:] + fields[1][:-1]) / 2, -dz * (fields[0][:, 1:] + fields[0][:, :-1]) / 2
    source = np.zeros(grid.shape)
    source[:-1] += along_x / dx**2
    source[1:] -= along_x / dx**2
    source[:, :-1] += along_z / dz**2
    source[:, 1:] -= along_z / dz**2
    waves = [2 * (np.cos(np.pi * np.arange(n) / n) - 1) / h**2 for n, h in ((nx, dx), (nz, dz))]
    symbol = waves[0][:, None] + waves[1][None, :]
    symbol[0, 0] = 1.0  # the constant is free
    bases = [np.cos(np.pi * np.arange(n)[:, None] * (np.arange(n) + 0.5) / n) for n in (nx, nz)]
    weights = [np.full(n, 2.0 / n) for n in (nx, nz)]
    for weight in weights:
        weight[0] /= 2
    spectrum = (bases[0] @ source @ bases[1].T) / symbol
    spectrum[0, 0] = 0.0
    potential = (bases[0] * weights[0][:, None]).T @ spectrum @ (bases[1] * weights[1][:, None])
    return np.where(inner, np.nan, potential + dipole[0])


def _dipole(grid: Grid, bx: np.ndarray, bz: np.ndarray) -> np.ndarray:
    """Potential, Bx and Bz, shape (3, x, z), of the line dipole that fits the cells around Earth best.

    A_y = m x / r^2, of which Bx = 2 m x z / r^4 and Bz = m (z^2 - x^2) / r^4.
    """
    x, z = np.meshgrid(grid.coordinates["x"], grid.coordinates["z"], indexing="ij")
    radius = np.hypot(x, z)
    near = grid.valid & (radius < 1.5 * radius[~grid.valid].max() + max(grid.spacing))
    squared = np.maximum(radius, 0.5 * min(grid.spacing)) ** 2
    shapes = np.stack([x / squared, 2 * x * z / squared**2, (z**2 - x**2) / squared**2])
    moment = (shapes[1] * bx + shapes[2] * bz)[near].sum() / (shapes[1:, near] ** 2).sum()
    return np.asarray(moment * shapes)


def draw_field_lines(axes: "Axes", plane: Plane, state: np.ndarray, lines: int = 30) -> None:
    """Contours of A_y; nothing where the plane has no Bx and Bz, or they are no numbers."""
    if not {"Bx", "Bz"} <= set(plane.units):
        return
    bx, bz = state[:, plane.index("Bx")], state[:, plane.index("Bz")]
    if not (np.isfinite(bx).all() and np.isfinite(bz).all()):
        return
    potential = flux_function(plane.grid, bx, bz)
    low, high = np.nanpercentile(potential, (0.5, 99.5))
    if high > low:
        levels = np.linspace(low, high, lines)
        style: dict[str, Any] = {"colors": "#000000", "linewidths": 0.4, "linestyles": "solid", "alpha": 0.6}
        axes.contour(*plane.grid.coordinates.values(), potential.T, levels=levels, **style)


def extent(grid: Grid) -> tuple[float, float, float, float]:
    """Edges of the plane: left, right, bottom, top [R_E]."""
    (dx, dz), x, z = grid.spacing, grid.coordinates["x"], grid.coordinates["z"]
    return x[0] - dx / 2, x[-1] + dx / 2, z[0] - dz / 2, z[-1] + dz / 2


@contextmanager
def new_planes(plane: Plane, rows: int, columns: int, bars: Collection[int], title: str | None) -> Iterator["Planes"]:
    """A figure of planes that is laid out by arithmetic, since their shape is known beforehand.

    A layout engine measures every label of dozens of axes, twice: four fifths of the time of such a picture. Planes are
    as large as there is room for at the size of now; letters, and room for them, have that of its text.

    Args:
        plane: that all of them show; where true values drive a part of it, a line at the foot says so.
        rows: of planes.
        columns: of planes.
        bars: columns with room for a colour bar to their right.
        title: above all, in as many lines as it needs; None: none.

    Raises:
        UserError: there is no room for so many rows.

    """
    now = size_of_now()
    text = now.text
    x_min, x_max, z_min, z_max = extent(plane.grid)
    ratio = (x_max - x_min) / (z_max - z_min)
    left, bar, heading = 0.5 * text, BAR * text, HEADING * text
    across = left + GAP * columns + bar * len(bars)
    high = PANE if now.width is None else (now.width - across) / (columns * ratio)
    lines = []
    for _ in range(2):  # planes that are less high are less wide, and with them the room for the title
        width = across + columns * ratio * high
        lines = wrapped(title, 0.97 * width).splitlines() if title else []
        foot = wrapped(DRIVEN, width - left, FOOT_POINTS).splitlines() if plane.boundary.any() else []
        below, above = text * (0.4 + 0.08 * bool(foot) + 0.12 * len(foot)), text * (0.34 + 0.18 * len(lines))
        if now.height is not None:
            high = min(high, (now.height - below - above - (rows - 1) * heading) / rows - 0.01)
    if now.height is not None and high < LEAST:
        raise UserError(f"{rows} rows of maps have no room on one slide; choose fewer variables, or size=page")
    before = [bar * sum(each < column for each in bars) for column in range(columns)]
    lefts = [left + column * (ratio * high + GAP) + room for column, room in enumerate(before)]
    bottoms = [below + (rows - 1 - row) * (high + heading) for row in range(rows)]
    size = lefts[-1] + ratio * high + GAP + bar * (columns - 1 in bars), bottoms[0] + high + above
    with new_figure(*size, layout=None) as figure:
        shown = figure.suptitle("\n".join(lines), y=1 - 0.08 / size[1], va="top") if title else None
        if foot:
            words: dict[str, Any] = {"va": "bottom", "fontsize": FOOT_POINTS * text, "color": "#555555"}
            figure.text(left / size[0], 0.05 / size[1], "\n".join(foot), **words)
        yield Planes(figure, size, lefts, bottoms, (ratio * high, high), shown)


class Planes(NamedTuple):
    """Places of planes and colour bars in a figure, all in inches."""

    figure: "Figure"
    size: tuple[float, float]
    lefts: Sequence[float]
    bottoms: Sequence[float]
    pane: tuple[float, float]
    title: "Text | None"

    def in_lines(self, title: str) -> str:
        """A title in as many lines as it needs."""
        return wrapped(title, 0.97 * self.size[0])

    def plane(self, row: int, column: int, *, labelled: tuple[bool, bool]) -> "Axes":
        """Axes of one plane; `labelled`: whether the ticks of x and of z have numbers and a name."""
        axes = self._axes(self.lefts[column], self.bottoms[row], *self.pane)
        along_x, along_z = labelled
        # or the last number of a plane meets the first of the next
        width, height = (length / (TICKS * size_of_now().text) for length in self.pane)
        axes.locator_params(axis="x", nbins=int(np.clip(width, 1, 5)))
        axes.locator_params(axis="y", nbins=int(np.clip(1.5 * height, 1, 8)))
        axes.set_xlabel("$x$ [$R_E$]")
        axes.set_ylabel("$z$ [$R_E$]", labelpad=0)
        axes.xaxis.set_visible(along_x)
        axes.yaxis.set_visible(along_z)
        return axes

    def head(self, pane: "Axes", text: str) -> None:
        """What a plane shows, no wider than it: the units of a colour bar stand beside it."""
        pane.set_title(text, fontsize=fitting(text, 0.93 * self.pane[0]))

    def colourbar(self, image: "AxesImage | PathCollection", row: int, column: int, units: str) -> None:
        """A slim colour bar right of a plane, its units above it, pointed where colours are clipped."""
        from matplotlib.ticker import NullFormatter

        values: np.ndarray = np.ma.compressed(np.ma.masked_invalid(np.ma.asarray(image.get_array())))
        low, high = image.get_clim()
        below, above = bool((values < low).any()), bool((values > high).any())
        pointed = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        width, height = self.pane
        place = self._axes(self.lefts[column] + width + GAP / 2, self.bottoms[row], 0.09, height)
        bar = self.figure.colorbar(image, cax=place, extend=pointed[below, above])
        bar.outline.set_linewidth(0.5)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())  # of a logarithm: there is always a power of ten
        part_ticks(bar, roomy=height > LOW_BAR * size_of_now().text)
        bar.ax.tick_params(labelsize="x-small", pad=1)
        words = f"{take_out_power(bar)} {unit_text(units)}".strip()
        bar.ax.set_title(words, fontsize="small", loc="left", pad=8)

    def _axes(self, left: float, bottom: float, width: float, height: float) -> "Axes":
        across, up = self.size
        return self.figure.add_axes((left / across, bottom / up, width / across, height / up))
