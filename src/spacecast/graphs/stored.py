"""Graphs that are read from a folder of tensors in the published layout."""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.graphs.edges import EdgeList, make_graph, node_scale, require_plane

MESH = ("mesh_features", "m2m_edge_index", "m2m_features")
GRID = ("g2m_edge_index", "g2m_features", "m2g_edge_index", "m2g_features")
FLAT = MESH + GRID
BETWEEN = ("mesh_up_edge_index", "mesh_up_features", "mesh_down_edge_index", "mesh_down_features")


class StoredGraph:
    """Reads a graph in the published layout: `g2m_edge_index.pt`, `g2m_features.pt` and so on.

    In the files the nodes of all mesh levels are numbered first, level after level, and the grid nodes after them.
    Mesh positions are stored over the largest coordinate of the grid, edge features in R_E.

    Args:
        path: the folder. Its tensors are read without executing code.

    Raises:
        UserError: when the folder or a file is missing or unreadable.

    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"graph.path={str(self.path)!r} is no folder; give the one that holds g2m_edge_index.pt")
        self._between = all((self.path / f"{name}.pt").exists() for name in BETWEEN)
        digest = hashlib.sha256()
        for name in self._names():
            file = self.path / f"{name}.pt"
            if not file.exists():
                raise UserError(f"graph folder {self.path} has no {name}.pt; a flat graph needs {', '.join(FLAT)}")
            digest.update(name.encode() + file.read_bytes())
        self.recipe: dict[str, Any] = {"builder": "stored", "folder": self.path.name, "content": digest.hexdigest()}

    def build(self, grid: Grid) -> MeshGraph:
        """Read the graph for the nodes of a grid.

        Raises:
            UserError: when the graph does not fit the grid, naming the file.

        """
        require_plane(grid)
        read = {name: self._read(name) for name in self._names()}
        sizes = [len(level) for level in read["mesh_features"]]
        start = np.concatenate([[0], np.cumsum(sizes)])
        depth = len(sizes)
        if depth > 1 and not self._between:
            raise UserError(f"graph folder {self.path} has {depth} mesh levels but lacks one of {', '.join(BETWEEN)}")
        for name in read:
            count = 1 if name in GRID else depth if name in MESH else depth - 1
            if len(read[name]) != count:
                raise UserError(
                    f"{self.path}/{name}.pt holds {len(read[name])} tensors, expected {count} for {depth} mesh levels"
                )
        mesh, cells = (start[0], sizes[0]), (start[-1], grid.num_nodes)

        def edges(name: str, level: int, sender: tuple[int, int], receiver: tuple[int, int]) -> EdgeList:
            index, features = read[f"{name}_edge_index"][level], read[f"{name}_features"][level]
            return self._edges(name, index, features, sender, receiver)

        levels = list(zip(start[:-1], sizes, strict=True))
        pairs = list(enumerate(pairwise(levels)))
        return make_graph(
            grid,
            [level.numpy().astype(np.float64) * node_scale(grid) for level in read["mesh_features"]],
            [edges("m2m", number, level, level) for number, level in enumerate(levels)],
            edges("g2m", 0, cells, mesh),
            edges("m2g", 0, mesh, cells),
            [edges("mesh_up", number, fine, coarse) for number, (fine, coarse) in pairs],
            [edges("mesh_down", number, coarse, fine) for number, (fine, coarse) in pairs],
            recipe=self.recipe,
        )

    @property
    def files(self) -> list[Path]:
        """The files that make up the graph."""
        return [self.path / f"{name}.pt" for name in self._names()]

    def _names(self) -> tuple[str, ...]:
        """Names of the files that make up the graph."""
        return FLAT + BETWEEN if self._between else FLAT

    def _read(self, name: str) -> list[Tensor]:
        """Tensors of one file."""
        file = self.path / f"{name}.pt"
        try:
            value = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            what = f"{file} cannot be read as tensors ({type(error).__name__})"
            raise UserError(f"{what}; download or make the graph again") from error
        tensors = [value] if isinstance(value, Tensor) else value
        if not isinstance(tensors, list) or not all(isinstance(one, Tensor) and one.ndim == 2 for one in tensors):
            raise UserError(f"{file} holds {type(value).__name__}, expected a tensor with two axes or a list of such")
        return tensors

    def _edges(
        self, name: str, index: Tensor, features: Tensor, sender: tuple[int, int], receiver: tuple[int, int]
    ) -> EdgeList:
        """Edges with node numbers counted within their own sets; `sender` and `receiver` are (first number, count)."""
        if index.shape[0] != 2 or index.is_floating_point() or features.shape != (index.shape[1], 3):
            raise UserError(
                f"{self.path}/{name}: edge index {tuple(index.shape)} and features {tuple(features.shape)}, expected "
                "(2, edge) whole numbers and (edge, 3)"
            )
        ends = []
        for role, numbers, (first, count) in (("senders", index[0], sender), ("receivers", index[1], receiver)):
            low, high = (int(numbers.min()), int(numbers.max())) if numbers.numel() else (first, first)
            if low < first or high >= first + count:
                raise UserError(
                    f"{self.path}/{name}_edge_index.pt: {role} span {low} to {high}, expected {first} to "
                    f"{first + count - 1}; this graph was built for another grid"
                )
            ends.append(numbers.numpy() - first)
        order = np.lexsort(ends)
        return EdgeList(ends[0][order], ends[1][order], features.numpy().astype(np.float64)[order])
