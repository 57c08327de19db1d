"""The noise of a forecast: a pure function of seed, initial time, member and lead, the same on every device."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spacecast.core.protocols import StepModel
from spacecast.core.types import Batch, StepOutput

WORD = 2**64


def stream(seed: int, time: int, member: int, lead: int) -> np.random.Generator:
    """Random numbers of one member at one lead.

    Philox (Salmon et al. 2011) is a function of a key and a counter. Seed and initial time are the key, member and lead
    the upper half of the counter, and the lower half counts the numbers: no two streams meet, and nothing is hashed.

    Args:
        seed: of the forecast.
        time: initial time, milliseconds since 1970.
        member: number of the ensemble member.
        lead: number of the step, from 0.

    """
    counter, key = np.array([0, 0, lead, member], np.uint64), np.array([int(seed) % WORD, int(time) % WORD], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def milliseconds(times: Any) -> np.ndarray:
    """Initial times, datetime64 or whole milliseconds since 1970, as int64."""
    times = np.asarray(times)
    return times.astype("datetime64[ms]").astype(np.int64) if times.dtype.kind == "M" else times.astype(np.int64)


class Draws:
    """The noise of the rows of a batch at one lead; call it with a tensor for standard normal numbers like it.

    What is drawn first, such as a latent variable, comes before what is drawn next, such as noise of observations.

    Args:
        streams: random numbers of each row.

    """

    def __init__(self, streams: Sequence[np.random.Generator]) -> None:
        self.streams = streams

    def __call__(self, like: Tensor) -> Tensor:
        """Standard normal numbers of the shape (row, ...), type and device of a tensor; made on the CPU."""
        rows = [row.standard_normal(like.shape[1:], dtype=np.float32) for row in self.streams]
        return torch.from_numpy(np.stack(rows)).to(like)


class NoisyStep:
    """A step of the roll-out, see `rollout.model_step`, in which each row draws from its own stream.

    A model whose `step` takes no keyword `draw` draws from the global generator: that one is seeded for each step by
    the first row, so that its noise is a pure function too, of the rows that go together as well.

    Args:
        model: whose step it is.
        seed: of the forecast.
        times: initial time of each row, milliseconds since 1970.
        members: number of the ensemble member of each row.
        first_lead: number of the lead that the roll-out begins with, where it goes on with another one.

    """

    def __init__(
        self, model: StepModel, seed: int, times: Sequence[int], members: Sequence[int], first_lead: int = 0
    ) -> None:
        self.draws = "draw" in inspect.signature(model.step).parameters
        self.seed, self.rows, self.first_lead = seed, list(zip(map(int, times), members, strict=True)), first_lead

    def __call__(
        self, model: StepModel, previous: Tensor, state: Tensor, batch: Batch, lead: int, prepared: Any
    ) -> StepOutput:
        """One step ahead."""
        streams = [stream(self.seed, *row, self.first_lead + lead) for row in self.rows]
        inputs = previous, state, batch.forcing[:, lead], prepared
        if self.draws:
            return model.step(*inputs, draw=Draws(streams))  # type: ignore[call-arg]
        with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
            torch.manual_seed(int(streams[0].integers(2**63)))
            return model.step(*inputs)
