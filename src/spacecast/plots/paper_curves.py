"""Panels of curves over lead time, as the published figures have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacecast.plots.canvas import SERIES, TRUTH, label, legend_columns, new_figure, panes_across, save, size_of_now
from spacecast.plots.paper_names import Family
from spacecast.plots.paper_tables import DIVERGENCE, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = {1: ("-",), 2: ("--", "-")}  # by how many kinds of lines there are
MORE_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
WIDTH, HEIGHT = 2.35, 1.55  # of a panel [inch]
LEAD = "lead time [s]"
GRID: dict[str, Any] = {"linewidth": 0.3, "color": "#d5d9dd"}


class Look(NamedTuple):
    """How a model is drawn."""

    text: str
    colour: str
    dashes: Any = "-"


class Line(NamedTuple):
    """A curve of a panel."""

    look: Look
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One panel.

    Args:
        title: above it.
        y_label: with units.
        lines: curves; none leave it out of a figure.
        from_zero: whether its axis begins at 0.
        best: what is drawn as a thin line where it lies among the values; None: nothing.

    """

    title: str
    y_label: str
    lines: Sequence[Line]
    from_zero: bool = True
    best: float | None = None


def looks(families: Family) -> dict[str, Look]:
    """Looks by folder: the family decides on the dashes, the name within it on the colour."""
    names = list(dict.fromkeys(name for family in families.values() for name in family))
    dashes = DASHES.get(len(families), MORE_DASHES)
    found = {}
    for number, (family, members) in enumerate(families.items()):
        for name, folder in members.items():
            colour = SERIES[names.index(name) % len(SERIES)]
            found[folder] = Look(f"{family}, {name}", colour, dashes[number % len(dashes)])
    return found


def metric_panel(
    name: str, metric: str, tables: Mapping[str, Table], looked: Mapping[str, Look], *, title: bool = True
) -> Panel:
    """A metric of a variable over lead time.

    Args:
        name: of the variable.
        metric: as it is called on the axis.
        tables: by folder.
        looked: the look of each folder.
        title: whether the variable stands above; otherwise it is part of the label.

    """
    there = {folder: table for folder, table in tables.items() if name in table.curves}
    units = list(dict.fromkeys(table.units[name] for table in there.values()))
    lines = [Line(looked[folder], table.leads, table.curves[name]) for folder, table in there.items()]
    ratio = metric == "spread / skill"
    unit = None if ratio or not units else units[0]
    what = label(name) if name != DIVERGENCE else ""
    text = metric if title else f"{what} {metric}"
    return Panel(what if title else "", f"{text}{label('', unit)}", lines, best=1.0 if ratio else None)


def change_panel(name: str, metric: str, tables: Mapping[str, Table], looked: Mapping[str, Look]) -> Panel:
    """Change of a metric against that of the first table [%].

    Leads that both have are compared; nothing is drawn where the first one is 0.
    """
    first = next(iter(tables.values()))
    lines = []
    for folder, table in tables.items():
        if name not in table.curves or name not in first.curves:
            continue
        common, mine, base = np.intersect1d(table.leads, first.leads, return_indices=True)
        before = first.curves[name][base]
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.where(before != 0, 100 * (table.curves[name][mine] / before - 1), np.nan)
        lines.append(Line(looked[folder], common, change))
    return Panel(f"{label(name)}, {metric}", "change [%]", lines, from_zero=False)


def draw_panels(panels: Sequence[Panel], columns: int, paths: Sequence[Path]) -> list[Path]:
    """Draw panels in rows with one legend below.

    Args:
        panels: row by row.
        columns: panels in a row, fewer where the size of now has no room for them.
        paths: pictures to write; the suffix gives the format.

    Returns:
        The paths; none where no panel has a curve.

    """
    if not any(panel.lines for panel in panels):
        return []
    columns = min(columns, panes_across())
    rows = -(-len(panels) // columns)
    handles = {line.look.text: line.look for panel in panels for line in panel.lines}
    across = max(1, min(len(handles), round(columns * WIDTH / 2.4)))
    height = HEIGHT * rows + 0.25 + 0.2 * -(-len(handles) // across)
    now = size_of_now()
    width, fill = WIDTH * columns, False
    if now.width is not None and now.height is not None:  # a slide is wide: panels and legend take all of it
        width, fill = height * now.width / now.height, True
    with new_figure(width, height) as figure:
        room = legend_columns(list(handles), float(figure.get_figwidth()))
        across = room if fill else min(across, room)
        axes = figure.subplots(rows, columns, squeeze=False)
        for number, pane in enumerate(axes.flat):
            if number >= len(panels) or not panels[number].lines:
                pane.set_axis_off()
                continue
            _draw(pane, panels[number])
            if number + columns >= len(panels):
                pane.set_xlabel(LEAD)
        for column in axes.T:
            figure.align_ylabels(column)
        figure.legend(
            handles=[_handle(look) for look in handles.values()],
            loc="outside lower center",
            ncols=across,
            frameon=False,
        )
        return [save(figure, path) for path in paths]


def _draw(pane: "Axes", panel: Panel) -> None:
    """One panel."""
    for line in panel.lines:
        few = "." if line.x.size < 3 else ""
        pane.plot(line.x, line.y, color=line.look.colour, linestyle=line.look.dashes, linewidth=1.1, marker=few)
    pane.set_title(panel.title)
    pane.set_ylabel(panel.y_label)
    pane.spines[["top", "right"]].set_visible(False)
    pane.grid(**GRID)
    pane.margins(x=0.02)
    if panel.from_zero:
        pane.set_ylim(bottom=0)
    low, high = pane.get_ylim()
    if panel.best is not None and low <= panel.best <= high:
        pane.axhline(panel.best, color=TRUTH, linewidth=0.6)


def _handle(look: Look) -> object:
    """Its entry in the legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.colour, linestyle=look.dashes, linewidth=1.3, label=look.text)
