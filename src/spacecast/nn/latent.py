"""From grid to a latent variable on the mesh and back, Graph-EFM of Oskarsson et al. (2024), section 4.

The latent variable lives on the coarsest level. A flat mesh is a hierarchy of one level.
"""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from spacecast.core.errors import UserError, nearest
from spacecast.core.graph import MeshGraph
from spacecast.nn.edges import EdgeIndex, GraphEdges
from spacecast.nn.grid_blocks import GridBlocks
from spacecast.nn.inputs import output_of
from spacecast.nn.interaction import Nets, Prepared, make_nets
from spacecast.nn.mlp import MLP
from spacecast.nn.stack import Stack

Distribution = Literal["isotropic", "diagonal"]
SMALLEST_STD = 1e-4


class EmbeddedGraph(NamedTuple):
    """Embedded static features: edges to and from the mesh, nodes and edges of each level, edges between levels."""

    g2m: Tensor
    m2g: Tensor
    nodes: list[Tensor]
    same: list[Tensor]
    up: list[Tensor]
    down: list[Tensor]


class GraphEmbedder(nn.Module):
    """Embeds the static features of nodes and edges.

    Args:
        graph: the mesh.
        dim: size of all vectors but those of the mesh-to-grid edges.
        decode_dim: size of the mesh-to-grid edges.
        hidden_layers: hidden layers of each MLP.
        within: embed the edges within levels too; False where no layer uses them.
    """

    def __init__(self, graph: MeshGraph, dim: int, decode_dim: int, *, hidden_layers: int, within: bool) -> None:
        super().__init__()

        def embedders(sizes: list[int], out: int = dim) -> Stack[MLP]:
            return Stack(MLP([size] + [out] * (hidden_layers + 1)) for size in sizes)

        self.g2m = embedders([graph.grid_to_mesh.features.shape[1]])[0]
        self.m2g = embedders([graph.mesh_to_grid.features.shape[1]], decode_dim)[0]
        self.nodes = embedders([level.features.shape[1] for level in graph.levels])
        self.same = embedders([level.edges.features.shape[1] for level in graph.levels] if within else [])
        self.up = embedders([edges.features.shape[1] for edges in graph.up])
        self.down = embedders([edges.features.shape[1] for edges in graph.down])

    def forward(self, edges: GraphEdges) -> EmbeddedGraph:
        """Embed the features of all nodes and edges."""
        return EmbeddedGraph(
            g2m=self.g2m(edges.grid_to_mesh.features),
            m2g=self.m2g(edges.mesh_to_grid.features),
            nodes=[embed(edges.node_features(level)) for level, embed in enumerate(self.nodes)],
            same=[embed(each.features) for embed, each in zip(self.same, edges.levels, strict=False)],
            up=[embed(each.features) for embed, each in zip(self.up, edges.up, strict=True)],
            down=[embed(each.features) for embed, each in zip(self.down, edges.down, strict=True)],
        )


class PreparedLatent(NamedTuple):
    """First layers applied to what is static, and the static receivers of the way up.

    nodes: embedded nodes of each level.
    within: edges within each level; empty where no layer uses them.
    down: edges to the next finer level; empty in an encoder.
    to_grid: mesh-to-grid edges; None in an encoder.
    """

    nodes: list[Tensor]
    from_grid: Prepared
    up: list[Prepared]
    within: list[Prepared]
    down: list[Prepared]
    to_grid: Prepared | None


def make_within(levels: int, layers: int, dim: int, hidden_layers: int) -> Stack[Nets]:
    """Interaction networks in turn, for each level."""
    return Stack(make_nets(layers, dim, hidden_layers, "interaction", update_edges=True) for _ in range(levels))


def prepare_within(within: Stack[Nets], embedded: list[Tensor]) -> list[Prepared]:
    """First layers of the first network of each level."""
    return [nets[0].prepare(same) for nets, same in zip(within, embedded, strict=False) if len(nets)]


