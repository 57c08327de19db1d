"""Graph-EFM (Oskarsson et al. 2024): one step ahead through a latent variable, for ensembles."""

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError, nearest
from spacecast.core.graph import MeshGraph
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.core.spec import DataSpec
from spacecast.core.types import Draw, StepOutput
from spacecast.models.encode_process_decode import GraphKind, check_graph
from spacecast.nn.constraints import ElectricKind, Guard, MagneticKind, StateLaw
from spacecast.nn.edges import GraphEdges
from spacecast.nn.grid_blocks import make_grid_blocks
from spacecast.nn.grid_embedder import GridEmbedder
from spacecast.nn.inputs import InputKind, previous_given
from spacecast.nn.latent import Distribution, GraphEmbedder, LatentDecoder, LatentEncoder, PreparedLatent
from spacecast.nn.smoothing import Smoothing
from spacecast.nn.update import Lower, StateUpdate, make_update

PriorKind = Literal["learned", "constant"]


class PreparedGraphEFM(NamedTuple):
    """Everything that is the same for all steps and members.

    grid, grid_next: static part of the grid embedders, without and with X_{t+1}, shape (node, hidden).
    prior: None when the prior is constant.
    """

    grid: Tensor
    grid_next: Tensor
    prior: PreparedLatent | None
    posterior: PreparedLatent
    decoder: PreparedLatent


