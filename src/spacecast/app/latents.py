"""The latent variable of a trained model for a step of its example forecasts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spacecast.core.names import TRUTH
from spacecast.core.protocols import LatentStepModel
from spacecast.forecast.standardize import Standardizer
from spacecast.plots.fields import read_field, read_forcing
from spacecast.plots.forecasts import opened
from spacecast.plots.latents import Latents
from spacecast.plots.plane import Plane

STEPS = 3  # states that prior and posterior are given: X_{t-1}, X_t and X_{t+1}


def latents_of(checkpoint: Path, trust: str | Sequence[str] | None, examples: Path) -> Latents | None:
    """Prior and posterior of the latent variable for the first step of the truth of the first example.

    Args:
        checkpoint: of the model, or the folder of its run.
        trust: modules of a user's own that it may call.
        examples: forecasts beside the truth, of three leads or more.

    Returns:
        None: the model has no latent variable, or the file lacks its forcing or a truth of so many leads.

    Raises:
        UserError: there is no such checkpoint.

    """
    from spacecast.app.loading import load

    trained = load(checkpoint, trust=trust, device="cpu")
    model, spec = trained.module, trained.spec
    if not isinstance(model, LatentStepModel):
        return None
    with opened(examples, Plane.of(spec)) as file:
        if not file.has_truth or len(file.leads) < STEPS:
            return None
        names = file.plane.units
        frames = [np.stack([read_field(file, TRUTH, name, lead) for name in names], axis=-1) for lead in range(STEPS)]
        given: np.ndarray | None = np.zeros((spec.num_nodes, 0))
        if spec.forcing.names:
            given = read_forcing(file, spec.forcing.names, STEPS - 1)
        title = file.title(0, STEPS)
    if given is None:  # of an evaluation by an earlier version
        return None
    standard = Standardizer(spec)
    states = standard.state(torch.as_tensor(np.stack(frames), dtype=torch.float32))
    previous, state, target = (each[None] for each in states)
    forcing = standard.forcing(torch.as_tensor(given, dtype=torch.float32))[None]
    with torch.no_grad():
        prepared = model.prepare()
        kinds = [
            model.prior(previous, state, forcing, prepared),
            model.posterior(previous, state, target, forcing, prepared),
        ]
    prior, posterior = (np.stack([part[0].numpy() for part in _expanded(*kind)]) for kind in kinds)
    noise = np.random.default_rng(0).normal(size=prior.shape[1:])
    samples = np.stack([mean + std * noise for mean, std in (prior, posterior)])
    level = next(each for each in reversed(trained.graph.levels) if each.num_nodes == prior.shape[1])
    return Latents(level.positions.numpy(), prior, posterior, samples, title)


def _expanded(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of one shape."""
    first, second = torch.broadcast_tensors(mean, std)
    return first, second