def run_within(nets: Nets, mesh: Tensor, edge: Tensor | Prepared | None, index: EdgeIndex) -> tuple[Tensor, Tensor]:
    """Message passing within one level: nodes and edges."""
    for net in nets:
        mesh, edge = net(mesh, mesh, edge, index)
    return mesh, edge  # type: ignore[return-value]  # an edge that no network has touched is not used again


class LatentEncoder(nn.Module):
    """Grid to the parameters of a Gaussian on the coarsest level: up the hierarchy with propagation networks.

    Args:
        graph: the mesh.
        dim: size of node and edge vectors.
        latent_dim: latent numbers per node of the coarsest level.
        layers: interaction networks within each level.
        hidden_layers: hidden layers of each MLP.
        distribution: `isotropic` has standard deviation 1, `diagonal` learns one for each number.
    """

    def __init__(
        self,
        graph: MeshGraph,
        dim: int,
        latent_dim: int,
        *,
        layers: int,
        hidden_layers: int = 1,
        distribution: Distribution = "isotropic",
    ) -> None:
        super().__init__()
        if distribution not in get_args(Distribution):
            raise UserError(f"unknown distribution {distribution!r}; {nearest(distribution, get_args(Distribution))}")
        self.diagonal = distribution == "diagonal"
        self.from_grid = make_nets(1, dim, hidden_layers, "propagation")[0]
        self.up = make_nets(len(graph.up), dim, hidden_layers, "propagation")
        self.within = make_within(len(graph.levels), layers, dim, hidden_layers)
        outputs = latent_dim * (2 if self.diagonal else 1)
        self.output = MLP([dim] * (hidden_layers + 1) + [outputs], layer_norm=False)

    def prepare(self, graph: EmbeddedGraph, edges: GraphEdges) -> PreparedLatent:
        """Apply first layers to what is static; all receivers on the way up are."""
        steps = zip(self.up, graph.up, graph.nodes[1:], edges.up, strict=True)
        return PreparedLatent(
            nodes=graph.nodes,
            from_grid=self.from_grid.prepare(graph.g2m, graph.nodes[0], edges.grid_to_mesh.index(1)),
            up=[net.prepare(edge, nodes, each.index(1)) for net, edge, nodes, each in steps],
            within=prepare_within(self.within, graph.same),
            down=[],
            to_grid=None,
        )

    def forward(
        self, grid: Tensor, prepared: PreparedLatent, edges: GraphEdges, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Grid (batch * node, dim) to mean and standard deviation, each (batch, mesh, latent)."""
        mesh, _ = self.from_grid(grid, prepared.nodes[0], prepared.from_grid, edges.grid_to_mesh.index(batch))
        for level, nets in enumerate(self.within):
            if level > 0:
                low = level - 1
                mesh, _ = self.up[low](mesh, prepared.nodes[level], prepared.up[low], edges.up[low].index(batch))
            within = prepared.within[level] if len(nets) else None
            mesh, _ = run_within(nets, mesh, within, edges.levels[level].index(batch))
        output = self.output(mesh).view(batch, -1, self.output[-1].out_features)
        if not self.diagonal:
            return output, torch.ones_like(output)
        mean, raw_std = output.chunk(2, dim=-1)
        return mean, SMALLEST_STD + functional.softplus(raw_std)


class LatentDecoder(nn.Module):
    """Latent variable and grid to a vector on each grid node: up the hierarchy, where both meet at the top, and down.

    Args:
        graph: the mesh.
        dim: size of node and edge vectors.
        latent_dim: latent numbers per node of the coarsest level.
        decode_dim: size of the vectors in the mesh-to-grid step.
        outputs: numbers per grid node.
        layers: interaction networks within each level, on the way up and again on the way down.
        hidden_layers: hidden layers of each MLP.
        two_outputs: have another output network for steps without a previous state.
    """

    def __init__(
        self,
        graph: MeshGraph,
        dim: int,
        latent_dim: int,
        decode_dim: int,
        outputs: int,
        *,
        layers: int,
        hidden_layers: int = 1,
        two_outputs: bool = False,
    ) -> None:
        super().__init__()
        tail, decode_tail = [dim] * (hidden_layers + 1), [decode_dim] * (hidden_layers + 1)
        levels = len(graph.levels)
        self.latent_embedder = MLP([latent_dim, *tail])
        self.grid_mlp = MLP([dim, *tail])
        self.from_grid = make_nets(1, dim, hidden_layers, "interaction")[0]
        self.up = make_nets(levels - 1, dim, hidden_layers, "interaction")
        self.down = make_nets(levels - 1, dim, hidden_layers, "propagation")
        self.within_up = make_within(levels, layers, dim, hidden_layers)
        self.within_down = make_within(levels - 1, layers, dim, hidden_layers)
        self.grid_to_decoder = MLP([dim, *decode_tail])
        self.mesh_to_decoder = MLP([dim, *decode_tail])
        self.to_grid = make_nets(1, decode_dim, hidden_layers, "propagation")[0]
        self.output = MLP([*decode_tail, outputs], layer_norm=False)
        self.output_alone = MLP([*decode_tail, outputs], layer_norm=False) if two_outputs else None

    def prepare(self, graph: EmbeddedGraph, edges: GraphEdges) -> PreparedLatent:
        """Apply first layers to what is static: edges, and receivers below the top."""
        top = len(graph.nodes) - 1
        static = [*graph.nodes[:-1], None]
        up = [
            net.prepare(graph.up[low], static[low + 1], edges.up[low].index(1) if low + 1 < top else None)
            for low, net in enumerate(self.up)
        ]
        g2m_index = edges.grid_to_mesh.index(1) if top > 0 else None
        return PreparedLatent(
            nodes=graph.nodes,
            from_grid=self.from_grid.prepare(graph.g2m, static[0], g2m_index),
            up=up,
            within=prepare_within(self.within_up, graph.same),
            down=[net.prepare(edge) for net, edge in zip(self.down, graph.down, strict=True)],
            to_grid=self.to_grid.prepare(graph.m2g),
        )

    def forward(
        self,
        latent: Tensor,
        grid: Tensor,
        prepared: PreparedLatent,
        edges: GraphEdges,
        given: Tensor | None,
        blocks: GridBlocks | None = None,
    ) -> Tensor:
        """Latent (batch, mesh, latent) and grid (batch * node, dim) to (batch * node, output).

        A grid (node, dim) is that of all latents: what knows no latent is computed once.
        `given` (batch,) tells which have a previous state, see `nn.inputs.previous_given`; None: all. `blocks` come
        after the mesh.
        """
        batch = len(latent)
        shared = len(grid) < batch * edges.grid_to_mesh.num_senders
        every = grid.repeat(batch, 1) if shared else grid
        receivers = [*prepared.nodes[:-1], self.latent_embedder(latent.flatten(0, 1))]
        mesh, _ = self.from_grid(every, receivers[0], prepared.from_grid, edges.grid_to_mesh.index(batch))
        passed: list[tuple[Tensor, Tensor]] = []
        for level, nets in enumerate(self.within_up):
            if level > 0:
                low = level - 1
                mesh, _ = self.up[low](mesh, receivers[level], prepared.up[low], edges.up[low].index(batch))
            within = prepared.within[level] if len(nets) else None
            passed.append(run_within(nets, mesh, within, edges.levels[level].index(batch)))
            mesh = passed[-1][0]
        for low in reversed(range(len(self.down))):
            nodes, same = passed[low]
            mesh, _ = self.down[low](mesh, nodes, prepared.down[low], edges.down[low].index(batch))
            mesh, _ = run_within(self.within_down[low], mesh, same, edges.levels[low].index(batch))
        grid = self.grid_to_decoder(self.grid_mlp(grid, residual=True))
        index = edges.mesh_to_grid.index(batch)
        grid, _ = self.to_grid(self.mesh_to_decoder(mesh), grid, prepared.to_grid, index)
        grid = grid if blocks is None else blocks.after(grid, every, batch)
        return output_of(self.output, self.output_alone, grid, given)
