"""Maps on the x-z plane: one frame, forecast beside truth, ensembles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spacecast.core.spec import DataSpec
from spacecast.plots.canvas import Colours, colours, draw_plane, label, new_lattice, save


def draw_fields(
    spec: DataSpec,
    state: np.ndarray,
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw the variables of one frame, three in a row.

    Args:
        spec: names, units, grid and boundary.
        state: shape (node, state), physical units.
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.

    Returns:
        The path.

    """
    names = list(spec.state.names if variables is None else variables)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with new_lattice(spec.grid, rows, columns, range(columns), title) as lattice:
        for number, name in enumerate(names):
            row, column = divmod(number, columns)
            pane = lattice.plane(row, column, labelled=(number + columns >= len(names), column == 0))
            index = spec.state.index(name)
            lattice.colourbar(draw_plane(pane, spec, state[:, index], colours(state[:, index])), row, column)
            pane.set_title(label(name, spec.state.units[index]))
        return save(lattice.figure, path)


def draw_maps(
    spec: DataSpec,
    truth: np.ndarray,
    forecast: np.ndarray,
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw truth, forecast and error (forecast minus truth); truth and forecast share their colours.

    Args:
        spec: names, units, grid and boundary.
        truth: shape (node, state), physical units.
        forecast: same shape.
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.

    Returns:
        The path.

    """
    columns = {"truth": truth, "forecast": forecast, "error": forecast - truth}
    return _draw_columns(spec, columns, path, variables, title)


def draw_ensemble(
    spec: DataSpec,
    truth: np.ndarray,
    members: np.ndarray,
    path: str | Path,
    *,
    variables: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Draw truth, ensemble mean and spread (standard deviation over members) of at least two members.

    Args:
        spec: names, units, grid and boundary.
        truth: shape (node, state), physical units.
        members: shape (member, node, state).
        path: picture to write.
        variables: which to draw; None: all.
        title: above the picture.

    Returns:
        The path.

    """
    columns = {"truth": truth, "ensemble mean": members.mean(axis=0), "spread": members.std(axis=0, ddof=1)}
    return _draw_columns(spec, columns, path, variables, title)


def _draw_columns(
    spec: DataSpec, columns: dict[str, np.ndarray], path: str | Path, variables: Sequence[str] | None, title: str | None
) -> Path:
    """Three planes per variable: the first two share their colours; two variables in a row when there are many."""
    names = list(spec.state.names if variables is None else variables)
    groups = 1 if len(names) <= 4 else 2
    rows = -(-len(names) // groups)
    bars = [column for column in range(3 * groups) if column % 3]
    with new_lattice(spec.grid, rows, 3 * groups, bars, title) as lattice:
        for number, name in enumerate(names):
            group, row = divmod(number, rows)
            lowest = row == rows - 1 or number == len(names) - 1
            index = spec.state.index(name)
            fields = [field[:, index] for field in columns.values()]
            shared, own = colours(fields[0], fields[1]), _own_colours(fields[2])
            first, second, third = columns
            headings = (f"{label(name)}, {first}", second, third + label("", spec.state.units[index]))
            for place, (field, heading) in enumerate(zip(fields, headings, strict=True)):
                column = 3 * group + place
                pane = lattice.plane(row, column, labelled=(lowest, column == 0))
                image = draw_plane(pane, spec, field, own if place == 2 else shared)
                pane.set_title(heading)
                if place:
                    lattice.colourbar(image, row, column)
        return save(lattice.figure, path)


def _own_colours(field: np.ndarray) -> Colours:
    """Colours of the third column: an error diverges about zero, a spread starts from it."""
    if np.nanmin(field) < 0:
        return colours(field)
    return Colours("magma", 0.0, float(np.nanpercentile(field, 99)) or 1.0)
