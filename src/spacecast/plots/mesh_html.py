"""The mesh of a model as a page that a browser turns, opens and closes levels of, and shows without a network."""

import html
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from spacecast.core.graph import EdgeSet, MeshGraph
from spacecast.core.grid import Grid
from spacecast.plots.canvas import SERIES
from spacecast.plots.picture import Picture, ScoredRun
from spacecast.process.files import atomic_write

if TYPE_CHECKING:
    from plotly.graph_objects import Figure, Scatter3d

log = logging.getLogger(__name__)

LIFT = 0.18  # height of a level above the one below, over the longer side of the plane
CELL, EARTH = "#b4bac1", "#3f4752"
CAMERA = {"eye": {"x": 0.0, "y": -1.7, "z": 1.9}, "center": {"x": 0.0, "y": 0.0, "z": -0.15}}
HIDDEN = "legendonly"  # not drawn until it is clicked in the legend


def draw_mesh_page(run: ScoredRun, path: Path) -> list[Path]:
    """Draw the mesh of the model of a run as an HTML page.

    Args:
        run: with a graph.
        path: of the page.

    Returns:
        The path; none where there is no graph, or plotly is not installed, which costs a warning.

    """
    if run.graph is None:
        return []
    if importlib.util.find_spec("plotly") is None:
        log.warning("no %s: it needs plotly; pip install 'spacecast[plots]'", path.name)
        return []
    if (graph := run.graph()) is None:
        return []
    return [write_mesh_page(graph, path, None if run.plane is None else run.plane.grid, run.name)]


def write_mesh_page(graph: MeshGraph, path: Path, grid: Grid | None = None, title: str = "") -> Path:
    """Write a mesh as an HTML page that holds all that it needs; see `mesh_figure`.

    Returns:
        The path; the page appears when it is complete.

    """
    figure = mesh_figure(graph, grid, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        figure.write_html(partial, include_plotlyjs=True, full_html=True, default_height="95vh")
    return path


def mesh_figure(graph: MeshGraph, grid: Grid | None = None, title: str = "") -> "Figure":
    """A mesh in space: the plane of the cells below, each level of the mesh above the finer one.

    Args:
        graph: the mesh.
        grid: the plane that it was built for; None: cells are left out.
        title: above the picture, any text.

    """
    from plotly.graph_objects import Figure

    counts = " + ".join(f"{level.num_nodes:,}" for level in graph.levels)
    figure = Figure(list(_traces(graph, grid)))
    axes = {"x": "x [R_E]", "y": "z [R_E]", "z": ""}
    scene: dict[str, Any] = {f"{axis}axis": {"title": {"text": text}} for axis, text in axes.items()}
    scene["zaxis"] |= {"showticklabels": False, "showgrid": False, "zeroline": False, "showbackground": False}
    heading = f"{html.escape(title)}: " if title else ""
    figure.update_layout(
        title={"text": f"{heading}{graph.num_grid_nodes:,} cells, {counts} mesh nodes"},
        scene={**scene, "aspectmode": "data", "camera": CAMERA},
        legend={"itemsizing": "constant"},
        margin={"l": 20, "r": 20, "t": 50, "b": 20},
        template="plotly_white",
    )
    return figure


def _traces(graph: MeshGraph, grid: Grid | None) -> Iterator["Scatter3d"]:
    """Cells, nodes and edges, each kind an entry of the legend."""
    at = [level.positions.numpy() for level in graph.levels]
    lift = LIFT * float(np.ptp(at[0], axis=0).max())
    heights = lift * np.arange(1, len(at) + 1)
    if grid is not None and grid.num_nodes == graph.num_grid_nodes:
        cells = grid.positions
        yield _points(cells, 0.0, f"{len(cells):,} cells", CELL, 1.5)
        yield _points(_earth(grid), 0.0, "inside the inner boundary", EARTH, 2.5)
        low, mesh = (cells, 0.0), (at[0], float(heights[0]))
        yield _lines(graph.grid_to_mesh, low, mesh, "cells to mesh", CELL, visible=HIDDEN)
        yield _lines(graph.mesh_to_grid, mesh, low, "mesh to cells", CELL, visible=HIDDEN)
    for number, level in enumerate(graph.levels):
        colour, own = SERIES[number % len(SERIES)], (at[number], heights[number])
        name = f"level {number + 1}" if graph.hierarchical else "mesh"
        yield _points(*own, f"{name}: {level.num_nodes:,} nodes", colour, 3.0 + 1.5 * number)
        yield _lines(level.edges, own, own, name, colour, once=True)
    for number, (up, down) in enumerate(zip(graph.up, graph.down, strict=True)):
        low, high = ((at[each], heights[each]) for each in (number, number + 1))
        colour, shown = SERIES[(number + len(at)) % len(SERIES)], f"level {number + 1} to {number + 2}"
        yield _lines(up, low, high, f"{shown}, up", colour)
        yield _lines(down, high, low, f"{shown}, down", colour, visible=HIDDEN)


def _earth(grid: Grid) -> np.ndarray:
    """Positions of the cells without plasma, shape (cell, 2)."""
    x, z = (grid.coordinates[axis] for axis in grid.axes)
    column, row = np.nonzero(~grid.valid)
    return np.stack([x[column], z[row]], axis=-1)


def _points(at: np.ndarray, height: float, name: str, colour: str, size: float) -> "Scatter3d":
    """Nodes at a height."""
    from plotly.graph_objects import Scatter3d

    x, z = at.astype(np.float32).T
    marker = {"size": size, "color": colour}
    where = {"x": x, "y": z, "z": np.full(len(at), height, dtype=np.float32)}
    return Scatter3d(**where, mode="markers", marker=marker, name=name, hovertemplate="x %{x:.2f}, z %{y:.2f} R_E")


def _lines(
    edges: EdgeSet,
    senders: tuple[np.ndarray, float],
    receivers: tuple[np.ndarray, float],
    name: str,
    colour: str,
    *,
    once: bool = False,
    visible: bool | str = True,
) -> "Scatter3d":
    """Edges between nodes at two heights; `once`: one of the two directions that each has."""
    from plotly.graph_objects import Scatter3d

    kept = edges.senders < edges.receivers if once else edges.senders >= 0
    ends = zip((senders, receivers), (edges.senders[kept], edges.receivers[kept]), strict=True)
    first, last = (_raised(at, height, numbers) for (at, height), numbers in ends)
    gap = np.full_like(first, np.nan)  # lifts the pen between two edges
    x, z, y = np.stack([first, last, gap], axis=1).reshape(-1, 3).T
    text = f"{name}: {edges.num_edges:,} edges"
    line = {"color": colour, "width": 1.5}
    return Scatter3d(x=x, y=z, z=y, mode="lines", line=line, name=text, hoverinfo="skip", visible=visible)


def _raised(at: np.ndarray, height: float, numbers: Tensor) -> np.ndarray:
    """Positions of nodes with their height, shape (edge, 3), float32."""
    picked = at[numbers.numpy()]
    return np.column_stack([picked, np.full(len(picked), height)]).astype(np.float32)


PICTURES = (
    Picture(
        "mesh_html",
        "the mesh as a page for a browser, levels above each other (needs plotly: pip install 'spacecast[plots]')",
        draw_mesh_page,
        always=False,
        suffix=".html",
    ),
)
