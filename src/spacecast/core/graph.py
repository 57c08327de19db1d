"""The mesh graph: one type for flat and hierarchical graphs."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.shards import Halo


@dataclass(frozen=True, eq=False)
class EdgeSet:
    """Directed edges from one node set to another, sorted by receiver.

    Args:
        senders, receivers: node numbers within their own sets, shape (edge,), int64.
        features: length, dx, dz (sender minus receiver) over the longest mesh edge, shape (edge, 3), float32.
        num_senders, num_receivers: sizes of the two node sets. Explicit, for a node may have no edge.
        halo: where the senders are only the part of them that this process owns: rows of others, numbered behind these.

    Raises:
        UserError: when numbers are out of range or shapes disagree.

    """

    senders: Tensor
    receivers: Tensor
    features: Tensor
    num_senders: int
    num_receivers: int
    halo: Halo | None = None

    def __post_init__(self) -> None:
        if not self.senders.shape == self.receivers.shape == self.features.shape[:1]:
            raise UserError(
                f"edge arrays disagree: senders {tuple(self.senders.shape)}, receivers {tuple(self.receivers.shape)}, "
                f"features {tuple(self.features.shape)}"
            )
        ends = (("sender", self.senders, self.num_rows), ("receiver", self.receivers, self.num_receivers))
        for name, numbers, size in ends:
            if numbers.numel() and not (int(numbers.min()) >= 0 and int(numbers.max()) < size):
                found = f"{int(numbers.min())} to {int(numbers.max())}"
                raise UserError(f"{name} numbers span {found}, outside 0 to {size - 1}")
        if self.receivers.numel() and bool((self.receivers.diff() < 0).any()):
            order = torch.argsort(self.receivers, stable=True)
            for name in ("senders", "receivers", "features"):
                object.__setattr__(self, name, getattr(self, name)[order].contiguous())

    @property
    def num_rows(self) -> int:
        """Rows that edges read: those of the senders, and of a halo."""
        return self.num_senders + (0 if self.halo is None else self.halo.size)

    @property
    def num_edges(self) -> int:
        """Number of directed edges."""
        return self.senders.numel()

    @cached_property
    def in_degree(self) -> Tensor:
        """Edges that end at each receiver, shape (receiver,)."""
        return torch.bincount(self.receivers, minlength=self.num_receivers)

    @cached_property
    def uniform_in_degree(self) -> int | None:
        """The common in-degree when every receiver has the same number of edges, else None."""
        if self.num_receivers == 0 or self.num_edges % self.num_receivers:
            return None
        degree = self.num_edges // self.num_receivers
        return degree if bool((self.in_degree == degree).all()) else None


@dataclass(frozen=True, eq=False)
class MeshLevel:
    """One level of the mesh.

    Args:
        positions: (x, z) of each mesh node, shape (mesh, 2), in R_E.
        features: positions over the largest coordinate of the grid, shape (mesh, 2), float32.
        edges: edges within the level.

    """

    positions: Tensor
    features: Tensor
    edges: EdgeSet

    @property
    def num_nodes(self) -> int:
        """Number of mesh nodes."""
        return self.features.shape[0]


@dataclass(frozen=True, eq=False)
class MeshGraph:
    """Grid, mesh levels and the edges between them; a flat graph is a graph with one level.

    Args:
        levels: finest first.
        grid_to_mesh: grid nodes to nodes of level 0.
        mesh_to_grid: nodes of level 0 to grid nodes.
        up: level l to level l + 1, one per pair of levels.
        down: level l + 1 to level l, one per pair of levels.
        length_scale: longest mesh edge, which the edge features are divided by [R_E].
        recipe: how it was built, plain types.

    """

    levels: tuple[MeshLevel, ...]
    grid_to_mesh: EdgeSet
    mesh_to_grid: EdgeSet
    up: tuple[EdgeSet, ...] = ()
    down: tuple[EdgeSet, ...] = ()
    length_scale: float = 1.0
    recipe: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.levels:
            raise UserError("a mesh graph needs at least one level")
        if len(self.up) != len(self.levels) - 1 or len(self.down) != len(self.levels) - 1:
            pairs, found = len(self.levels) - 1, f"{len(self.up)} and {len(self.down)}"
            raise UserError(f"{pairs + 1} mesh levels need {pairs} up and down edge sets, found {found}")
        finest = self.levels[0].num_nodes
        if self.grid_to_mesh.num_receivers != finest or self.mesh_to_grid.num_senders != finest:
            raise UserError("grid-mesh edges do not fit the finest mesh level")
        if self.grid_to_mesh.num_senders != self.mesh_to_grid.num_receivers:
            raise UserError("grid-to-mesh and mesh-to-grid edges disagree on the number of grid nodes")

    @property
    def num_grid_nodes(self) -> int:
        """Number of grid nodes that the graph was built for."""
        return self.grid_to_mesh.num_senders

    @property
    def hierarchical(self) -> bool:
        """True with more than one level."""
        return len(self.levels) > 1

    def edge_sets(self) -> dict[str, EdgeSet]:
        """Every edge set by name: g2m, m2g, m2m_<level>, up_<level>, down_<level>."""
        sets = {"g2m": self.grid_to_mesh, "m2g": self.mesh_to_grid}
        sets |= {f"m2m_{number}": level.edges for number, level in enumerate(self.levels)}
        sets |= {f"up_{number}": edges for number, edges in enumerate(self.up)}
        sets |= {f"down_{number}": edges for number, edges in enumerate(self.down)}
        return sets

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of nodes, edges and features (first 16 hexadecimal digits)."""
        digest = hashlib.sha256()
        for name, edges in self.edge_sets().items():
            digest.update(f"{name}:{edges.num_senders}:{edges.num_receivers}".encode())
            for tensor in (edges.senders, edges.receivers, edges.features):
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        for level in self.levels:
            digest.update(level.features.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
