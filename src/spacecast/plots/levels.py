"""The mesh over the plane, a pane for each level: its own edges, and those that join it to the level below."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.plots.canvas import BASELINE, FORECAST, SERIES, SPREAD, TRUTH, add_legend, new_figure, panes_across, save
from spacecast.plots.graph import edge_classes, usual_length
from spacecast.plots.picture import Picture, ScoredRun
from spacecast.plots.plane import EARTH, draw_earth, draw_globe, extent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 30_000  # more would be a grey plane
WIDTH = 3.2  # of a pane of a page [inches]
ACROSS = 30  # nodes of a level across a pane, which shows what is near Earth where there are more
DOT = 0.3  # most of the distance between nodes that a dot takes up
# colour and width of edges of the shortest class and longer ones; those beyond the last look like it
BY_LENGTH = ((FORECAST, 0.5), (SERIES[5], 1.1), (SERIES[3], 1.8), (SERIES[2], 2.4), (SERIES[4], 3.0), (TRUTH, 3.6))


def draw_mesh(run: ScoredRun, path: Path) -> list[Path]:
    """Draw the mesh of the model of a run, see `draw_levels`."""
    if run.graph is None or run.plane is None or (graph := run.graph()) is None:
        return []
    return [draw_levels(graph, run.plane.grid, path)]


def draw_levels(graph: MeshGraph, grid: Grid, path: Path) -> Path:
    """Draw each level of a mesh: nodes, edges within it, and up and down edges between it and the level below.

    A multiscale mesh has one level with edges of several lengths, a hierarchical one several that are joined.
    """
    columns = min(panes_across() // 2, len(graph.levels))
    rows = -(-len(graph.levels) // columns)
    left, right, low, high = extent(grid)
    with new_figure((WIDTH + 0.4) * columns, (3.4 * (high - low) / (right - left) + 0.5) * rows + 0.4) as figure:
        panes = figure.subplots(rows, columns, squeeze=False)
        for number, pane in enumerate(panes.flat):
            if number >= len(graph.levels):
                pane.set_visible(False)
                continue
            _draw_level(pane, graph, grid, number)
        add_legend(figure)
        return save(figure, path)


def _draw_level(pane: "Axes", graph: MeshGraph, grid: Grid, number: int) -> None:
    """One level on the plane."""
    level = graph.levels[number]
    at = level.positions.numpy()
    draw_earth(pane, grid, EARTH)
    draw_globe(pane)
    joined = 0
    if number:
        below = graph.levels[number - 1].positions.numpy()
        for edges, ends, colour, width, text in (
            (graph.up[number - 1], (below, at), SPREAD, 1.6, "up from the level below"),
            (graph.down[number - 1], (at, below), TRUTH, 0.5, "down to the level below"),
        ):
            lines = np.stack([ends[0][edges.senders.numpy()], ends[1][edges.receivers.numpy()]], axis=1)
            _draw_lines(pane, lines, colour, width, text)
            joined += edges.num_edges
        pane.scatter(below[:, 0], below[:, 1], s=2, color=BASELINE, linewidths=0, zorder=3)
    classes = edge_classes([level])
    for place, (start, stop) in enumerate(classes):
        colour, width = BY_LENGTH[min(place, len(BY_LENGTH) - 1)]
        text = "within the level" if graph.hierarchical else f"edges of about {usual_length(start, stop):.2g} $R_E$"
        _draw_lines(pane, np.stack([start, stop], axis=1), colour, width, text)
    spacing = usual_length(*classes[0])
    across = ACROSS * spacing if len(classes) == 1 else np.inf  # long edges among short ones need the whole plane
    left, right, low, high = _near_earth(grid, across)
    dot = DOT * spacing * 72 * WIDTH / (right - left)
    pane.scatter(at[:, 0], at[:, 1], s=min(4 + 6 * number, dot**2), color=TRUTH, linewidths=0, zorder=4)
    counts = f"{level.num_nodes:,} nodes, {level.edges.num_edges:,} edges"
    name = f"level {number + 1}" if graph.hierarchical else "mesh"
    pane.set_title(f"{name}: {counts}" + (f",\n{joined:,} edges up and down" if joined else ""))
    pane.set(xlabel="$x$ [$R_E$]", ylabel="$z$ [$R_E$]", aspect="equal")
    pane.set_xlim(left, right)
    pane.set_ylim(low, high)


def _near_earth(grid: Grid, across: float) -> list[float]:
    """Left, right, bottom, top of a part of the plane that is no wider than this and as near Earth as it can be."""
    left, right, low, high = extent(grid)
    share = min(1.0, across / (right - left))
    part: list[float] = []
    for first, last in ((left, right), (low, high)):
        half = share * (last - first) / 2
        middle = float(np.clip(0, first + half, last - half))
        part += [middle - half, middle + half]
    return part


def _draw_lines(pane: "Axes", lines: np.ndarray, colour: str, width: float, text: str) -> None:
    """Lines between pairs of positions, (line, 2, 2); of very many the longest, which shorter ones would hide."""
    from matplotlib.collections import LineCollection

    if len(lines) > MOST_LINES:
        length = np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1)
        lines, text = lines[np.argsort(length)[-MOST_LINES:]], f"{text} (the {MOST_LINES:,} longest)"
    drawn = LineCollection(list(lines), colors=colour, linewidths=width, zorder=2, rasterized=True, label=text)
    pane.add_collection(drawn)


PICTURES = (Picture("mesh", "the mesh over the plane, a pane for each level", draw_mesh, always=False),)
