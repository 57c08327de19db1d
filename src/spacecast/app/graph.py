"""`spacecast-graph`: builds, checks, caches and draws a mesh graph."""

import logging

from spacecast.app.cli import run_command
from spacecast.config.check import untracked
from spacecast.config.command import Command, Inputs
from spacecast.config.schema import Graph

log = logging.getLogger(__name__)


def graph(inputs: Inputs[Graph]) -> None:
    """Build a graph for the grid of the data, print its counts and draw it."""
    from spacecast.app.assemble import open_data, open_graph
    from spacecast.graphs.summary import format_summary
    from spacecast.plots.canvas import require_picture
    from spacecast.plots.graph import draw_graph
    from spacecast.process.logs import mute_libraries

    mute_libraries()
    config = inputs.config
    if config.picture is not None:
        require_picture(config.picture)
    grid = open_data(config).spec.grid
    mesh = open_graph(config.graph, grid, config.paths.data_dir)
    log.info("%s", format_summary(mesh))
    if config.picture is not None:
        log.info("picture: %s", draw_graph(mesh, grid, config.picture))


COMMAND = Command(
    name="spacecast-graph",
    config="graph",
    schema=Graph,
    task=graph,
    complete=untracked(Graph),
    summary="builds, checks, caches and draws a mesh graph for the grid of the data.",
    usage=["spacecast-graph [graph=MEMBER] [key=value ...]"],
    examples={
        "spacecast-graph graph=hierarchical": "counts and a picture",
        "spacecast-graph graph=multiscale graph.levels=4": "one level more",
        "spacecast-graph datastore=vlasiator datastore.root=DIR": "for the grid of other data",
    },
    keys={
        "paths.run_dir": "where the picture goes",
        "picture": "picture to write; null: none",
        "graph.mesh_spacing": "cells between two mesh nodes; null: by the size of the plane",
        "datastore.root": "folder with the data",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
