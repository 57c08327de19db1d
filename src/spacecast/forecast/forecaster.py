"""Rolls windows out as ensembles and hands each lead to whoever wants it."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from spacecast.core.protocols import StepModel
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch
from spacecast.forecast.rollout import iterate, repeat_members, split_members
from spacecast.forecast.standardize import Standardizer


class Forecaster:
    """Forecasts batches of windows; memory grows with the members, not with the leads.

    Args:
        model: a `StepModel`, on `device`.
        spec: the data, with the statistics that the model was trained with.
        device: where to compute.
        members: ensemble members.
        member_chunk: members of a window that go through the model at a time.

    """

    def __init__(
        self,
        model: nn.Module,
        spec: DataSpec,
        device: torch.device,
        members: int = 1,
        member_chunk: int = 6,
    ) -> None:
        self.model = cast(StepModel, model)
        self.device, self.members, self.chunk = device, members, member_chunk
        self.standardizer = Standardizer(spec).to(device)
        self.boundary = None if spec.driven is None else torch.as_tensor(spec.driven, device=device)
        with torch.inference_mode():
            self.prepared: Any = self.model.prepare()

    def leads(self, batch: Batch, steps: int) -> Iterator[Tensor]:
        """States (window, member, node, state) at each lead, standardised; chunks of members advance in lockstep."""
        sizes = [min(self.chunk, self.members - start) for start in range(0, self.members, self.chunk)]
        options: dict[str, Any] = {"boundary": self.boundary, "prepared": self.prepared}
        streams = [iterate(self.model, repeat_members(batch, size, axis=1), steps, **options) for size in sizes]
        for outputs in zip(*streams, strict=True):
            chunks = [split_members(output.state, size, axis=1) for output, size in zip(outputs, sizes, strict=True)]
            yield chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)
