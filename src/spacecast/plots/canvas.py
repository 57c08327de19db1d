"""The common style of all pictures: sizes, colours, labels, figures, safe writing."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

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
LINES = {
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4, "lines.linewidth": 1.4,
}  # fmt: skip
LETTER = 0.55  # mean width of a letter over the height of the font
FORECAST, BASELINE, TRUTH, SPREAD = "#0072b2", "#8a8a8a", "#222222", "#d55e00"
# told apart by all kinds of colour vision: Okabe and Ito, Color Universal Design, 2008, without the palest
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")


class Size(NamedTuple):
    """What pictures are made for.

    Args:
        width, height: most of a picture [inches]; None: as it is designed.
        across: panes in a row.
        maps: variables in one picture of maps of several; None: all.
        text: factor of the height of letters, which do not shrink with a picture.
        dpi: pixels per inch.

    """

    width: float | None
    height: float | None
    across: int
    maps: int | None
    text: float
    dpi: int


SIZES = {
    "page": Size(None, None, 4, None, 1.0, 150),
    "column": Size(3.4, None, 2, 3, 0.875, 300),
    "slide": Size(10.0, 5.6, 4, 3, 1.4, 192),
}
_size: ContextVar[Size] = ContextVar("size", default=SIZES["page"])


@contextmanager
def sized(name: str) -> Iterator[None]:
    """Within it, pictures are made for a page, a column of a paper or a slide."""
    before = _size.set(SIZES[name])
    try:
        yield
    finally:
        _size.reset(before)


def size_of_now() -> Size:
    """What pictures are made for."""
    return _size.get()


def panes_across() -> int:
    """How many panes stand beside each other at the size of now."""
    return _size.get().across


def columns_for(count: int) -> int:
    """In how many columns so many panes leave the fewest places empty: about as many as stand beside each other."""
    most = min(panes_across(), count)
    return min((most, most + 1), key=lambda columns: (-count % columns, columns)) if count > most else most


@contextmanager
def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Iterator["Figure"]:
    """A figure in the common style, as large as the size of now allows; nothing global is changed or kept open.

    Args:
        width, height: of a page [inches]. A slide keeps the proportion; a column is as wide as it is and less high.
        layout: None: axes are placed by the caller, who has asked for the size of now, and nothing is scaled.

    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    size = _size.get()
    if layout is not None and size.width is not None:
        across = size.width / width
        if size.height is None:
            width, height = width * across, height * across**0.5  # letters do not shrink
        else:
            factor = min(across, size.height / height)
            width, height = width * factor, height * factor
    style: dict[Any, Any] = {name: value * size.text for name, value in (TEXT | LINES).items()}
    if size.width is not None:
        style["savefig.dpi"] = size.dpi
    with mpl.rc_context(STYLE | style):
        yield Figure(figsize=(width, height), layout=layout)


def _width(text: str, points: float) -> float:
    """About how wide a text is [inches], without the signs that only make up a formula."""
    return LETTER * points * size_of_now().text / 72 * len(re.sub(r"\\\w+|[\\$^_{}]", "", text))


def wrapped(text: str, width: float, points: float = TEXT["figure.titlesize"]) -> str:
    """A title in lines that are no wider than so many inches, broken at commas."""
    lines: list[str] = []
    for part in text.split(", "):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and _width(longer, points) > width:
            lines.append(part)
        else:
            lines[-1:] = [longer]
    return ",\n".join(lines)


def fitting(text: str, room: float) -> float:
    """Height of the letters of the label of an axis that has so many inches [points]."""
    points = TEXT["axes.labelsize"]
    return points * size_of_now().text * min(1.0, room / _width(text, points))


def entitle(figure: "Figure", text: str) -> None:
    """A title above the panes, in as many lines as it needs."""
    figure.suptitle(wrapped(text, 0.95 * float(figure.get_figwidth())))


def legend_columns(texts: Sequence[str], width: float) -> int:
    """How many columns a legend of these texts has room for in so many inches."""
    points = TEXT["legend.fontsize"]
    beside = 5 * points * size_of_now().text / 72  # its line, and the gaps
    return int(np.clip(width / (beside + max(_width(text, points) for text in texts)), 1, len(texts)))


def add_legend(figure: "Figure") -> None:
    """One legend below the panes of all that is drawn in any of them, in as many columns as there is room for."""
    shown: dict[str, Any] = {}
    for pane in figure.axes:
        for handle, text in zip(*pane.get_legend_handles_labels(), strict=True):
            shown.setdefault(text, handle)
    if not shown:
        return
    columns = legend_columns(list(shown), figure.get_figwidth())
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=columns, frameon=False)


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
