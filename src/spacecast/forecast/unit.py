"""A unit of work of a forecast: some members from one initial time, streamed into a store."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import zarr
from torch import Tensor

from spacecast.core.protocols import Datastore
from spacecast.core.types import Batch
from spacecast.data.contract import WHOLE
from spacecast.forecast.forecaster import Forecaster
from spacecast.forecast.layout import Boundary, Layout
from spacecast.forecast.noise import milliseconds
from spacecast.forecast.place import Place, explained
from spacecast.forecast.starts import Start


class Unit(NamedTuple):
    """Members that are computed together, from the initial time of a number."""

    start: int
    members: range


class NotFinite(NamedTuple):
    """Where a member of a forecast ceases to be a number: its number, the lead from 0, the variables."""

    member: int
    lead: int
    names: list[str]


def units_of(starts: int, members: int, chunk: int) -> list[Unit]:
    """All units of a forecast, formed in the same way however many processes there are."""
    chunks = [range(members)[first : first + chunk] for first in range(0, members, chunk)]
    return [Unit(start, each) for start in range(starts) for each in chunks]


@dataclass(frozen=True)
class Inputs:
    """What a forecast reads from the data, a few leads at a time.

    Args:
        datastore: the data, as the model takes them.
        forecaster: standardises them.
        boundary: of the driven cells: `data`: true values, `persist`: those of the initial time.

    """

    datastore: Datastore
    forecaster: Forecaster
    boundary: Boundary

    def initial(self, start: Start) -> Tensor:
        """The two initial states, standardised, shape (1, 2, node, state)."""
        states = self.datastore.read_state(start.run, WHOLE, start.frame - 1, start.frame + 1)
        return self.forecaster.standardizer.state(self._tensor(states))[None]

    def batch(self, start: Start, initial: Tensor, states: Tensor, first: int, count: int) -> Batch:
        """What the roll-out of some leads needs.

        Args:
            start: of the forecast.
            initial: its initial states, standardised, shape (1, 2, node, state).
            states: the two states before the first of these leads, standardised, shape (member, 2, node, state).
            first: number of the first lead, from 0.
            count: number of leads.

        """
        data, rows = self.datastore, len(states)
        frames = start.frame + 1 + first, start.frame + 1 + first + count
        target = states.new_zeros(rows, 0)
        if self.forecaster.boundary is not None:
            if self.boundary == "persist":
                true = initial[:, 1:].expand(-1, count, -1, -1)
            else:
                true = self.forecaster.standardizer.state(self._tensor(data.read_state(start.run, WHOLE, *frames)))[
                    None
                ]
            target = true.expand(rows, -1, -1, -1)
        forcing = np.zeros((count, data.spec.num_nodes, 0), np.float32)
        if len(data.spec.forcing):
            forcing = data.read_forcing(start.run, WHOLE, *frames)
        given = self.forecaster.standardizer.forcing(self._tensor(forcing))
        window = torch.zeros(rows, 2, dtype=torch.int64)
        return Batch(states, target, given.expand(rows, -1, -1, -1), window)

    def _tensor(self, values: np.ndarray) -> Tensor:
        """Values of the data on the device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.forecaster.device)


@torch.inference_mode()
def forecast_unit(
    inputs: Inputs,
    start: Start,
    unit: Unit,
    place: Place,
    told: Callable[[], None],
) -> list[NotFinite]:
    """Forecast a unit and write it; memory is that of its members and of one chunk of leads.

    Args:
        inputs: the data and the model.
        start: where the forecast starts.
        unit: which members, and the place of the start in the file.
        place: where to.
        told: called after each lead.

    Returns:
        Which members are no longer finite from some lead on.

    """
    layout, store = place.layout, zarr.open_group(place.members, mode="r+")
    arrays = {name: store[name] for name in layout.spec.state.names}
    initial = inputs.initial(start)
    states = initial.expand(len(unit.members), -1, -1, -1)
    times = np.repeat(milliseconds(start.time), len(unit.members))
    found: list[NotFinite] = []
    size = layout.chunks["lead_time"]
    buffer = np.empty((len(unit.members), size, layout.spec.num_nodes, len(arrays)), np.float32)
    for first in range(0, layout.steps, size):
        count = min(size, layout.steps - first)
        batch = inputs.batch(start, initial, states, first, count)
        for lead, state in enumerate(inputs.forecaster.rows(batch, count, times, unit.members, first)):
            buffer[:, lead] = inputs.forecaster.standardizer.state_to_physical(state).cpu().numpy()
            states = torch.stack([states[:, 1], state], dim=1)
            found += _not_finite(buffer[:, lead], unit.members, first + lead, list(arrays), found)
            told()
        with explained(place.path):
            write_leads(buffer[:, :count], arrays, layout, unit, slice(first, first + count))
    return found


def write_leads(buffer: np.ndarray, arrays: dict[str, zarr.Array], layout: Layout, unit: Unit, leads: slice) -> None:
    """Write some leads (member, lead, node, variable) of a unit."""
    members = slice(unit.members.start, unit.members.stop)
    for number, array in enumerate(arrays.values()):
        fields = layout.spec.grid.to_field(buffer[..., number])
        if layout.ensemble:
            array[unit.start, members, leads] = fields
        else:
            array[unit.start, leads] = fields[0]


def _not_finite(
    values: np.ndarray, members: range, lead: int, names: Sequence[str], before: Sequence[NotFinite]
) -> Iterator[NotFinite]:
    """The members (member, node, variable) of a lead that hold numbers that are not finite, and did not before."""
    bad = ~np.isfinite(values).all(axis=1)
    known = {each.member for each in before}
    for row in np.flatnonzero(bad.any(axis=1)):
        if members[row] not in known:
            yield NotFinite(members[row], lead, [name for name, wrong in zip(names, bad[row], strict=True) if wrong])
