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
    frames: Mapping[str, int]

    def num_frames(self, run: int | str, split: str) -> int:  # noqa: ARG002 - all runs are alike
        """Frames of one run in a split."""
        if split not in self.frames:
            raise UserError(f"there is no split {split!r}; {nearest(split, self.frames)}")
        return self.frames[split]


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
    spec, runs, frames = planned_data(**simulate.keywords)
    train, holdout = choose_runs(runs, section.runs, section.holdout or (), section.root)
    for name in (*train, *holdout):
        if name not in runs:
            raise UserError(f"datastore: run {name} will not be simulated; {nearest(name, runs)}")
    splits = {split: stop - start for split, (start, stop) in split_frames(frames).items()}
    spec = replace(spec, boundary=boundary_nodes(spec.grid, section.boundary))
    return PlannedDatastore(spec, train, holdout, {**splits, "all": frames})
