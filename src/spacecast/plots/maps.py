"""Maps on the x-z plane: the variables of one frame, three fields side by side, and so example forecasts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spacecast.plots.canvas import label, panes_across, save, size_of_now
from spacecast.plots.colours import colour_scale, own_scale
from spacecast.plots.forecasts import Frame
from spacecast.plots.picture import Picture, ScoredRun, chosen_frames
from spacecast.plots.plane import ALL, Plane, draw_field, draw_field_lines, new_planes


def draw_fields(
    plane: Plane,
    state: np.ndarray,
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
    field_lines: bool = False,
) -> Path:
    """Draw the variables of one frame, three in a row.

    Args:
        plane: names, units, grid and boundary.
        state: shape (node, state), physical units.
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.
        field_lines: draw lines of the magnetic field.

    Returns:
        The path.

    """
    names = list(plane.units if variables is None else variables)
    columns = min(3, len(names), panes_across())
    rows = -(-len(names) // columns)
    with new_planes(plane, rows, columns, range(columns), title) as planes:
        for number, name in enumerate(names):
            row, column = divmod(number, columns)
            pane = planes.plane(row, column, labelled=(number + columns >= len(names), column == 0))
            values = state[:, plane.index(name)]
            planes.colourbar(draw_field(pane, plane, values, colour_scale(values)), row, column, plane.units[name])
            if field_lines:
                draw_field_lines(pane, plane, state)
            pane.set_title(label(name))
        return save(planes.figure, path)


def draw_comparison(
    plane: Plane,
    fields: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
    field_lines: bool = False,
) -> Path:
    """Draw three planes per variable: the first two share their colours; two variables in a row when there are many.

    One variable alone has them below each other where a picture is as narrow as a column of a paper. Where the first
    two have a logarithmic scale, the third has one too.

    Args:
        plane: names, units, grid and boundary.
        fields: three by their heading, such as truth, forecast and error, each of shape (node, state), physical units.
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.
        field_lines: draw lines of the magnetic field on the first two.

    Returns:
        The path.

    """
    names = list(plane.units if variables is None else variables)
    groups = 1 if len(names) <= 4 or panes_across() < 3 else 2
    rows = -(-len(names) // groups)
    upright = len(names) == 1 and panes_across() < 3
    bars = [0] if upright else [column for column in range(3 * groups) if column % 3]
    with new_planes(plane, 3 if upright else rows, 1 if upright else 3 * groups, bars, title) as planes:
        for number, name in enumerate(names):
            group, row = divmod(number, rows)
            lowest = row == rows - 1 or number == len(names) - 1
            shown = [field[:, plane.index(name)] for field in fields.values()]
            shared = colour_scale(shown[0], shown[1])
            own = own_scale(shown[2], shared)
            for place, (field, heading) in enumerate(zip(shown, fields, strict=True)):
                where = (place, 0) if upright else (row, 3 * group + place)
                labelled = (place == 2 if upright else lowest, where[1] == 0)
                pane = planes.plane(*where, labelled=labelled)
                image = draw_field(pane, plane, field, own if place == 2 else shared)
                planes.head(pane, f"{label(name)}, {heading}" if place == 0 else heading)
                if field_lines and place < 2:
                    draw_field_lines(pane, plane, fields[heading])
                if place or upright:
                    planes.colourbar(image, *where, plane.units[name])
        return save(planes.figure, path)


def draw_examples(run: ScoredRun, path: Path) -> list[Path]:
    """Draw truth, forecast and error of all variables; of ensembles also mean and spread.

    Args:
        run: with example forecasts.
        path: beside which the pictures go: `example_<number>_lead_<number>.png` and `..._ensemble.png`. Those for a
            column or a slide hold a few variables each, whose names they have.

    Returns:
        The paths, in order.

    """
    if run.plane is None:
        return []
    names = run.choice.variables
    wanted = list(run.plane.units) if names is None or tuple(names) == ALL else list(names)
    most = size_of_now().maps or len(wanted)
    parts = [wanted[first : first + most] for first in range(0, len(wanted), most)]
    return [
        each
        for shown in chosen_frames(run, path.with_stem("example"))
        for part in parts
        for each in _draw(run, *shown, part, "" if len(parts) == 1 else f"_{'_'.join(part)}")
    ]


def draw_maps(run: ScoredRun, path: Path) -> list[Path]:
    """The same, a picture for each variable: `example_<number>_lead_<number>_<variable>.png` and so on."""
    if run.plane is None:
        return []
    names = run.plane.chosen(run.choice.variables)
    shown = list(chosen_frames(run, path.with_stem("example")))
    return [each for one in shown for name in names for each in _draw(run, *one, [name], f"_{name}")]


def _draw(
    run: ScoredRun, frame: Frame, path: Path, variables: Sequence[str], ending: str = ""
) -> Iterator[Path]:
    """The pictures of one frame."""
    assert run.plane is not None
    options: dict[str, Any] = {"variables": variables, "title": frame.title, "field_lines": run.choice.field_lines}
    named = path.with_stem(f"{path.stem}{ending}")
    if frame.truth is None:
        fields = {"forecast": frame.mean} if frame.spread is None else {"mean": frame.mean, "spread": frame.spread}
        yield from _draw_alone(run.plane, fields, named, options)
        return
    fields = {"truth": frame.truth, "forecast": frame.mean, "error": frame.mean - frame.truth}
    yield draw_comparison(run.plane, fields, named, **options)
    if frame.spread is not None:
        fields = {"truth": frame.truth, "ensemble mean": frame.mean, "spread": frame.spread}
        yield draw_comparison(run.plane, fields, path.with_stem(f"{path.stem}_ensemble{ending}"), **options)


def _draw_alone(plane: Plane, fields: Mapping[str, np.ndarray], path: Path, options: dict[str, Any]) -> Iterator[Path]:
    """A forecast whose truth is not known."""
    for name, state in fields.items():
        ending = "" if len(fields) == 1 else f"_{name}"
        title = f"{options['title']}, {name}"
        yield draw_fields(plane, state, path.with_stem(f"{path.stem}{ending}"), **{**options, "title": title})


PICTURES = (
    Picture("examples", "maps of truth, forecast and error, all variables in one", draw_examples),
    Picture("maps", "the same, one picture for each variable: those of `variables`, else rho, vx and Bz", draw_maps),
)
