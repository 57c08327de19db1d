"""The autoregressive loop: the only one, for training, validation, ensembles and inference."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from spacecast.core.protocols import StepModel
from spacecast.core.types import Batch, Forecast, StepOutput


def iterate(
    model: StepModel,
    batch: Batch,
    steps: int,
    *,
    boundary: Tensor | None = None,
    prepared: Any = None,
    recompute: bool = False,
) -> Iterator[StepOutput]:
    """Forecast step by step from X_{t-1}, X_t; yields the states at leads 1 ... `steps`.

    Args:
        model: forecasts one step, on standardised states.
        batch: standardised; `target` must hold `steps` leads where `boundary` is given.
        steps: number of leads.
        boundary: True on the nodes whose true values drive the forecast, shape (node,); None: no such node.
        prepared: result of `model.prepare()`, if the caller has it already.
        recompute: activation checkpointing: forget the activations of a step and compute them again in the
            backward pass, so memory does not grow with the number of steps.
    """
    previous, state = batch.initial[:, 0], batch.initial[:, 1]
    prepared = model.prepare() if prepared is None else prepared
    for lead in range(steps):
        forcing = batch.forcing[:, lead]
        if recompute and torch.is_grad_enabled():
            output = checkpoint(model.step, previous, state, forcing, prepared, use_reentrant=False)
        else:
            output = model.step(previous, state, forcing, prepared)
        if boundary is not None:
            output = output._replace(state=torch.where(boundary[:, None], batch.target[:, lead], output.state))
        yield output
        previous, state = state, output.state


def rollout(model: StepModel, batch: Batch, steps: int, **options: Any) -> Forecast:
    """`iterate`, stacked along a new lead axis: states (batch, lead, node, state)."""
    outputs = list(iterate(model, batch, steps, **options))
    states = torch.stack([output.state for output in outputs], dim=1)
    if outputs[0].std is None:
        return Forecast(states, None)
    return Forecast(states, torch.stack([output.std for output in outputs if output.std is not None], dim=1))
