"""Maps on the x-z plane: one frame, forecast beside truth, ensembles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spacecast.core.spec import DataSpec
from spacecast.plots.canvas import Colours, aspect, colourbar, colours, draw_plane, label, name_axes, new_figure, save

PANE = 1.75  # height of a plane in inches


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
    with new_figure(columns * (PANE * aspect(spec.grid) + 0.7), rows * (PANE + 0.35) + 0.5) as figure:
        panes = figure.subplots(rows, columns, squeeze=False)
        for number, pane in enumerate(panes.flat):
            if number >= len(names):
                pane.set_visible(False)
                continue
            index = spec.state.index(names[number])
            image = draw_plane(pane, spec, state[:, index], colours(state[:, index]))
            pane.set_title(label(names[number], spec.state.units[index]))
            colourbar(figure, image, pane)
        name_axes(panes)
        if title:
            figure.suptitle(title)
        return save(figure, path)


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
    width = groups * (3 * PANE * aspect(spec.grid) + 1.2)
    with new_figure(width, rows * (PANE + 0.15) + 0.7) as figure:
        panes = figure.subplots(rows, 3 * groups, squeeze=False)
        for pane in panes.flat:
            pane.set_visible(False)
        for number, name in enumerate(names):
            row, group = number % rows, number // rows
            trio = panes[row, 3 * group : 3 * group + 3]
            index = spec.state.index(name)
            fields = [field[:, index] for field in columns.values()]
            shared, own = colours(fields[0], fields[1]), _own_colours(fields[2])
            for pane, field, heading in zip(trio, fields, columns, strict=True):
                pane.set_visible(True)
                image = draw_plane(pane, spec, field, own if pane is trio[2] else shared)
                pane.set_title(f"{label(name)}, {heading}" if pane is trio[0] else heading)
                if pane is not trio[0]:
                    colourbar(figure, image, trio[:2].tolist() if pane is trio[1] else pane)
            trio[2].set_title(f"{list(columns)[2]} [{label('', spec.state.units[index]).strip(' []')}]")
        name_axes(panes)
        if title:
            figure.suptitle(title)
        return save(figure, path)


def _own_colours(field: np.ndarray) -> Colours:
    """Colours of the third column: an error diverges about zero, a spread starts from it."""
    if np.nanmin(field) < 0:
        return colours(field)
    return Colours("magma", 0.0, float(np.nanpercentile(field, 99)) or 1.0)
