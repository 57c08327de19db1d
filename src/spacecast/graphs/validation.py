"""Checks that a graph is sound and belongs to a grid."""

from itertools import pairwise

import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.graph import EdgeSet, MeshGraph
from spacecast.core.grid import Grid
from spacecast.graphs.edges import node_scale

TOLERANCE = 1e-4  # of edge features, in units of the longest mesh edge
MOST_MOVED = 0.5  # share of the multiscale edges of published graphs that may carry vectors of other nodes


def validate(graph: MeshGraph, grid: Grid) -> None:
    """Raise an error when a graph is unsound or does not belong to a grid.

    Checked: sizes; every cell feeds the mesh and is fed by it; every mesh node is fed by the grid and has a neighbour;
    every node has a parent, every parent a child; edges within a level run both ways, none twice; lengths and vectors
    are finite and agree with the positions of the nodes; nodes lie within the plane. Graphs of the published recipe
    (recipe `reference` or `stored`) may have their known faults: vectors of up edges reversed, and some multiscale
    edges with vectors of other nodes. (That node numbers are in range is a matter of `EdgeSet`.)

    Raises:
        UserError: one line that names the first fault.

    """
    if graph.num_grid_nodes != grid.num_nodes:
        raise UserError(
            f"the graph was built for {graph.num_grid_nodes} grid nodes, the data have {grid.num_nodes}; "
            "build it again for these data"
        )
    _check_reach(graph)
    for number, level in enumerate(graph.levels):
        _check_both_ways(f"m2m_{number}", level.edges)
    _check_geometry(graph, grid)


def _check_reach(graph: MeshGraph) -> None:
    """Every node takes part in all that it should; a graph of another grid mostly fails here."""
    _need(_fed(graph.grid_to_mesh), "mesh nodes of level 0 get nothing from the grid")
    _need(_feeding(graph.grid_to_mesh), "cells feed no mesh node")
    _need(_fed(graph.mesh_to_grid), "cells are reached from no mesh node")
    for number, level in enumerate(graph.levels):
        if level.num_nodes > 1:
            _need(_fed(level.edges), f"mesh nodes of level {number} have no neighbour")
    for number, (up, down) in enumerate(zip(graph.up, graph.down, strict=True)):
        _need(_feeding(up), f"mesh nodes of level {number} have no parent")
        _need(_fed(up), f"mesh nodes of level {number + 1} have no child")
        _need(_fed(down), f"mesh nodes of level {number} get nothing from level {number + 1}")


def _check_both_ways(name: str, edges: EdgeSet) -> None:
    """Edges within a level: none twice, each with its reverse."""
    there = edges.receivers * edges.num_senders + edges.senders
    back = edges.senders * edges.num_senders + edges.receivers
    there, back = there.sort().values, back.sort().values
    twice = int((there.diff() == 0).sum())
    if twice:
        raise UserError(f"graph: {twice} of {edges.num_edges} edges {name} are there twice; build the graph again")
    if not torch.equal(there, back):
        lonely = int((~torch.isin(there, back)).sum())
        raise UserError(f"graph: {lonely} of {edges.num_edges} edges {name} have no reverse; build the graph again")


def _check_geometry(graph: MeshGraph, grid: Grid) -> None:
    """Positions within the plane, features that agree with them."""
    published = graph.recipe.get("builder") in ("reference", "stored")
    scale = node_scale(grid)
    first, last = (torch.tensor([values[end] for values in grid.coordinates.values()]).float() for end in (0, -1))
    margin = TOLERANCE * scale
    positions = [level.positions.float() for level in graph.levels]
    for number, (level, at) in enumerate(zip(graph.levels, positions, strict=True)):
        outside = ((at < first - margin) | (at > last + margin)).any(dim=1)
        _need(~outside, f"mesh nodes of level {number} lie outside the plane")
        _need(((level.features - at / scale).abs() < TOLERANCE).all(dim=1), f"features of level {number} disagree")
    cells = torch.as_tensor(grid.positions).float()
    finest = positions[0]
    ends = {"g2m": (cells, finest), "m2g": (finest, cells)}
    ends |= {f"m2m_{number}": (at, at) for number, at in enumerate(positions)}
    ends |= {f"up_{number}": pair for number, pair in enumerate(pairwise(positions))}
    ends |= {f"down_{number}": (coarse, fine) for number, (fine, coarse) in enumerate(pairwise(positions))}
    for name, edges in graph.edge_sets().items():
        agree = _agreeing(edges, *ends[name], graph.length_scale)
        if published and name.startswith("up"):
            agree |= _agreeing(edges, *ends[name], -graph.length_scale)
        allowed = MOST_MOVED if published and name == "m2m_0" and not graph.hierarchical else 0.0
        wrong = int((~agree).sum())
        if wrong > allowed * edges.num_edges:
            raise UserError(
                f"graph: features of {wrong} of {edges.num_edges} edges {name} disagree with the positions of their "
                "nodes; was the graph built for another grid?"
            )


def _agreeing(edges: EdgeSet, senders: Tensor, receivers: Tensor, scale: float) -> Tensor:
    """True for edges whose features are length and sender minus receiver over |scale|; a negative scale reverses."""
    vector = (senders[edges.senders] - receivers[edges.receivers]) / scale
    expected = torch.cat([vector.norm(dim=1, keepdim=True), vector], dim=1)
    return ((edges.features - expected).abs() < TOLERANCE).all(dim=1)  # False for NaN


def _fed(edges: EdgeSet) -> Tensor:
    """True for receivers with an edge."""
    return edges.in_degree > 0


def _feeding(edges: EdgeSet) -> Tensor:
    """True for senders with an edge."""
    return torch.bincount(edges.senders, minlength=edges.num_senders) > 0


def _need(sound: Tensor, fault: str) -> None:
    """Raise an error that counts the unsound nodes and names the first."""
    if not bool(sound.all()):
        count = int((~sound).sum())
        first = int((~sound).nonzero()[0])
        raise UserError(
            f"graph: {count} of {sound.numel()} {fault} (first number {first}); "
            "it is damaged or was built for another grid: build it for this one"
        )
