"""What all pictures share: style, labels, colours, one plane, safe writing."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.process.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "figure.titlesize": 10,
    "savefig.dpi": 150,
}
FORECAST, BASELINE, TRUTH, SPREAD = "#1f5a99", "#9a9a9a", "#222222", "#d1662a"
EARTH = "#8d949c"
# in inches: height of a plane, room above it, between planes, and for a colour bar
PANE, HEADING, GAP, BAR = 1.75, 0.27, 0.12, 0.5


class ScoreTable(Protocol):
    """What the curves need of scores; `evaluation.scores.Scores` has it."""

    @property
    def variables(self) -> list[str]:
        """State variables."""

    @property
    def units(self) -> dict[str, str]:
        """Units of each."""

    @property
    def metrics(self) -> list[str]:
        """Metric names."""

    def series(self, metric: str, variable: str, region: str = "all") -> tuple[np.ndarray, np.ndarray]:
        """Lead times [s] and values."""


class Colours(NamedTuple):
    """Colour map with its limits."""

    cmap: str
    low: float
    high: float


@contextmanager
def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Iterator["Figure"]:
    """A figure in the common style, sizes in inches; nothing global is changed or kept open."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout=layout)


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a picture; it appears under its name once it is complete. The suffix gives the format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        figure.savefig(partial)
    return path


def require_picture(path: Path) -> None:
    """Refuse a path that no picture can be written to, before the work that it is to show.

    Raises:
        UserError: it is a folder, lies below a file, or its suffix names no format.

    """
    from matplotlib.figure import Figure

    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in formats:
        raise UserError(f"picture={path}: the suffix names no format; give one of {', '.join(sorted(formats))}")
    if path.is_dir():
        raise UserError(f"picture={path} is a folder; name a file in it")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"picture={path}: {above} is a file; choose another folder")


def label(name: str, units: str | None = None) -> str:
    """A variable, and its units if given, as one writes them in a paper: Bx, nT to $B_x$ [nT]."""
    text = {"rho": r"$\rho$"}.get(name) or re.sub(r"^([BEvVJ])_?([xyz])$", r"$\1_\2$", name)
    text = re.sub(r"^([PTn])$", r"$\1$", text)
    if not units:
        return text
    units = re.sub(r"^1/(\w*?[A-Za-z])(\d)$", r"\1$^{-\2}$", units).replace("R_E", "$R_E$")
    return f"{text} [{units}]"


def colours(*fields: np.ndarray) -> Colours:
    """Colours for fields that share them: diverging about zero for signed values, sequential for others.

    Limits leave out the outer half per cent, so that the strong dipole near Earth does not drown the rest. The first
    field alone decides whether values are signed.
    """
    values = np.concatenate([np.ravel(field) for field in fields])
    values = values[np.isfinite(values)]
    if not values.size:
        return Colours("viridis", 0.0, 1.0)
    if np.nanmin(fields[0]) < 0:
        limit = float(np.percentile(np.abs(values), 99)) or float(np.abs(values).max()) or 1.0
        return Colours("RdBu_r", -limit, limit)
    low, high = (float(limit) for limit in np.percentile(values, (0.5, 99.5)))
    return Colours("viridis", low, high if high > low else low + 1.0)


def draw_plane(axes: "Axes", spec: DataSpec, nodes: np.ndarray, shades: Colours) -> "AxesImage":
    """One field on the plane: true aspect ratio, the cells inside the inner boundary grey, Earth with its night side,
    and a veil over the boundary that is driven by the truth. `nodes` has shape (node,).
    """
    from matplotlib.patches import Wedge

    grid = spec.grid
    axes.set_facecolor(EARTH)
    field = grid.to_field(np.asarray(nodes, dtype=np.float64)).T
    options: dict[str, Any] = {"extent": extent(grid), "origin": "lower", "interpolation": "nearest"}
    image = axes.imshow(field, cmap=shades.cmap, vmin=shades.low, vmax=shades.high, rasterized=True, **options)
    if spec.boundary.any():
        veil = grid.to_field(spec.boundary.astype(np.float64), fill=0.0).T
        axes.imshow(np.ones_like(veil), cmap="gray", vmin=0, vmax=1, alpha=0.5 * veil, **options)
        axes.contour(*grid.coordinates.values(), veil, levels=[0.5], colors="k", linewidths=0.6, linestyles="--")
    for angle, colour in ((-90, "white"), (90, "black")):
        axes.add_patch(Wedge((0, 0), 1.0, angle, angle + 180, facecolor=colour, edgecolor="black", linewidth=0.4))
    axes.set_xlim(extent(grid)[:2])
    axes.set_ylim(extent(grid)[2:])
    return image


def extent(grid: Grid) -> tuple[float, float, float, float]:
    """Edges of the plane: left, right, bottom, top [R_E]."""
    (dx, dz), x, z = grid.spacing, grid.coordinates["x"], grid.coordinates["z"]
    return x[0] - dx / 2, x[-1] + dx / 2, z[0] - dz / 2, z[-1] + dz / 2


def aspect(grid: Grid) -> float:
    """Width of the plane over its height."""
    left, right, bottom, top = extent(grid)
    return (right - left) / (top - bottom)


@contextmanager
def new_lattice(grid: Grid, rows: int, columns: int, bars: Collection[int], title: str | None) -> Iterator["Lattice"]:
    """A figure of planes that is laid out by arithmetic, since their shape is known beforehand.

    A layout engine measures every label of dozens of axes, twice: four fifths of the time of such a picture.

    Args:
        grid: of the planes.
        rows: of planes.
        columns: of planes.
        bars: columns with room for a colour bar to their right.
        title: above all; None: none.

    """
    width, left, top = PANE * aspect(grid), 0.5, 0.3 + (0.25 if title else 0.0)
    lefts = [left + column * (width + GAP) + BAR * sum(bar < column for bar in bars) for column in range(columns)]
    bottoms = [0.4 + (rows - 1 - row) * (PANE + HEADING) for row in range(rows)]
    size = lefts[-1] + width + GAP + BAR * (columns - 1 in bars), bottoms[0] + PANE + top
    with new_figure(*size, layout=None) as figure:
        if title:
            figure.suptitle(title, y=1 - 0.08 / size[1], va="top")
        yield Lattice(figure, size, lefts, bottoms, width)


class Lattice(NamedTuple):
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
