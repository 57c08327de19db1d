"""Time and memory of building, checking, keeping and reading mesh graphs.

Usage: python scripts/bench/graphs.py [--cells 1006 671] [--draw FOLDER]
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.graphs.builders import MeshGraphBuilder
from spacecast.graphs.cache import load_or_build
from spacecast.graphs.reference import ReferenceGraph
from spacecast.graphs.summary import format_summary
from spacecast.graphs.validation import validate
from spacecast.plots.graph import draw_graph

LEVELS = {"simple": 1, "multiscale": 3, "hierarchical": 3}


def plane(nx: int, nz: int) -> Grid:
    """A plane of 94.7 R_E length with Earth at two thirds of it."""
    cell = 94.7 / nx
    x, z = cell * (np.arange(nx) - 0.641 * nx), cell * (np.arange(nz) - (nz - 1) / 2)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= 3.8)


def timed(action: Callable[[], MeshGraph | None]) -> tuple[float, MeshGraph | None]:
    """Seconds and result of an action."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def main() -> None:
    """Print one line per recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs=2, type=int, default=(1006, 671), metavar=("NX", "NZ"))
    parser.add_argument("--draw", type=Path, help="folder for pictures")
    options = parser.parse_args()
    grid = plane(*options.cells)
    print(f"{grid.shape[0]} x {grid.shape[1]} cells, {grid.num_nodes:,} nodes")
    for layout, levels in LEVELS.items():
        for builder in (MeshGraphBuilder(layout, levels=levels), ReferenceGraph(layout, coarsening=5, levels=levels)):
            build, graph = timed(lambda builder=builder: builder.build(grid))
            assert graph is not None
            check, _ = timed(lambda graph=graph: validate(graph, grid))
            with tempfile.TemporaryDirectory() as folder:
                load_or_build(builder, grid, folder)
                read, _ = timed(lambda builder=builder, folder=folder: load_or_build(builder, grid, folder))
            unit = 2**20 if sys.platform == "darwin" else 2**10
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
            name = f"{type(builder).__name__} {layout}"
            print(f"\n{name}: build {build:.2f} s, check {check:.2f} s, read {read:.2f} s, peak so far {peak:.0f} MiB")
            print(format_summary(graph))
            if options.draw:
                draw_graph(graph, grid, options.draw / f"{type(builder).__name__}_{layout}.png")


if __name__ == "__main__":
    main()
