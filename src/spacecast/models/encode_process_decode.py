"""Encode-process-decode on a mesh graph.

Keisler (2022), GraphCast (Lam et al. 2023) and Graph-FM (Oskarsson et al. 2024) are settings of it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError, nearest
from spacecast.core.graph import MeshGraph
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.core.spec import DataSpec
from spacecast.core.types import Draw, StepOutput
from spacecast.nn.conditioning import NoiseSizes, make_noise
from spacecast.nn.constraints import ElectricKind, Guard, MagneticKind, StateLaw
from spacecast.nn.edges import GraphEdges
from spacecast.nn.grid_blocks import make_grid_blocks
from spacecast.nn.grid_embedder import GridEmbedder
from spacecast.nn.inputs import InputKind, output_of, previous_given
from spacecast.nn.interaction import Aggregation, InteractionNet, MessageKind, Prepared
from spacecast.nn.mlp import MLP
from spacecast.nn.processor import NOTHING, FlatProcessor, HierarchicalProcessor, PreparedHierarchy
from spacecast.nn.smoothing import Smoothing
from spacecast.nn.update import Lower, make_update

GraphKind = Literal["flat", "hierarchical", "any"]


class PreparedStep(NamedTuple):
    """Everything that is the same for all steps of a roll-out.

    grid: part of the first layer of the grid embedder that the static features contribute, shape (node, hidden).
    mesh: embedded nodes of the finest mesh level, shape (mesh, hidden).
    """

    grid: Tensor
    mesh: Tensor
    encoder: Prepared
    processor: Prepared | PreparedHierarchy
    decoder: Prepared


class EncodeProcessDecode(nn.Module):
    """Grid to mesh, message passing on the mesh, mesh to grid, one step ahead.

    A flat mesh is processed by interaction networks in turn, a hierarchical one by sweeps through its levels.

    Args:
        spec: facts of the data.
        graph: mesh graph of the same grid.
        hidden_dim: size of node and edge vectors.
        decode_dim: size of the vectors in the mesh-to-grid step; None: `hidden_dim`.
        processor_layers: interaction networks on a flat mesh, sweeps on a hierarchical one.
        hidden_layers: hidden layers of each MLP.
        grid_blocks: residual blocks of 3 x 3 operators on the cells before the mesh, and again after it, with a way
            round the mesh; 0: no such way either.
        vertical: message passing between grid and mesh and up the levels: `propagation` or `interaction`.
        aggregation: `sum` or `mean` over messages within a flat mesh.
        predict_std: also predict a standard deviation for each entry.
        accepts: kind of mesh this model is defined on: `flat`, `hierarchical` or `any`.
        inputs: `states`, `increments`, `stencil` or `tendencies`, see `nn.inputs`.
        previous_leads: of how many leads of a roll-out X_{t-1} is an input; None: of all of them. Where it is given for
            some, the model has two output networks, one for the steps with it and one for those without.
        trend: share of the last increment in the first guess (0: persistence, 1: linear extrapolation).
        lower, upper: physical limits of the forecast, see `nn.update.make_clamp`.
        magnetic, electric, state_law, smooth, guard: what holds for the forecast, see `nn.constraints.Constraints`.
        noise: random numbers that each step draws, see `nn.conditioning.NoiseConditioning`; None: it draws nothing.

    Raises:
        UserError: when the graph is of the wrong kind or of another grid.
    """

    def __init__(
        self,
        spec: DataSpec,
        graph: MeshGraph,
        *,
        hidden_dim: PositiveInt = 48,
        decode_dim: PositiveInt | None = None,
        processor_layers: NonNegativeInt = 2,
        hidden_layers: NonNegativeInt = 1,
        grid_blocks: NonNegativeInt = 0,
        vertical: MessageKind = "propagation",
        aggregation: Aggregation = "sum",
        predict_std: bool = False,
        accepts: GraphKind = "any",
        inputs: InputKind = "stencil",
        previous_leads: NonNegativeInt | None = None,
        trend: float = 0.0,
        lower: Lower | None = "nonnegative",
        upper: Mapping[str, float] | None = None,
        magnetic: MagneticKind = "free",
        electric: ElectricKind = "free",
        state_law: StateLaw = "free",
        smooth: Smoothing = "none",
        guard: Guard | None = None,
        noise: NoiseSizes | None = None,
    ) -> None:
        super().__init__()
        check_graph(graph, spec, accepts)
        decode_dim = decode_dim or hidden_dim
        tail, decode_tail = [hidden_dim] * (hidden_layers + 1), [decode_dim] * (hidden_layers + 1)
        self.update = make_update(
            spec, trend=trend, lower=lower, upper=upper, predict_std=predict_std,
            magnetic=magnetic, electric=electric, state_law=state_law, smooth=smooth, guard=guard,
        )  # fmt: skip
        self.edges = GraphEdges(graph)
        self.previous_leads = previous_leads
        self.grid_embedder = GridEmbedder(
            spec, hidden_dim, hidden_layers=hidden_layers, inputs=inputs, previous_leads=previous_leads
        )
        self.mesh_embedder = MLP([graph.levels[0].features.shape[1], *tail])
        self.g2m_embedder = MLP([graph.grid_to_mesh.features.shape[1], *tail])
        self.m2g_embedder = MLP([graph.mesh_to_grid.features.shape[1], *decode_tail])

        self.encoder = InteractionNet(hidden_dim, hidden_layers=hidden_layers, update_edges=False, kind=vertical)
        self.grid_mlp = MLP([hidden_dim, *tail])
        self.processor = make_processor(
            graph, hidden_dim, processor_layers, hidden_layers, vertical=vertical, aggregation=aggregation
        )
        self.grid_to_decoder = MLP([hidden_dim, *decode_tail])
        self.mesh_to_decoder = MLP([hidden_dim, *decode_tail])
        self.decoder = InteractionNet(decode_dim, hidden_layers=hidden_layers, update_edges=False, kind=vertical)
        sizes = [*decode_tail, self.update.outputs]
        self.output = MLP(sizes, layer_norm=False)
        self.output_alone = MLP(sizes, layer_norm=False) if previous_leads else None
        self.grid_blocks = make_grid_blocks(spec.grid, grid_blocks, hidden_dim, decode_dim)

        layers = conditioned_layers(graph, self.processor.conditioned, hidden_dim, decode_dim, grid_blocks)
        positions = [*(np.asarray(level.positions) for level in graph.levels), spec.grid.positions]
        self.noise = make_noise(noise, spec.grid, positions, layers)

    @property
    def draws(self) -> bool:
        """See `core.protocols.draws`."""
        return self.noise is not None

    @property
    def whole_grid(self) -> list[str]:
        """See `core.protocols.whole_grid_of`."""
        options = {"grid_blocks": self.grid_blocks, "noise": self.noise, "previous_leads": self.previous_leads}
        return [name for name, value in options.items() if value] + self.update.whole_grid

    def prepare(self) -> PreparedStep:
        """Static embeddings, and what first layers make of them."""
        mesh = self.mesh_embedder(self.edges.node_features(0))
        g2m = self.g2m_embedder(self.edges.grid_to_mesh.features)
        return PreparedStep(
            grid=self.grid_embedder.prepare(),
            mesh=mesh,
            encoder=self.encoder.prepare(g2m, mesh, self.edges.grid_to_mesh.index(1)),
            processor=self.processor.prepare(self.edges),
            decoder=self.decoder.prepare(self.m2g_embedder(self.edges.mesh_to_grid.features)),
        )

    def step(
        self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: PreparedStep, draw: Draw | None = None
    ) -> StepOutput:
        """See `core.protocols.StepModel`."""
        batch = state.shape[0]
        conditions = NOTHING if self.noise is None else self.noise(state, draw or torch.randn_like)
        grid = embedded = self.grid_embedder(previous, state, forcing, prepared.grid)
        if self.grid_blocks is not None:
            grid = embedded = self.grid_blocks.before(grid, batch, conditions)
        index = self.edges.grid_to_mesh.index(batch)
        mesh, _ = self.encoder(grid, prepared.mesh, prepared.encoder, index, next(conditions, None))
        grid = self.grid_mlp(grid, residual=True)
        mesh = self.processor(mesh, prepared.processor, self.edges, batch, conditions)
        grid, mesh = self.grid_to_decoder(grid), self.mesh_to_decoder(mesh)
        index = self.edges.mesh_to_grid.index(batch)
        grid, _ = self.decoder(mesh, grid, prepared.decoder, index, next(conditions, None))
        if self.grid_blocks is not None:
            grid = self.grid_blocks.after(grid, embedded, batch, conditions)
        given = previous_given(previous, state) if self.previous_leads else None
        output = output_of(self.output, self.output_alone, grid, given)
        return self.update.step(output, previous, state)

    def drive(self, state: Tensor, truth: Tensor, driven: Tensor) -> Tensor:
        """See `nn.update.StateUpdate.drive`."""
        return self.update.drive(state, truth, driven)


def check_graph(graph: MeshGraph, spec: DataSpec, accepts: GraphKind) -> None:
    """Refuse a graph of another grid or of a kind that a model is not defined on."""
    if graph.num_grid_nodes != spec.num_nodes:
        raise UserError(
            f"the graph was built for {graph.num_grid_nodes} grid nodes, the data have {spec.num_nodes}; "
            "build the graph for this grid (spacecast-graph)"
        )
    if accepts not in get_args(GraphKind):
        raise UserError(f"unknown kind of graph {accepts!r}; {nearest(accepts, get_args(GraphKind))}")
    kind = "hierarchical" if graph.hierarchical else "flat"
    if accepts not in ("any", kind):
        instead = "graph=hierarchical" if accepts == "hierarchical" else "graph=simple or graph=multiscale"
        raise UserError(f"this model works on {accepts} graphs, found a {kind} one: use {instead}, or model=graph_fm")


def conditioned_layers(
    graph: MeshGraph, processor: Sequence[int], hidden_dim: int, decode_dim: int, grid_blocks: int
) -> list[tuple[int, int]]:
    """Node set and channels of each layer that noise conditions: blocks, encoder, processor, decoder, blocks.

    Node sets are the levels of the mesh, those of the processor's layers `processor`, and the grid after them.
    """
    cells, norms = len(graph.levels), 2 * grid_blocks
    before = [*[cells] * norms, 0, *processor]
    return [*((nodes, hidden_dim) for nodes in before), *[(cells, decode_dim)] * (1 + norms)]


def make_processor(
    graph: MeshGraph, dim: int, layers: int, hidden_layers: int, *, vertical: MessageKind, aggregation: Aggregation
) -> FlatProcessor | HierarchicalProcessor:
    """The processor that fits the graph."""
    if graph.hierarchical:
        return HierarchicalProcessor(graph, dim, layers=layers, hidden_layers=hidden_layers, vertical=vertical)
    return FlatProcessor(graph, dim, layers=layers, hidden_layers=hidden_layers, aggregation=aggregation)
