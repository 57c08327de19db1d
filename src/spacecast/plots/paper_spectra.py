"""Power spectra of example forecasts, as the published figures have them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spacecast.core.errors import UserError
from spacecast.core.names import TRUTH as OF_TRUTH
from spacecast.evaluation.boundaries import LEAST_SIDE, Rectangle, largest_rectangle
from spacecast.plots.canvas import (
    SERIES,
    TEXT,
    TRUTH,
    fitting,
    label,
    legend_columns,
    new_figure,
    panes_across,
    save,
    size_of_now,
    unit_text,
)
from spacecast.plots.fields import checked_field, lead_number, samples
from spacecast.plots.forecasts import ForecastFile
from spacecast.plots.paper_curves import GRID, HEIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = 1.75  # width of a panel [inch]
RANGE = 1e-9  # least power that is shown, over the greatest of the truth


def draw_spectra(
    models: Mapping[str, ForecastFile], names: Sequence[str], seconds: Sequence[float], paths: Sequence[Path]
) -> list[Path]:
    """Draw power spectra of truth and forecasts: a row for each variable, or two in a column; a panel for each lead.

    Of the largest rectangle without Earth and the driven strip, under a Hann window; of an ensemble the mean over the
    members, or that of the ensemble mean where the file holds no members.

    Args:
        models: forecasts of one initial time, by model; all have the variables and the leads, one of them the truth.
        names: of the variables.
        seconds: lead times [s].
        paths: pictures to write; the suffix gives the format.

    Returns:
        The paths.

    Raises:
        UserError: the plane leaves no such rectangle, or a value is no number.

    """
    from matplotlib.lines import Line2D

    text, truth = next((text, file) for text, file in models.items() if file.has_truth)
    place = _rectangle(truth, text)
    lines: dict[str, dict[str, Any]] = {"truth": {"color": TRUTH, "linestyle": "--"}}
    lines |= {
        f"{each}{_of_mean(file)}": {"color": SERIES[n % len(SERIES)]} for n, (each, file) in enumerate(models.items())
    }
    across = min(len(seconds), panes_across())
    lines_each = -(-len(seconds) // across)  # of panes for each variable
    size = _size(lines_each * len(names), across)
    with new_figure(*size, layout=None) as figure:
        axes = figure.subplots(lines_each * len(names), across, squeeze=False)
        room = size_of_now().text
        edges = {"left": 0.75 * room / size[0], "right": 1 - 0.1 / size[0], "top": 1 - 0.25 * room / size[1]}
        figure.subplots_adjust(**edges, bottom=0.75 * room / size[1], wspace=0.12, hspace=0.32)
        for number, name in enumerate(names):
            own = axes[lines_each * number : lines_each * (number + 1)]
            _draw_variable(own.flat, models, name, seconds, place, lines)
            for row in own:
                _name_power(row[0], f"[{_square(truth.plane.units[name])}$R_E$]", size[1])
        for pane in axes[-1]:
            pane.set_xlabel("wavenumber [1/$R_E$]", fontsize=fitting("wavenumber [1/R]", 0.8 * size[0] / across))
            pane.tick_params(labelbottom=True)
        figure.align_ylabels(axes[:, 0])
        handles = [Line2D([], [], label=each, **style) for each, style in lines.items()]
        columns = legend_columns(list(lines), size[0])
        figure.legend(handles=handles, loc="lower center", ncols=columns, frameon=False)
        return [save(figure, path) for path in paths]


def _size(rows: int, columns: int) -> tuple[float, float]:
    """Width and height of a figure of so many panels, as the size of now has it [inch]."""
    now = size_of_now()
    width, height = CELL * columns + 0.55, HEIGHT * rows + 0.65
    if now.width is None:
        return width, height
    return now.width, height * now.text if now.height is None else now.height


def _name_power(pane: "Axes", units: str, height: float) -> None:
    """Name the axis of power, in two lines and smaller letters where a panel of a figure so high has no room for it."""
    room = 0.9 * pane.get_position().height * height
    text = f"power {units}"
    if fitting(text, room) < TEXT["axes.labelsize"] * size_of_now().text:
        text = f"power\n{units}"
    pane.set_ylabel(text, fontsize=fitting(max(text.split("\n"), key=len), room))


def _draw_variable(
    panes: Iterable["Axes"],
    models: Mapping[str, ForecastFile],
    name: str,
    seconds: Sequence[float],
    place: Rectangle,
    lines: Mapping[str, Mapping[str, Any]],
) -> None:
    """One variable, a panel for each lead, on the same axes."""
    from matplotlib.ticker import LogLocator, NullLocator

    text, truth = next((text, file) for text, file in models.items() if file.has_truth)
    top, drawn = 0.0, []
    for number, (pane, lead) in enumerate(zip_longest(panes, seconds)):
        if lead is None:
            pane.set_axis_off()
            continue
        powers = [_power(place, checked_field(truth, OF_TRUTH, name, _lead(truth, lead), text)[None])]
        powers += [_power(place, samples(file, name, _lead(file, lead), each)) for each, file in models.items()]
        for power, style in zip(powers, lines.values(), strict=True):
            pane.loglog(place.wavenumbers, power, linewidth=1, zorder=len(style), **style)  # the truth on top
        top = max(top, float(powers[0].max()))
        pane.set_title(f"{label(name)}, {lead:g} s")
        for axis in (pane.xaxis, pane.yaxis):  # a label of every minor tick would lie on its neighbours
            axis.set_minor_locator(NullLocator())
        pane.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        pane.xaxis.set_major_formatter("{x:g}")
        pane.grid(**GRID)
        pane.spines[["top", "right"]].set_visible(False)
        pane.tick_params(labelbottom=False, labelleft=number % panes_across() == 0)
        drawn.append(pane)
    low = min(pane.get_ylim()[0] for pane in drawn)
    high = max(pane.get_ylim()[1] for pane in drawn)
    for pane in drawn:
        pane.set_ylim(max(low, RANGE * top) if top else low, high)


def _lead(file: ForecastFile, seconds: float) -> int:
    """Number of a lead that is known to be there."""
    lead = lead_number(file, seconds)
    assert lead is not None
    return lead


def _power(place: Rectangle, fields: np.ndarray) -> np.ndarray:
    """Power spectrum, mean over fields: (member, node) to (wavenumber,)."""
    return np.asarray(place.spectrum(torch.as_tensor(fields).unsqueeze(-1)).mean(dim=0)[0])


def _square(units: str) -> str:
    """Units, squared, before others."""
    text = unit_text(units)
    return f"{text}$^2$ " if text.isalnum() else f"({text})$^2$ " if text else ""


def _of_mean(file: ForecastFile) -> str:
    """What is said of a model whose members are not in the file."""
    return "" if next(iter(file.plane.units)) in file.data else ", ensemble mean"


def _rectangle(file: ForecastFile, text: str) -> Rectangle:
    """Where spectra are taken.

    Raises:
        UserError: there is no such place.

    """
    found = largest_rectangle(file.plane.grid, ~file.plane.boundary)
    if found is None or min(found.shape) < LEAST_SIDE:
        size = "none" if found is None else " x ".join(map(str, found.shape))
        raise UserError(
            f"{text}: spectra need {LEAST_SIDE} x {LEAST_SIDE} cells without Earth, found {size}; leave spectra out"
        )
    return found
