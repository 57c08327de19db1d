"""Pictures of mesh graphs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid
from spacecast.plots.canvas import save
from spacecast.plots.plane import draw_earth, draw_globe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLASS_COLOURS = ("#8fa6be", "#2a78b5", "#e07b39", "#b5305f", "#5b2a86", "#222222")
EARTH, CELL, NODE, UP = "#3f4752", "#b9c0c8", "#14375a", "#cc79a7"
MOST_LINES = 60_000  # of the finest edges; more would be a grey plane
NEXT_CLASS = 1.6  # an edge so many times longer than the next shorter one begins a new class
ZOOM = 7  # mesh spacings across the enlarged pieces


def draw_graph(graph: MeshGraph, grid: Grid, path: str | Path) -> Path:
    """Draw a graph: the mesh in its plane, how cells and mesh are joined beside Earth, and in-degrees.

    Args:
        graph: the graph.
        grid: the plane that it was built for.
        path: picture to write; the suffix gives the format. It appears only when complete.

    Returns:
        The path.

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8.2), dpi=130, layout="constrained")
    panes = figure.add_gridspec(1, 2, width_ratios=(2, 1))
    left = panes[0].subgridspec(2, 1, height_ratios=(1.7, 1))
    right, low = panes[1].subgridspec(2, 1), left[1].subgridspec(1, 2)
    nodes = " + ".join(f"{level.num_nodes:,}" for level in graph.levels)
    figure.suptitle(
        f"{graph.num_grid_nodes:,} cells, {nodes} mesh nodes, {graph.grid_to_mesh.num_edges:,} grid-to-mesh and "
        f"{graph.mesh_to_grid.num_edges:,} mesh-to-grid edges",
        fontsize=11,
    )
    _draw_mesh(figure.add_subplot(left[0]), graph, grid)
    sets = graph.edge_sets()
    mesh = {name: edges for name, edges in sets.items() if name.startswith("m2m")}
    degrees = {
        "neighbours of a mesh node": mesh,
        "cells per mesh node (g2m), mesh nodes per cell (m2g)": {name: sets[name] for name in ("g2m", "m2g")},
    }
    for place, (title, shown) in enumerate(degrees.items()):
        _draw_degrees(figure.add_subplot(low[place]), shown, title)
    at, centres = graph.levels[0].positions.numpy(), grid.positions
    fed, feeding = graph.grid_to_mesh, graph.mesh_to_grid
    pieces = {
        "grid to mesh": (centres[fed.senders], at[fed.receivers]),
        "mesh to grid": (centres[feeding.receivers], at[feeding.senders]),
    }
    for place, (title, ends) in enumerate(pieces.items()):
        _draw_piece(figure.add_subplot(right[place]), graph, grid, *ends, f"{title}, beside Earth; one node's edges")
    return save(figure, path)


