"""The size of a graph, for people."""

from typing import NamedTuple

from spacecast.core.graph import MeshGraph


class SummaryRow(NamedTuple):
    """Counts of one edge set; in-degrees count the edges that end at a receiver, the longest edge is in R_E."""

    name: str
    senders: int
    receivers: int
    edges: int
    min_degree: int
    mean_degree: float
    max_degree: int
    longest: float


def summary(graph: MeshGraph) -> list[SummaryRow]:
    """One row per edge set: g2m, m2g, m2m_<level>, up_<level>, down_<level>."""
    rows = []
    for name, edges in graph.edge_sets().items():
        degree = edges.in_degree
        longest = float(edges.features[:, 0].max()) * graph.length_scale if edges.num_edges else 0.0
        low, mean, high = int(degree.min()), edges.num_edges / edges.num_receivers, int(degree.max())
        rows.append(SummaryRow(name, edges.num_senders, edges.num_receivers, edges.num_edges, low, mean, high, longest))
    return rows


def format_summary(graph: MeshGraph) -> str:
    """The summary as a text table with a line of totals above."""
    nodes = " + ".join(f"{level.num_nodes:,}" for level in graph.levels)
    lines = [
        f"{graph.num_grid_nodes:,} grid nodes, {nodes} mesh nodes, graph {graph.content_hash}",
        f"{'set':<8}{'senders':>10}{'receivers':>11}{'edges':>12}   in-degree min / mean / max   longest [R_E]",
    ]
    for row in summary(graph):
        degrees = f"{row.min_degree} / {row.mean_degree:.1f} / {row.max_degree}"
        sizes = f"{row.name:<8}{row.senders:>10,}{row.receivers:>11,}{row.edges:>12,}"
        lines.append(f"{sizes}   {degrees:>26}   {row.longest:>13.2f}")
    return "\n".join(lines)
