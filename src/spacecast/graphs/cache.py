"""Built graphs kept on disk, found again by the content that they follow from."""

import hashlib
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid
from spacecast.core.protocols import GraphBuilder
from spacecast.graphs.validation import validate
from spacecast.process.files import atomic_write, sync_file

logger = logging.getLogger(__name__)

DAMAGE = (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError)
FORMAT = 1  # raise it whenever a builder makes other graphs from the same recipe


def cache_key(grid: Grid, recipe: dict[str, Any]) -> str:
    """Hash of everything a graph follows from: coordinates, mask, recipe and format; 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([FORMAT, recipe], sort_keys=True).encode())
    for values in (*grid.coordinates.values(), grid.valid):
        digest.update(str(values.shape).encode() + np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def load_or_build(builder: GraphBuilder, grid: Grid, cache_dir: str | Path) -> MeshGraph:
    """Take a graph from the cache or build it, check it, and put a new one there.

    Several processes may do this at once: a file appears under its name only when it is complete. A damaged file is
    built anew; a cache that cannot be written costs time, not the run. A graph that is itself read from files is not
    copied there.

    Args:
        builder: the recipe.
        grid: the plane.
        cache_dir: folder of the cache; made when absent.

    Raises:
        UserError: when the graph cannot be built or is unsound.

    """
    path = Path(cache_dir) / f"graph-{cache_key(grid, builder.recipe)}.pt"
    stored = builder.recipe.get("builder") == "stored"
    cached = None
    if path.exists() and not stored:
        try:
            cached = graph_from_dict(torch.load(path, map_location="cpu", weights_only=True))
        except DAMAGE as error:
            logger.warning("cached graph %s is damaged (%s); building it again", path, type(error).__name__)
    graph = cached or builder.build(grid)
    validate(graph, grid)
    if graph is cached or stored:
        return graph
    try:
        save_graph(graph, path)
    except OSError as error:
        logger.warning("cannot keep the graph in %s (%s); it will be built again next time", path.parent, error)
    return graph


def save_graph(graph: MeshGraph, path: Path) -> None:
    """Write a graph to a file that appears only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        with partial.open("wb") as file:
            torch.save(graph_to_dict(graph), file)
        sync_file(partial)


def graph_to_dict(graph: MeshGraph) -> dict[str, Any]:
    """Tensors and plain types, fit for a file that loads without executing code."""
    node_fields = ("positions", "features")
    edge_fields = ("senders", "receivers", "features", "num_senders", "num_receivers")
    return {
        "levels": [{name: getattr(level, name) for name in node_fields} for level in graph.levels],
        "edges": {
            name: {field: getattr(edges, field) for field in edge_fields} for name, edges in graph.edge_sets().items()
        },
        "length_scale": graph.length_scale,
        "recipe": graph.recipe,
        "content_hash": graph.content_hash,
    }


def graph_from_dict(values: dict[str, Any]) -> MeshGraph:
    """Inverse of `graph_to_dict`.

    Raises:
        UserError: when the content is not what was written.

    """
    edges = {name: EdgeSet(**one) for name, one in values["edges"].items()}
    depth = len(values["levels"])
    graph = MeshGraph(
        levels=tuple(MeshLevel(**level, edges=edges[f"m2m_{number}"]) for number, level in enumerate(values["levels"])),
        grid_to_mesh=edges["g2m"],
        mesh_to_grid=edges["m2g"],
        up=tuple(edges[f"up_{number}"] for number in range(depth - 1)),
        down=tuple(edges[f"down_{number}"] for number in range(depth - 1)),
        length_scale=values["length_scale"],
        recipe=values["recipe"],
    )
    if graph.content_hash != values["content_hash"]:
        raise UserError(f"graph content {graph.content_hash} is not the {values['content_hash']} that was written")
    return graph
