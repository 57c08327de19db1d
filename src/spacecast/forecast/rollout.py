"""The autoregressive loop: the only one, for training, validation, ensembles and inference."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spacecast.core.protocols import StepModel
from spacecast.core.types import Batch, Forecast, StepOutput
from spacecast.nn.inputs import previous_given


def model_step(
    model: StepModel, previous: Tensor, state: Tensor, batch: Batch, lead: int, prepared: Any
) -> StepOutput:
    """The model's own step, from the states before a lead."""
    return model.step(previous, state, batch.forcing[:, lead], prepared)


def put(state: Tensor, truth: Tensor, driven: Tensor) -> Tensor:
    """The truth on driven nodes, for a model without a `drive` of its own, see `core.protocols.StepModel`."""
    return torch.where(driven[:, None], truth, state)


def iterate(
    model: StepModel,
    batch: Batch,
    steps: int,
    *,
    step: Callable[..., Any] = model_step,
    boundary: Tensor | None = None,
    prepared: Any = None,
    detach: bool = False,
    recompute: bool = False,
    first_lead: int = 0,
) -> Iterator[Any]:
    """Forecast step by step from X_{t-1}, X_t; yields what `step` makes of leads 1 ... `steps`, a `StepOutput`.

    A model with an attribute `previous_leads` that is a number receives X_t in place of X_{t-1}, which says that there
    is none (`nn.inputs.previous_given`), from that lead on; where a window begins without X_{t-1}, in all of its leads.

    Args:
        model: forecasts one step, on standardised states.
        batch: standardised; `target` must hold `steps` leads where `boundary` is given.
        steps: number of leads.
        step: makes one step, with the arguments of `model_step`; a `StepOutput`, or a named tuple with more in it.
        boundary: True on the nodes whose true values drive the forecast, shape (node,); None: no such node.
        prepared: result of `model.prepare()`, if the caller has it already.
        detach: let no gradient flow from one step into the one before.
        recompute: activation checkpointing: forget the activations of a step and compute them again in the
            backward pass, so memory does not grow with the number of steps. So does an attribute `recompute_steps` of
            the model that is true, see `training.memory`.
        first_lead: number of the first of these leads, where the batch begins with states of a forecast.
    """
    previous_leads = getattr(model, "previous_leads", None)
    previous, state = batch.initial[:, 0], batch.initial[:, 1]
    drive = getattr(model, "drive", put)
    given = previous_given(previous, state)[:, None, None] if previous_leads else None
    prepared = model.prepare() if prepared is None else prepared
    recompute = (recompute or getattr(model, "recompute_steps", False)) and torch.is_grad_enabled()
    for lead in range(steps):
        if previous_leads is not None and first_lead + lead >= previous_leads:
            previous = state
        arguments = (model, previous, state, batch, lead, prepared)
        output = checkpoint(step, *arguments, use_reentrant=False) if recompute else step(*arguments)
        if boundary is not None:
            output = output._replace(state=drive(output.state, batch.target[:, lead], boundary))
        yield output
        new = output.state.detach() if detach else output.state
        previous, state = state if given is None else torch.where(given, state, new), new


def stack(outputs: Sequence[Any]) -> Forecast:
    """Leads along an axis of their own: states (batch, lead, node, state)."""
    states = torch.stack([output.state for output in outputs], dim=1)
    if outputs[0].std is None:
        return Forecast(states, None)
    return Forecast(states, torch.stack([output.std for output in outputs], dim=1))


def rollout(model: StepModel, batch: Batch, steps: int, **options: Any) -> Forecast:
    """`iterate`, stacked."""
    return stack(list(iterate(model, batch, steps, **options)))


def repeat_members(batch: Batch, members: int, axis: Literal[0, 1]) -> Batch:
    """Copies of each window for the members of an ensemble, folded into the batch axis; `split_members` undoes it.

    A model draws its noise along the batch, so the order of the members decides which of them a seed gives which noise.

    Args:
        batch: of windows; copies of a single one share its memory.
        members: copies.
        axis: 0: all windows of the first member, then of the next (training and validation); 1: all members of the
            first window, then of the next (evaluation).

    """
    def repeated(field: Tensor) -> Tensor:
        shape = list(field.shape)
        shape.insert(axis, members)
        return field.unsqueeze(axis).expand(shape).flatten(0, 1)

    return Batch(*map(repeated, batch))


def split_members(values: Tensor, members: int, axis: Literal[0, 1]) -> Tensor:
    """The axis of the members, before that of the windows or behind it, out of the batch axis."""
    return values.unflatten(0, (members, -1) if axis == 0 else (-1, members))