class GraphEFM(nn.Module):
    """p(X_{t+1} | X_t, X_{t-1}) = integral of p(X_{t+1} | Z, X_t, X_{t-1}) p(Z | X_t, X_{t-1}) over the latent Z.

    Z has `latent_dim` numbers on each node of the coarsest mesh level. `step` draws one sample of it.

    Args:
        spec: facts of the data.
        graph: mesh graph of the same grid.
        hidden_dim: size of node and edge vectors.
        latent_dim: latent numbers per mesh node; None: `hidden_dim`.
        decode_dim: size of the vectors in the mesh-to-grid step; None: `hidden_dim`.
        processor_layers: interaction networks within each level in the decoder.
        encoder_layers: the same in the posterior q(Z | X_{t+1}, X_t, X_{t-1}).
        prior_layers: the same in a learned prior.
        hidden_layers: hidden layers of each MLP.
        grid_blocks: residual blocks of 3 x 3 operators on the cells before the mesh, and again after it, with a way
            round the mesh; 0: no such way either. What the posterior sees of X_{t+1} goes to the mesh without them.
        prior: `learned` from X_t and X_{t-1}, or `constant`.
        prior_distribution: a learned prior's standard deviation: `isotropic` is 1, `diagonal` is learned too.
        prior_mean, prior_std: parameters of a constant prior.
        predict_std: also predict a standard deviation for each entry.
        observation_noise: standard deviation of the noise that `step` adds to each entry, over the predicted one, or
            over that of the one-step increments where none is predicted.
        accepts: kind of mesh this model is defined on: `flat`, `hierarchical` or `any`.
        inputs: `states`, `increments`, `stencil` or `tendencies`, see `nn.inputs`.
        previous_leads: of how many leads of a roll-out X_{t-1} is an input; None: of all of them. Where it is given for
            some, the decoder has two output networks, one for the steps with it and one for those without.
        scale_increments: the decoder's output is in units of the one-step increments; False: of the states.
        trend: share of the last increment in the first guess (0: persistence, 1: linear extrapolation).
        lower, upper: physical limits of the forecast, see `nn.update.make_clamp`.
        magnetic, electric, state_law, smooth, guard: what holds for the forecast, see `nn.constraints.Constraints`.

    Raises:
        UserError: when the graph is of the wrong kind or of another grid, or an option is unknown.
    """

    def __init__(
        self,
        spec: DataSpec,
        graph: MeshGraph,
        *,
        hidden_dim: PositiveInt = 40,
        latent_dim: PositiveInt | None = 8,
        decode_dim: PositiveInt | None = None,
        processor_layers: NonNegativeInt = 2,
        encoder_layers: NonNegativeInt = 1,
        prior_layers: NonNegativeInt = 1,
        hidden_layers: NonNegativeInt = 1,
        grid_blocks: NonNegativeInt = 0,
        prior: PriorKind = "constant",
        prior_distribution: Distribution = "isotropic",
        prior_mean: float = 0.0,
        prior_std: float = 1.0,
        predict_std: bool = False,
        observation_noise: float = 0.0,
        accepts: GraphKind = "any",
        inputs: InputKind = "stencil",
        previous_leads: NonNegativeInt | None = None,
        scale_increments: bool = True,
        trend: float = 0.0,
        lower: Lower | None = "nonnegative",
        upper: Mapping[str, float] | None = None,
        magnetic: MagneticKind = "free",
        electric: ElectricKind = "free",
        state_law: StateLaw = "free",
        smooth: Smoothing = "none",
        guard: Guard | None = None,
    ) -> None:
        super().__init__()
        check_graph(graph, spec, accepts)
        self.update = make_update(
            spec, scale_increments=scale_increments, trend=trend, lower=lower, upper=upper, predict_std=predict_std,
            magnetic=magnetic, electric=electric, state_law=state_law, smooth=smooth, guard=guard,
        )  # fmt: skip
        check_options(prior, prior_std, observation_noise, self.update)
        latent_dim, decode_dim = latent_dim or hidden_dim, decode_dim or hidden_dim
        self.previous_leads, self.latent_dim = previous_leads, latent_dim
        self.num_latent_nodes = graph.levels[-1].num_nodes
        self.prior_mean, self.prior_std, self.observation_noise = prior_mean, prior_std, observation_noise
        self.edges = GraphEdges(graph)
        embedder = partial(
            GridEmbedder, spec, hidden_dim, hidden_layers=hidden_layers, inputs=inputs, previous_leads=previous_leads
        )
        encoder = partial(LatentEncoder, graph, hidden_dim, latent_dim, hidden_layers=hidden_layers)
        learned = prior == "learned"
        within = max(processor_layers, encoder_layers, prior_layers if learned else 0) > 0
        self.grid_embedder, self.grid_next_embedder = embedder(), embedder(with_next=True)
        self.graph_embedder = GraphEmbedder(graph, hidden_dim, decode_dim, hidden_layers=hidden_layers, within=within)
        self.prior_encoder = encoder(layers=prior_layers, distribution=prior_distribution) if learned else None
        self.posterior_encoder = encoder(layers=encoder_layers, distribution="diagonal")
        sizes = hidden_dim, latent_dim, decode_dim, self.update.outputs
        layers = {"layers": processor_layers, "hidden_layers": hidden_layers}
        self.decoder = LatentDecoder(graph, *sizes, **layers, two_outputs=bool(previous_leads))
        self.grid_blocks = make_grid_blocks(spec.grid, grid_blocks, hidden_dim, decode_dim)

    def prepare(self) -> PreparedGraphEFM:
        """Static embeddings, and what first layers make of them."""
        graph = self.graph_embedder(self.edges)
        return PreparedGraphEFM(
            grid=self.grid_embedder.prepare(),
            grid_next=self.grid_next_embedder.prepare(),
            prior=None if self.prior_encoder is None else self.prior_encoder.prepare(graph, self.edges),
            posterior=self.posterior_encoder.prepare(graph, self.edges),
            decoder=self.decoder.prepare(graph, self.edges),
        )

    def step(
        self,
        previous: Tensor,
        state: Tensor,
        forcing: Tensor,
        prepared: PreparedGraphEFM,
        draw: Draw | None = None,
    ) -> StepOutput:
        """One sample of X_{t+1}; see `core.protocols.LatentStepModel`. Differentiable."""
        draw, members = draw or torch.randn_like, len(state)
        before, now, driving = distinct_items(previous, state, forcing)
        grid = self._grid(before, now, driving, prepared)
        mean, std = (part.expand(members, -1, -1) for part in self._prior(grid, prepared, len(now)))
        output = self._decode(mean + std * draw(mean), grid, previous, state, prepared)
        if not self.observation_noise:
            return output
        spread = self.update.diff_std if output.std is None else output.std
        noisy = output.state + self.observation_noise * spread * draw(state)
        return output._replace(state=noisy if self.update.clamp is None else self.update.clamp.hold(noisy))

    def prior(
        self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: PreparedGraphEFM
    ) -> tuple[Tensor, Tensor]:
        """See `core.protocols.LatentStepModel`."""
        grid = self._grid(previous, state, forcing, prepared)
        return self._prior(grid, prepared, state.shape[0])

    def posterior(
        self, previous: Tensor, state: Tensor, target: Tensor, forcing: Tensor, prepared: PreparedGraphEFM
    ) -> tuple[Tensor, Tensor]:
        """See `core.protocols.LatentStepModel`."""
        grid = self.grid_next_embedder(previous, state, forcing, prepared.grid_next, target)
        return self.posterior_encoder(grid, prepared.posterior, self.edges, state.shape[0])

    def decode(
        self, latent: Tensor, previous: Tensor, state: Tensor, forcing: Tensor, prepared: PreparedGraphEFM
    ) -> StepOutput:
        """See `core.protocols.LatentStepModel`."""
        grid = self._grid(previous, state, forcing, prepared)
        return self._decode(latent, grid, previous, state, prepared)

    def drive(self, state: Tensor, truth: Tensor, driven: Tensor) -> Tensor:
        """See `nn.update.StateUpdate.drive`."""
        return self.update.drive(state, truth, driven)

    def _grid(self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: PreparedGraphEFM) -> Tensor:
        """The embedded grid, (batch * node, hidden)."""
        grid = self.grid_embedder(previous, state, forcing, prepared.grid)
        return grid if self.grid_blocks is None else self.grid_blocks.before(grid, len(state))

    def _prior(self, grid: Tensor, prepared: PreparedGraphEFM, batch: int) -> tuple[Tensor, Tensor]:
        """Prior of the embedded grid."""
        if self.prior_encoder is not None:
            return self.prior_encoder(grid, prepared.prior, self.edges, batch)
        shape = batch, self.num_latent_nodes, self.latent_dim
        return grid.new_full(shape, self.prior_mean), grid.new_full(shape, self.prior_std)

    def _decode(
        self, latent: Tensor, grid: Tensor, previous: Tensor, state: Tensor, prepared: PreparedGraphEFM
    ) -> StepOutput:
        """Next state from the embedded grid."""
        given = previous_given(previous, state) if self.previous_leads else None
        output = self.decoder(latent, grid, prepared.decoder, self.edges, given, self.grid_blocks)
        return self.update.step(output, previous, state)


def distinct_items(*fields: Tensor) -> tuple[Tensor, ...]:
    """The first item of a batch where all are the same memory, as members of one window are before they part.

    Elsewhere the fields (batch, ...) as they are.
    """
    alike = all(field.stride(0) == 0 or not field.numel() for field in fields)
    return tuple(field[:1] for field in fields) if alike else fields


def check_options(prior: PriorKind, prior_std: float, observation_noise: float, update: StateUpdate) -> None:
    """Refuse an unknown prior, one without spread, and noise that would break what holds by construction."""
    if prior not in get_args(PriorKind):
        raise UserError(f"unknown prior {prior!r}; {nearest(prior, get_args(PriorKind))}")
    if not prior_std > 0:
        raise UserError(f"prior_std is {prior_std:g}: it must be positive")
    held = () if update.constraints is None else update.constraints.held
    if observation_noise and held:
        raise UserError(f"model.observation_noise={observation_noise:g} would break model.{held[0]}; set it to 0")
