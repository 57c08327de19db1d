"""What all pictures share: what they are drawn from, style, labels, colours, safe writing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.spec import DataSpec
from spacecast.evaluation.scores import Scores
from spacecast.process.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


@dataclass(frozen=True)
class ScoredRun:
    """What the pictures of a scored run are drawn from.

    Args:
        scores: of the forecasts.
        spec: grid, boundary and variables of the forecasts.
        examples: store of forecasts beside the truth; None: there is none.

    """

    scores: Scores
    spec: DataSpec
    examples: Path | None = None


class ColourScale(NamedTuple):
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


def colour_scale(*fields: np.ndarray) -> ColourScale:
    """Colours for fields that share them: diverging about zero for signed values, sequential for others.

    Limits leave out the outer half per cent, so that the strong dipole near Earth does not drown the rest. The first
    field alone decides whether values are signed.
    """
    values = np.concatenate([np.ravel(field) for field in fields])
    values = values[np.isfinite(values)]
    if not values.size:
        return ColourScale("viridis", 0.0, 1.0)
    if (fields[0] < 0).any():
        limit = float(np.percentile(np.abs(values), 99)) or float(np.abs(values).max()) or 1.0
        return ColourScale("RdBu_r", -limit, limit)
    low, high = (float(limit) for limit in np.percentile(values, (0.5, 99.5)))
    return ColourScale("viridis", low, high if high > low else low + 1.0)
