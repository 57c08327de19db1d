"""The common style of all pictures: sizes, colours, labels, figures, safe writing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from spacecast.core.errors import UserError
from spacecast.process.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "axes.grid": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "image.cmap": "viridis",
    "pdf.fonttype": 42,  # text stays text in journals' programs
    "savefig.dpi": 150,
    "svg.hashsalt": "spacecast",
}
TEXT = {
    "font.size": 8.0, "axes.titlesize": 8.0, "axes.labelsize": 8.0, "xtick.labelsize": 7.0, "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0, "figure.titlesize": 9.0,
}  # fmt: skip
LINES = {"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.4}
FORECAST, BASELINE, TRUTH, SPREAD = "#0072b2", "#8a8a8a", "#222222", "#d55e00"
# told apart by all kinds of colour vision: Okabe and Ito, Color Universal Design, 2008, without the palest
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")


class Size(NamedTuple):
    """What pictures are made for.

    Args:
        width, height: most of a picture [inches]; None: as it is designed.
        across: panes in a row.
        text: factor of the height of letters, beside that of the picture.

    """

    width: float | None
    height: float | None
    across: int
    text: float


SIZES = {"page": Size(None, None, 4, 1.0), "column": Size(3.4, None, 2, 1.0), "slide": Size(10.0, 5.6, 5, 1.2)}
_size: ContextVar[Size] = ContextVar("size", default=SIZES["page"])


@contextmanager
def sized(name: str) -> Iterator[None]:
    """Within it, pictures are made for a page, a column of a paper or a slide."""
    before = _size.set(SIZES[name])
    try:
        yield
    finally:
        _size.reset(before)


def panes_across() -> int:
    """How many panes stand beside each other at the size of now."""
    return _size.get().across


@contextmanager
def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Iterator["Figure"]:
    """A figure in the common style, as large as the size of now allows; nothing global is changed or kept open.

    Args:
        width, height: of a page [inches]; other sizes keep the proportion.
        layout: None: axes are placed by the caller, and letters grow and shrink with the picture.

    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    size = _size.get()
    limits = [most / own for most, own in ((size.width, width), (size.height, height)) if most is not None]
    factor = min(limits, default=1.0)
    text = factor if layout is None else max(factor * size.text, min(factor, 1.0) ** 0.5)
    style = {name: value * text for name, value in TEXT.items()} | {
        name: value * factor for name, value in LINES.items()
    }
    with mpl.rc_context(STYLE | style):
        yield Figure(figsize=(width * factor, height * factor), layout=layout)


def save(figure: "Figure", path: str | Path) -> Path:
    """Write a picture; it appears under its name once it is complete. The suffix gives the format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    undated: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    options: dict[str, Any] = {"metadata": undated[path.suffix]} if path.suffix in undated else {}
    with atomic_write(path) as partial:
        figure.savefig(partial, **options)  # the same again, byte for byte
    return path


def picture_formats() -> list[str]:
    """Formats that pictures can have, by the suffix of their files."""
    from matplotlib.figure import Figure

    return sorted(Figure().canvas.get_supported_filetypes())


def require_picture(path: Path) -> None:
    """Refuse a path that no picture can be written to, before the work that it is to show.

    Raises:
        UserError: it is a folder, lies below a file, or its suffix names no format.

    """
    formats = picture_formats()
    if path.suffix.lstrip(".").lower() not in formats:
        raise UserError(f"picture={path}: the suffix names no format; give one of {', '.join(formats)}")
    if path.is_dir():
        raise UserError(f"picture={path} is a folder; name a file in it")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"picture={path}: {above} is a file; choose another folder")


def label(name: str, units: str | None = None) -> str:
    """A variable, and its units if given, as one writes them in a paper: Bx, nT to $B_x$ [nT]."""
    text = {"rho": r"$\rho$"}.get(name) or re.sub(r"^([BEvVJ])_?([xyz])$", r"$\1_\2$", name)
    text = re.sub(r"^([PTn])$", r"$\1$", text)
    return f"{text} [{unit_text(units)}]" if units else text


def unit_text(units: str) -> str:
    """Units as one writes them in a paper: 1/cm3 to cm$^{-3}$."""
    return re.sub(r"^1/(\w*?[A-Za-z])(\d)$", r"\1$^{-\2}$", units).replace("R_E", "$R_E$")
