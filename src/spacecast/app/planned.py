"""Simulated data as they will be, so that a mistake is found before they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from spacecast.config.schema import Train
from spacecast.core.errors import UserError, nearest
from spacecast.core.regions import boundary_nodes
from spacecast.core.spec import DataSpec
from spacecast.data.configs import find_runs, split_frames
from spacecast.data.datastore import choose_runs
from spacecast.simulation.generate import generate
from spacecast.simulation.planned import planned_data


@dataclass(frozen=True)
class PlannedDatastore:
    """What a datastore says of simulated data before it reads any frame."""

    spec: DataSpec
    train_runs: tuple[str, ...]
    holdout_runs: tuple[str, ...]
    frames: Mapping[str, Mapping[str, int]]  # by run and split

    def num_frames(self, run: int | str, split: str) -> int:
        """Frames of one run in a split."""
        known = self.frames[str(run)]
        if split not in known:
            raise UserError(f"there is no split {split!r}; {nearest(split, known)}")
        return known[split]


def planned_datastore(config: Train) -> PlannedDatastore | None:
    """The data that a training is going to simulate; None where data are there, or are not made by our simulation.

    Raises:
        UserError: the configuration of simulation or datastore does not fit them.

    """
    section = config.datastore
    if config.simulation is None or section.root is None or find_runs(section.root):
        return None
    simulate = config.simulation.build()
    if getattr(simulate, "func", None) is not generate:
        return None
    spec, frames = planned_data(**simulate.keywords)
    train, holdout = choose_runs(list(frames), section.runs, section.holdout or (), section.root)
    for name in (*train, *holdout):
        if name not in frames:
            raise UserError(f"datastore: run {name} will not be simulated; {nearest(name, frames)}")
    splits = {name: {**_lengths(number), "all": number} for name, number in frames.items()}
    spec = replace(spec, boundary=boundary_nodes(spec.grid, section.boundary))
    if section.keywords.get("statistics") == "stored":  # these hold no range
        spec = replace(spec, lower=None, upper=None)
    return PlannedDatastore(spec, train, holdout, splits)


def _lengths(frames: int) -> dict[str, int]:
    """Frames of each split of a run."""
    return {split: stop - start for split, (start, stop) in split_frames(frames).items()}
