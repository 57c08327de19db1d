"""Cuts through forecasts: along the line from the Sun to Earth, across the tail, and the former against time."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spacecast.core.names import TRUTH as OF_TRUTH
from spacecast.plots.canvas import (
    BASELINE,
    FORECAST,
    SPREAD,
    TRUTH,
    add_legend,
    entitle,
    label,
    new_figure,
    panes_across,
    save,
    unit_text,
    wrapped,
)
from spacecast.plots.colours import colour_scale, own_scale, part_ticks
from spacecast.plots.forecasts import Frame, opened
from spacecast.plots.picture import Picture, ScoredRun, chosen_frames
from spacecast.plots.plane import EARTH, Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAIL = -20.0  # of the cut across the tail, x [R_E]


class Cut(NamedTuple):
    """Cells on a line through the plane.

    Args:
        axis: along it, x or z.
        place: numbers of the cells of the grid, along x and along z.
        text: where it is.

    """

    axis: str
    place: tuple[int | slice, int | slice]
    text: str


def cuts_of(plane: Plane) -> list[Cut]:
    """The lines of cells that are nearest to z = 0 and to `TAIL`, the latter where the plane reaches so far."""
    x, z = plane.grid.coordinates["x"], plane.grid.coordinates["z"]
    middle, tail = int(np.abs(z).argmin()), int(np.abs(x - TAIL).argmin())
    found = [Cut("x", (slice(None), middle), f"Sun-Earth line, $z = {z[middle]:g}\\,R_E$")]
    if x[0] <= TAIL <= x[-1]:
        found.append(Cut("z", (tail, slice(None)), f"across the tail, $x = {x[tail]:g}\\,R_E$"))
    return found


def draw_cuts(run: ScoredRun, path: Path) -> list[Path]:
    """Draw the variables along the Sun-Earth line and across the tail, forecast beside truth, at the chosen leads."""
    return [_draw_cuts(run, frame, picture) for frame, picture in chosen_frames(run, path)]


def _draw_cuts(run: ScoredRun, frame: Frame, path: Path) -> Path:
    """One forecast at one lead, a row for each variable and a column for each cut."""
    assert run.plane is not None
    names, cuts = run.plane.chosen(run.choice.variables), cuts_of(run.plane)
    narrow = panes_across() < 3
    with new_figure(3.4 * len(cuts), 1.5 * len(names) + (2.0 if narrow else 0.7)) as figure:
        entitle(figure, frame.title)
        panes = figure.subplots(len(names), len(cuts), squeeze=False, sharex="col")
        for line, name in zip(panes, names, strict=True):
            for pane, cut in zip(line, cuts, strict=True):
                _draw_cut(pane, run.plane, frame, name, cut)
            line[0].set_ylabel(label(name, run.plane.units[name]))
        for pane, cut in zip(panes[0], cuts, strict=True):
            pane.set_title(wrapped(cut.text, 1.3 if narrow else 3.0))
        for pane, cut in zip(panes[-1], cuts, strict=True):
            pane.set_xlabel(f"${cut.axis}$ [$R_E$]")
        add_legend(figure)
        return save(figure, path)


def _draw_cut(pane: "Axes", plane: Plane, frame: Frame, name: str, cut: Cut) -> None:
    """Truth and forecast along one line, the spread of an ensemble around it."""
    where, column = plane.grid.coordinates[cut.axis], plane.index(name)

    def along(state: np.ndarray) -> np.ndarray:
        return plane.grid.to_field(state[:, column].astype(float))[cut.place]

    fields = [along(frame.mean), *([along(frame.truth)] if frame.truth is not None else [])]
    if frame.truth is not None:
        pane.plot(where, fields[1], color=TRUTH, linewidth=1.8, label="truth")
    if frame.spread is not None:
        low, high = (along(frame.mean) + sign * along(frame.spread) for sign in (-1, 1))
        pane.fill_between(where, low, high, color=SPREAD, alpha=0.3, linewidth=0, label="one spread")
    text = "forecast" if frame.spread is None else "ensemble mean"
    pane.plot(where, fields[0], color=FORECAST, linewidth=1.2, label=text)
    limits = colour_scale(*reversed(fields))
    if limits.logarithmic:
        pane.set_yscale("log")
        pane.set_ylim(0.7 * limits.low, 1.5 * limits.high)
    inside = where[~plane.grid.valid[cut.place]]
    if inside.size:
        pane.axvspan(inside.min(), inside.max(), color=EARTH, alpha=0.5, linewidth=0)
    style: dict[str, Any] = {"color": BASELINE, "alpha": 0.25, "linewidth": 0}
    for number, (first, last) in enumerate(_driven(plane, cut)):
        pane.axvspan(first, last, label=None if number else "driven by true values, not scored", **style)
    pane.margins(x=0.02)
    pane.spines[["top", "right"]].set_visible(False)


def _driven(plane: Plane, cut: Cut) -> list[tuple[float, float]]:
    """Edges of the stretches of a line that true values drive [R_E]; two, where they drive both ends."""
    where = plane.grid.coordinates[cut.axis]
    driven = plane.grid.to_field(plane.boundary.astype(float), fill=0.0)[cut.place] > 0
    stretches = np.flatnonzero(np.diff(driven, prepend=False, append=False)).reshape(-1, 2)
    half = (where[1] - where[0]) / 2
    return [(float(where[first] - half), float(where[behind - 1] + half)) for first, behind in stretches]


def draw_keograms(run: ScoredRun, path: Path) -> list[Path]:
    """Draw the Sun-Earth line against time of truth, forecast and error, a picture for each variable and example."""
    if run.examples is None or run.plane is None:
        return []
    paths = []
    with opened(run.examples, run.plane) as file:
        for number in range(file.count):
            for name in run.plane.chosen(run.choice.variables) if len(file.leads) > 1 else ():
                cut = cuts_of(run.plane)[0]
                text = "ensemble mean" if file.members > 1 or name not in file.data else "forecast"
                shown = {text: file.series(name, number)[:, *cut.place]}
                if file.has_truth:
                    truth = file.series(name, number, OF_TRUTH)[:, *cut.place]
                    shown = {"truth": truth, **shown, "error": shown[text] - truth}
                title = f"{file.title(number)}, {cut.text}"
                picture = path.with_stem(f"{path.stem}_{number}_{name}")
                paths.append(_draw_keogram(run.plane, name, file.leads, shown, title, picture))
    return paths


def _draw_keogram(
    plane: Plane, name: str, leads: np.ndarray, shown: dict[str, np.ndarray], title: str, path: Path
) -> Path:
    """Fields of shape (lead, x), time upwards."""
    x = plane.grid.coordinates["x"]
    shared = colour_scale(*[values for text, values in shown.items() if text != "error"])
    ends = [edge for stretch in _driven(plane, cuts_of(plane)[0]) for edge in stretch]
    edges = [edge for edge in ends if x[0] < edge < x[-1]]  # those of the plane are no news
    upright = panes_across() < len(shown)
    count = len(shown)
    size, places = ((3.4, 2.1 * count + 0.4), (count, 1)) if upright else ((2.6 * count + 0.4, 3.0), (1, count))
    with new_figure(*size) as figure:
        entitle(figure, title)
        panes = figure.subplots(*places, squeeze=False, sharex=True, sharey=True)
        for pane, (text, values) in zip(panes.flat, shown.items(), strict=True):
            scale = own_scale(values, shared) if text == "error" else shared
            values = np.where(values <= 0, 0.999 * scale.low, values) if scale.logarithmic else values
            image = pane.pcolormesh(x, leads, values, cmap=scale.cmap, norm=scale.norm(), rasterized=True)
            pane.set_facecolor(EARTH)
            for edge in edges:
                pane.axvline(edge, color="black", linestyle="--", linewidth=0.8, label="beyond: driven by true values")
            pane.set_title(f"{label(name)}, {text}")
            if upright or text != "truth":
                units = unit_text(plane.units[name])
                bar = figure.colorbar(image, ax=pane, label=units, extend="both", pad=0.02)
                part_ticks(bar, roomy=not upright)
        for pane in panes[-1]:
            pane.set_xlabel("$x$ [$R_E$]")
        for pane in panes[:, 0]:
            pane.set_ylabel("lead time [s]")
        add_legend(figure)
        return save(figure, path)


PICTURES = (
    Picture("cuts", "variables along the Sun-Earth line and across the tail", draw_cuts, always=False),
    Picture("keogram", "the Sun-Earth line against time", draw_keograms, always=False),
)
