"""A user's own model: torch_geometric attention on whatever mesh graph there is. One file, and one YAML file beside it.

    spacecast-train --config-dir tests/models/own model=attention
"""


import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec
from spacecast.core.types import StepOutput
from spacecast.graphs.hetero import edge_types, to_hetero


class Attention(nn.Module):
    """Graph attention from grid to mesh, up and down its levels, and back (Brody et al. 2022).

    Args:
        spec: facts of the data.
        graph: mesh graph, flat or hierarchical.
        hidden_dim: size of all vectors.
        heads: attention heads, averaged.
    """

    def __init__(self, spec: DataSpec, graph: MeshGraph, *, hidden_dim: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.data = to_hetero(graph)
        depth = len(graph.levels)
        self.types = edge_types(depth)
        up = [f"m2m_{level}" for level in range(depth)] + [f"up_{level}" for level in range(depth - 1)]
        up.sort(key=lambda name: (int(name[-1]), name.startswith("up")))
        down = [name for level in reversed(range(depth - 1)) for name in (f"down_{level}", f"m2m_{level}")]
        self.route = ["g2m", *up, *down, "m2g"]
        self.register_buffer("static", torch.as_tensor(spec.static_standardized), persistent=False)
        self.register_buffer("scale", torch.as_tensor(spec.increment_statistics[1]), persistent=False)
        self.grid = nn.Linear(2 * len(spec.state) + len(spec.forcing) + len(spec.static), hidden_dim)
        self.mesh = nn.Linear(2, hidden_dim)
        self.attention = nn.ModuleDict(
            {
                name: GATv2Conv(hidden_dim, hidden_dim, heads=heads, concat=False, edge_dim=3, add_self_loops=False)
                for name in dict.fromkeys(self.route)
            }
        )
        self.output = nn.Linear(hidden_dim, len(spec.state))

    def prepare(self) -> dict[str, Tensor]:
        """Embedded mesh nodes of each level."""
        device = self.static.device
        return {name: self.mesh(self.data[name].x.to(device)) for name in self.data.node_types if name != "grid"}

    def step(self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: dict[str, Tensor]) -> StepOutput:
        """Each sample of the batch in turn."""
        outputs = [self._one(*sample, dict(prepared)) for sample in zip(previous, state, forcing, strict=True)]
        return StepOutput(state + self.scale * torch.stack(outputs), None)

    def _one(self, previous: Tensor, state: Tensor, forcing: Tensor, nodes: dict[str, Tensor]) -> Tensor:
        """Increments of one sample."""
        nodes["grid"] = self.grid(torch.cat([state, previous, forcing, self.static], dim=-1))
        for name in self.route:
            source, _, target = kind = self.types[name]
            edges = self.data[kind]
            index, features = edges.edge_index.to(state.device), edges.edge_attr.to(state.device)
            message = self.attention[name]((nodes[source], nodes[target]), index, features)
            nodes[target] = nodes[target] + nn.functional.silu(message)
        return self.output(nodes["grid"])


