"""Simulated data as they will be, so that a mistake is found before they are made."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spacecast.config.schema import Train
from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.core.regions import boundary_nodes
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.data.configs import find_runs, split_frames
from spacecast.data.datastore import choose_runs
from spacecast.simulation.generate import generate, plan_runs
from spacecast.simulation.magnetosphere import VARIABLES, cell_centres, space_mask
from spacecast.simulation.parameters import Parameters

STATIC = ("x_coord", "z_coord", "r")


@dataclass(frozen=True)
class Foreseen:
    """What a datastore says of simulated data before it reads any frame; its statistics are placeholders."""

    spec: DataSpec
    train_runs: tuple[str, ...]
    holdout_runs: tuple[str, ...]
    frames: Mapping[str, int]
    forcing_past: int = 0
    forcing_future: int = 0

    @property
    def runs(self) -> tuple[str, ...]:
        """Training runs, then held-out runs."""
        return (*self.train_runs, *self.holdout_runs)

    def num_frames(self, run: int | str, split: str) -> int:  # noqa: ARG002 - all runs are alike
        """Frames of one run in a split."""
        if split not in self.frames:
            raise UserError(f"there is no split {split!r}; {nearest(split, self.frames)}")
        return self.frames[split]


def foresee(config: Train) -> Foreseen | None:
    """The data that a configuration is going to simulate; None where data are there or are not simulated.

    Raises:
        UserError: the configuration of simulation or datastore does not fit them.

    """
    simulation, datastore = config.simulation, config.datastore
    if simulation is None or datastore.root is None or find_runs(datastore.root):
        return None
    ours = inspect.signature(generate).parameters.keys() - inspect.signature(plan_runs).parameters.keys()
    given = simulation.content.items()
    planned = {name: value for name, value in given if name not in ours and not name.startswith("_")}
    base, parameters = plan_runs(**planned)
    names = [name.removeprefix("run_") for name in parameters]
    train, holdout = choose_runs(names, datastore.runs, datastore.holdout or (), datastore.root)
    for name in (*train, *holdout):
        if name not in names:
            raise UserError(f"datastore: run {name} will not be simulated; {nearest(name, names)}")
    frames = {split: stop - start for split, (start, stop) in split_frames(base.frames).items()}
    return Foreseen(_spec(base, datastore.boundary), train, holdout, {**frames, "all": base.frames})


def _spec(base: Parameters, boundary: Mapping[str, float] | Sequence[Mapping[str, float]] | None) -> DataSpec:
    """Names, units and geometry; every statistic is 0 or 1."""
    grid = Grid(dict(zip("xz", cell_centres(base), strict=True)), space_mask(base))

    def category(names: Sequence[str], units: Sequence[str]) -> FeatureSpec:
        return FeatureSpec(tuple(names), tuple(units), np.zeros(len(names)), np.ones(len(names)))

    return DataSpec(
        grid=grid,
        state=category(list(VARIABLES), [units for units, _ in VARIABLES.values()]),
        static=category(STATIC, ["R_E"] * len(STATIC)),
        forcing=FeatureSpec.empty(),
        diff_mean=np.zeros(len(VARIABLES), dtype=np.float32),
        diff_std=np.ones(len(VARIABLES), dtype=np.float32),
        static_values=np.zeros((grid.num_nodes, len(STATIC)), dtype=np.float32),
        boundary=boundary_nodes(grid, boundary),
        step_seconds=base.cadence,
    )
