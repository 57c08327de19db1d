"""Mesh graphs as torch_geometric `HeteroData`, and back."""

from typing import TYPE_CHECKING

import torch

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

EdgeType = tuple[str, str, str]


def to_hetero(graph: MeshGraph, grid: Grid | None = None) -> "HeteroData":
    """Convert to `HeteroData`: node types `grid` and `mesh_<level>`, edge types g2m, m2m, up, down and m2g.

    Mesh nodes carry `x` (features) and `pos` (R_E), edges `edge_index` (2, edge) and `edge_attr` (edge, 3).

    Args:
        graph: the graph; its tensors are shared, not copied.
        grid: gives the grid nodes their `pos`.

    """
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["grid"].num_nodes = graph.num_grid_nodes
    if grid is not None:
        data["grid"].pos = torch.as_tensor(grid.positions, dtype=torch.float32)
    for number, level in enumerate(graph.levels):
        data[f"mesh_{number}"].x = level.features
        data[f"mesh_{number}"].pos = level.positions
    sets = graph.edge_sets()
    for name, edge_type in edge_types(len(graph.levels)).items():
        data[edge_type].edge_index = torch.stack([sets[name].senders, sets[name].receivers])
        data[edge_type].edge_attr = sets[name].features
    data.length_scale = graph.length_scale
    data.recipe = dict(graph.recipe)
    return data


def from_hetero(data: "HeteroData") -> MeshGraph:
    """Convert `HeteroData` in the form of `to_hetero`, for example after a torch_geometric transform, to a graph.

    Raises:
        UserError: when a node or edge type is missing or does not fit.

    """
    depth = sum(name.startswith("mesh_") for name in data.node_types)
    types = edge_types(depth)
    missing = [kind for kind in types.values() if kind not in data.edge_types]
    if depth == 0 or "grid" not in data.node_types or missing:
        raise UserError(
            f"HeteroData has node types {list(data.node_types)} and edge types {list(data.edge_types)}; it needs grid, "
            f"mesh_0 and {missing or 'g2m, m2m, m2g edges'}"
        )
    sizes = {name: int(data[name].num_nodes) for name in data.node_types}
    edges = {
        name: EdgeSet(
            senders=data[kind].edge_index[0],
            receivers=data[kind].edge_index[1],
            features=data[kind].edge_attr,
            num_senders=sizes[kind[0]],
            num_receivers=sizes[kind[2]],
        )
        for name, kind in types.items()
    }
    return MeshGraph(
        levels=tuple(
            MeshLevel(data[f"mesh_{number}"].pos, data[f"mesh_{number}"].x, edges[f"m2m_{number}"])
            for number in range(depth)
        ),
        grid_to_mesh=edges["g2m"],
        mesh_to_grid=edges["m2g"],
        up=tuple(edges[f"up_{number}"] for number in range(depth - 1)),
        down=tuple(edges[f"down_{number}"] for number in range(depth - 1)),
        length_scale=float(data.length_scale),
        recipe=dict(data.recipe),
    )


def edge_types(depth: int) -> dict[str, EdgeType]:
    """Edge type of each edge set of a graph with so many levels, in `MeshGraph.edge_sets` names."""
    types: dict[str, EdgeType] = {"g2m": ("grid", "g2m", "mesh_0"), "m2g": ("mesh_0", "m2g", "grid")}
    types |= {f"m2m_{level}": (f"mesh_{level}", "m2m", f"mesh_{level}") for level in range(depth)}
    types |= {f"up_{level}": (f"mesh_{level}", "up", f"mesh_{level + 1}") for level in range(depth - 1)}
    types |= {f"down_{level}": (f"mesh_{level + 1}", "down", f"mesh_{level}") for level in range(depth - 1)}
    return types