def edge_classes(levels: Sequence[MeshLevel]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Edges within levels by length, shortest first: positions of both ends, shape (edge, 2) each, every edge once."""
    starts, stops = [], []
    for level in levels:
        at = level.positions.numpy()
        once = (level.edges.senders < level.edges.receivers).numpy()
        starts.append(at[level.edges.senders.numpy()[once]])
        stops.append(at[level.edges.receivers.numpy()[once]])
    start, stop = np.concatenate(starts), np.concatenate(stops)
    extent = np.abs(stop - start).max(axis=1)
    order = np.argsort(extent)
    breaks = np.flatnonzero(extent[order][1:] > NEXT_CLASS * extent[order][:-1]) + 1
    return [(start[part], stop[part]) for part in np.split(order, breaks)]


def usual_length(start: np.ndarray, stop: np.ndarray) -> float:
    """Median of the lengths of edges along the axis on which each is longer; ends (edge, 2) each."""
    return float(np.median(np.abs(stop - start).max(axis=1)))


def _draw_mesh(axes: "Axes", graph: MeshGraph, grid: Grid) -> None:
    """All mesh nodes and edges, coarse ones on top."""
    _draw_plane(axes, grid)
    classes = edge_classes(graph.levels)
    for number, (start, stop) in enumerate(classes):
        colour = CLASS_COLOURS[min(number, len(CLASS_COLOURS) - 1)]
        length = usual_length(start, stop)
        label = f"{len(start):,} edges of about {length:.2g} $R_E$"
        if len(start) > MOST_LINES:
            axes.plot([], [], color=colour, label=f"{label} (not drawn)")
            continue
        width = 0.5 + 0.4 * number if len(start) < 8000 else 0.3 + 0.3 * number
        _draw_lines(axes, start, stop, colour, width)
        axes.plot([], [], color=colour, linewidth=max(width, 1), label=label)
    places = [level.positions.numpy() for level in graph.levels]
    for number, edges in enumerate(graph.up):
        start, stop = places[number][edges.senders.numpy()], places[number + 1][edges.receivers.numpy()]
        _draw_lines(axes, start, stop, UP, 0.6)
    if graph.up:
        up, down = (sum(edges.num_edges for edges in sets) for sets in (graph.up, graph.down))
        axes.plot([], [], color=UP, linewidth=1, label=f"{up:,} up (drawn) and {down:,} down edges")
    for number, level in enumerate(graph.levels):
        at = level.positions.numpy()
        size = min(3.0, 6000 / len(at)) * (1 + 2.5 * number)
        colour = NODE if number == 0 else CLASS_COLOURS[min(number, len(CLASS_COLOURS) - 1)]
        axes.scatter(at[:, 0], at[:, 1], s=size, color=colour, linewidths=0, zorder=3 + number)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    axes.set_title("mesh", fontsize=10)


def _draw_degrees(axes: "Axes", sets: dict[str, EdgeSet], title: str) -> None:
    """Shares of the receivers by in-degree."""
    for number, (name, edges) in enumerate(sets.items()):
        counts = np.bincount(edges.in_degree.numpy()) / max(edges.num_receivers, 1)
        degree = np.flatnonzero(counts)
        shift = 0.8 / len(sets)
        place = degree + shift * (number - (len(sets) - 1) / 2)
        colour = CLASS_COLOURS[min(number + 1, len(CLASS_COLOURS) - 1)]
        axes.bar(place, counts[degree], shift, label=name, color=colour)
    axes.set_yscale("log")
    axes.set_xlabel("in-degree")
    axes.set_ylabel("share of nodes")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _draw_piece(axes: "Axes", graph: MeshGraph, grid: Grid, cells: np.ndarray, nodes: np.ndarray, title: str) -> None:
    """A few mesh spacings on the day side of Earth; `cells` and `nodes` are the ends of each edge, (edge, 2)."""
    first, second = edge_classes(graph.levels)[0]
    half = ZOOM / 2 * usual_length(first, second)
    inside = grid.distance[~grid.valid]
    centre = np.array([(inside.max() if inside.size else 0.0) + 0.45 * half, 0.45 * half])

    def near(positions: np.ndarray) -> np.ndarray:
        return (np.abs(positions - centre) < 1.1 * half).all(axis=1)

    _draw_plane(axes, grid)
    shown = near(cells) & near(nodes)
    _draw_lines(axes, cells[shown], nodes[shown], CLASS_COLOURS[0], 0.5)
    at = graph.levels[0].positions.numpy()
    one = at[np.abs(at - centre).max(axis=1).argmin()]
    chosen = (nodes == one).all(axis=1)
    _draw_lines(axes, cells[chosen], nodes[chosen], CLASS_COLOURS[3], 1.0)
    centres = grid.positions[near(grid.positions)]
    size = min(10, 4000 / max(len(centres), 1))
    axes.scatter(centres[:, 0], centres[:, 1], s=size, color=CELL, zorder=3, label="cell")
    at = at[near(at)]
    axes.scatter(at[:, 0], at[:, 1], s=26, color=CLASS_COLOURS[2], zorder=4, label="mesh node")
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="lower right")


def _draw_plane(axes: "Axes", grid: Grid) -> None:
    """Labels and Earth."""
    draw_earth(axes, grid, EARTH)
    draw_globe(axes)
    axes.set_xlabel("$x$ [$R_E$]")
    axes.set_ylabel("$z$ [$R_E$]")
    axes.set_aspect("equal")


def _draw_lines(axes: "Axes", start: np.ndarray, stop: np.ndarray, colour: str, width: float) -> None:
    """Straight lines between positions of shape (line, 2)."""
    from matplotlib.collections import LineCollection

    lines = list(np.stack([start, stop], axis=1))
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, zorder=2, rasterized=True))
