"""The noise of a forecast: a pure function of seed, initial time, member and lead, the same on every device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
