"""The interfaces of spacecast: the page to read first.

config -> Datastore -> DataSpec -> GraphBuilder -> MeshGraph -> StepModel -> Objective -> training -> scores.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, LossTerms, Stage, StepOutput


class Datastore(Protocol):
    """Runs of a simulation, read window by window. Physical units, float32, nodes only.

    These members are all that training, evaluation and inspection need; `data/contract.py` holds a datastore against
    them when it is opened, and says which few it may have besides, and what stands for those that it has not. A split
    `all`, a whole run, may be one of them; of a split that there is not, `num_frames` raises a KeyError or ValueError.
    A constructor that takes `progress` is given a function to call with (what, done, total).
    """

    spec: DataSpec
    train_runs: tuple[str, ...]
    holdout_runs: tuple[str, ...]

    def num_frames(self, run: str, split: str) -> int:
        """Frames of one run in `train`, `val` or `test`."""

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a split: (frame, node, state)."""

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Forcing of frames [start, stop), window folded into the last axis: (frame, node, forcing)."""

    def times(self, run: str, split: str) -> np.ndarray:
        """Time stamps of a split, datetime64[ns], shape (frame,)."""


@runtime_checkable
class SharedDatastore(Datastore, Protocol):
    """A datastore that keeps frames in memory, which the processes that read ahead share: they are forked from ours."""

    def warm_up(self, split: str) -> None:
        """Decode a split of the training runs, where it fits, before the processes are forked."""

    def share_memory(self, workers: int) -> None:
        """Called in each of so many processes: take a part of the memory that is left."""


@runtime_checkable
class CachedDatastore(Datastore, Protocol):
    """A datastore that leaves it to others how decoded frames are kept."""

    def keeping(self, cache: str, number: str) -> Datastore:
        """The same data, their frames kept as `data.cache` says, those on disk as numbers of type `data.packed`."""


class GraphBuilder(Protocol):
    """A recipe for a mesh graph; `recipe` holds plain types and, with the grid, determines the graph."""

    recipe: dict[str, Any]

    def build(self, grid: Grid) -> MeshGraph:
        """Build the graph for the nodes of a grid."""


@runtime_checkable
class StepModel(Protocol):
    """Forecasts one step ahead: an `nn.Module` built as `Model(spec=DataSpec, graph=MeshGraph, **hyper_parameters)`.

    All states are standardised. `prepare` computes whatever depends only on weights and graph (static embeddings); call
    it once per optimiser step, or once per model at inference, and hand its result to every `step`.

    A model may have an attribute `previous_leads`, the number of leads of a roll-out that X_{t-1} is an input of;
    later ones receive X_t in its place. None, or no such attribute: it is an input of all of them.

    A model that passes no messages on the mesh says so by an attribute `cell_levels`, see `cell_levels_of`.

    A model may have a method `drive(state, truth, driven)`, of (batch, node, state) twice and (node,) of bool, which
    puts true values on driven nodes; without it they are put there and nothing else changes.

    The `step` of a model that draws, so that ensembles can be made of it, takes a keyword `draw`, a `core.types.Draw`
    by which it draws anew in each step whatever it draws in place of `torch.randn_like`, its default: the members of a
    forecast then have noise of their own, the same however they are computed. With `torch.zeros_like` it makes the
    forecast without noise.
    """

    def prepare(self) -> Any:
        """Everything that is the same for all steps and members."""

    def step(self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: Any) -> StepOutput:
        """(batch, node, state) at t - 1 and t, (batch, node, forcing) -> state at t + 1."""


@runtime_checkable
class LatentStepModel(StepModel, Protocol):
    """A step model with a latent variable Z: `step` draws Z from the prior; mean and std are (batch, mesh, latent).

    Its `step` may do without the keyword `draw`: then it draws from the global generator of torch, and noise depends on
    the members that go together.
    """

    def prior(self, previous: Tensor, state: Tensor, forcing: Tensor, prepared: Any) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of p(Z | X_t, X_{t-1})."""

    def posterior(
        self, previous: Tensor, state: Tensor, target: Tensor, forcing: Tensor, prepared: Any
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(Z | X_{t+1}, X_t, X_{t-1})."""

    def decode(self, latent: Tensor, previous: Tensor, state: Tensor, forcing: Tensor, prepared: Any) -> StepOutput:
        """The next state for a given latent sample."""


def takes_draw(model: object) -> bool:
    """Whether the `step` of a model takes the keyword `draw`, see `StepModel`."""
    return "draw" in inspect.signature(model.step).parameters  # type: ignore[attr-defined]


def draws(model: object) -> bool:
    """Whether each `step` of a model is a sample, so that members of an ensemble differ.

    One with a latent variable draws, and one whose `step` takes `draw`, unless its attribute `draws` is False.
    """
    said: bool | None = getattr(model, "draws", None)
    return said if said is not None else isinstance(model, LatentStepModel) or takes_draw(model)


@runtime_checkable
class Noise(Protocol):
    """Where random numbers enter a model, its attribute `noise`; see `nn.conditioning.NoiseConditioning`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights by which they enter."""

    def scale(self, factor: float) -> float:
        """Multiply the numbers of forecasts, not those of the training; returns what they are multiplied by now."""


def noise_of(model: object) -> Noise | None:
    """Where random numbers enter a model; None: nowhere, or nobody knows."""
    noise = getattr(model, "noise", None)
    return noise if isinstance(noise, Noise) else None


def cell_levels_of(model: object) -> int | None:
    """On how many levels of cells a model passes messages in place of the mesh, 0: on none; None: it uses the mesh."""
    return getattr(model, "cell_levels", None)


def whole_grid_of(part: object) -> list[str] | None:
    """Options of a model or an objective that need the whole grid in one process; None: nobody has said.

    One that says so by an attribute `whole_grid` computes, of a `DataSpec` and a `MeshGraph` that are parts of larger
    ones (`core.shards`), what it computes on these nodes of the whole, wherever none of these options is on; the mean
    of the objective over the parts, weighted by the nodes that are forecast, is that of the whole.
    """
    return getattr(part, "whole_grid", None)


class Objective(Protocol):
    """What training minimises. Receives the model, not its output, since generative losses entangle the two.

    It may take a keyword `keep`, None or a `core.types.Keep` that it hands its first step to: then it can train on the
    model's own states (`core.types.OwnStates`).

    An objective that scores ensembles also says how many `members` the validation is to draw, a whole number; without
    it, one.
    """

    def __call__(self, model: StepModel, batch: Batch, stage: Stage) -> LossTerms:
        """Loss of a standardised batch; `batch.target` holds at least `stage.rollout_steps` leads."""
