"""Rolls windows out as ensembles and hands each lead to whoever wants it."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from spacecast.core.protocols import StepModel
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.examples import ExampleWriter
from spacecast.forecast.rollout import iterate
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
        member_chunk: int = 8,
    ) -> None:
        self.model = cast(StepModel, model)
        self.device, self.members, self.chunk = device, members, member_chunk
        self.standardizer = Standardizer(spec).to(device)
        self.boundary = torch.as_tensor(spec.boundary, device=device) if spec.boundary.any() else None
        names = spec.state.names
        self.magnetic = [names.index("Bx"), names.index("Bz")] if {"Bx", "Bz"} <= set(names) else None
        with torch.inference_mode():
            self.prepared: Any = self.model.prepare()

    @torch.inference_mode()
    def score(self, batch: Batch, steps: int, sums: Accumulator, writer: ExampleWriter | None, first: int) -> None:
        """Forecast a batch in physical units, add it to the sums and write those of its windows that are examples.

        Args:
            batch: physical units.
            steps: leads.
            sums: where the scores gather.
            writer: of the examples, or None.
            first: number of the batch's first window in the data.

        """
        batch = Batch(*(field.to(self.device) for field in batch))
        scaled = self.standardizer.batch(batch)
        rows = range(batch.initial.shape[0])
        examples = {row: writer.windows[first + row] for row in rows if first + row in writer.windows} if writer else {}
        for lead, members in enumerate(self.leads(scaled, steps)):
            truth = batch.target[:, lead]
            sums.add(lead, members, scaled.target[:, lead], scaled.initial[:, 1])
            if self.magnetic is not None:
                field = self.standardizer.state_to_physical(members)[..., self.magnetic]
                sums.add_divergence(lead, field, truth[..., self.magnetic])
            for row, example in examples.items():
                forecast = self.standardizer.state_to_physical(members[row]).cpu().numpy()
                cast(ExampleWriter, writer).write(example, lead, forecast, truth[row].cpu().numpy())

    def leads(self, batch: Batch, steps: int) -> Iterator[Tensor]:
        """States (window, member, node, state) at each lead, standardised; chunks of members advance in lockstep."""
        windows = batch.initial.shape[0]
        sizes = [min(self.chunk, self.members - start) for start in range(0, self.members, self.chunk)]
        options: dict[str, Any] = {"boundary": self.boundary, "prepared": self.prepared}
        streams = [iterate(self.model, _repeat(batch, size), steps, **options) for size in sizes]
        for outputs in zip(*streams, strict=True):
            states = [output.state.unflatten(0, (windows, -1)) for output in outputs]
            yield states[0] if len(states) == 1 else torch.cat(states, dim=1)


def _repeat(batch: Batch, size: int) -> Batch:
    """Fold `size` copies of each window into the batch axis; of a single window they share their memory."""
    if batch.initial.shape[0] == 1:
        return Batch(*(field.expand(size, *field.shape[1:]) for field in batch))
    return Batch(*(field.repeat_interleave(size, dim=0) for field in batch)) if size > 1 else batch
