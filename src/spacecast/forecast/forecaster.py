"""Rolls windows out as ensembles and hands each lead to whoever wants it."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from spacecast.core.errors import UserError
from spacecast.core.protocols import StepModel, draws, takes_draw
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch, StepOutput
from spacecast.forecast.noise import Draws, milliseconds, stream
from spacecast.forecast.rollout import iterate, repeat_members, split_members
from spacecast.forecast.standardize import Standardizer
from spacecast.process.arithmetic import exact_single_precision


def check_ensemble(model: nn.Module, members: int, way: str, key: str = "members") -> None:
    """Members of an ensemble must differ.

    Args:
        model: a `StepModel`.
        members: how many are asked for.
        way: what to do instead, for people.
        key: that asks for them.

    Raises:
        UserError: there are several of a model that draws nothing.

    """
    if members > 1 and not draws(model):
        why = f"{type(model).__name__} draws nothing, all its members would be one forecast"
        raise UserError(f"{key}={members}: {why}; {way}")


class Forecaster:
    """Forecasts batches of windows; memory grows with the members, not with the leads.

    The noise of a member is a function of seed, initial time, its number and the lead alone, see `noise.stream`.

    Args:
        model: a `StepModel`, on `device`.
        spec: the data, with the statistics that the model was trained with.
        device: where to compute.
        members: ensemble members.
        member_chunk: members of a window that go through the model at a time.
        seed: of the noise.

    """

    def __init__(
        self,
        model: nn.Module,
        spec: DataSpec,
        device: torch.device,
        members: int = 1,
        member_chunk: int = 6,
        seed: int = 0,
    ) -> None:
        exact_single_precision()
        self.model = cast(StepModel, model)
        self.device, self.members, self.chunk, self.seed = device, members, member_chunk, seed
        self.standardizer = Standardizer(spec).to(device)
        self.boundary = None if spec.driven is None else torch.as_tensor(spec.driven, device=device)
        with torch.inference_mode():
            self.prepared: Any = self.model.prepare()

    def leads(self, batch: Batch, steps: int, times: Sequence[Any] | np.ndarray) -> Iterator[Tensor]:
        """States at each lead, standardised; chunks of members advance in lockstep.

        Args:
            batch: of windows, standardised, with `steps` leads.
            steps: leads.
            times: initial time of each window, datetime64 or whole milliseconds since 1970.

        Returns:
            Shape (window, member, node, state) for each lead.

        """
        chunks = [range(self.members)[start : start + self.chunk] for start in range(0, self.members, self.chunk)]
        starts = milliseconds(times)
        streams = [
            self.rows(
                repeat_members(batch, len(chunk), axis=1), steps, np.repeat(starts, len(chunk)), [*chunk] * len(starts)
            )
            for chunk in chunks
        ]
        for outputs in zip(*streams, strict=True):
            parts = [split_members(output, len(chunk), axis=1) for output, chunk in zip(outputs, chunks, strict=True)]
            yield parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def rows(
        self,
        batch: Batch,
        steps: int,
        times: Sequence[int] | np.ndarray,
        members: Sequence[int],
        first_lead: int = 0,
    ) -> Iterator[Tensor]:
        """States (row, node, state) at each lead, of a batch whose rows are members of any windows.

        Args:
            batch: standardised, with `steps` leads.
            steps: leads.
            times: initial time of each row, whole milliseconds since 1970.
            members: number of the member of each row.
            first_lead: number of the first of these leads, where the batch begins with states of a forecast.

        """
        step = NoisyStep(self.model, self.seed, list(times), members, first_lead)
        options: dict[str, Any] = {"step": step, "boundary": self.boundary, "prepared": self.prepared}
        outputs = iterate(self.model, batch, steps, first_lead=first_lead, **options)
        return (output.state for output in outputs)


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
        self.takes_draw = takes_draw(model)
        self.seed, self.rows, self.first_lead = seed, list(zip(map(int, times), members, strict=True)), first_lead

    def __call__(
        self, model: StepModel, previous: Tensor, state: Tensor, batch: Batch, lead: int, prepared: Any
    ) -> StepOutput:
        """One step ahead."""
        streams = [stream(self.seed, *row, self.first_lead + lead) for row in self.rows]
        inputs = previous, state, batch.forcing[:, lead], prepared
        if self.takes_draw:
            return model.step(*inputs, draw=Draws(streams))  # type: ignore[call-arg]
        with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
            torch.manual_seed(int(streams[0].integers(2**63)))
            return model.step(*inputs)
