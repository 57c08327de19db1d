"""What simulated data will be, said before they are made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.simulation.generate import plan_runs
from spacecast.simulation.magnetosphere import VARIABLES, cell_centres, space_mask
from spacecast.simulation.storage import static_features


def planned_data(
    root: str | Path,  # noqa: ARG001 - the signature of `generate`
    processes: int | None = None,  # noqa: ARG001
    **plan: Any,
) -> tuple[DataSpec, dict[str, int]]:
    """What `generate` will make when it is called with the same arguments, which it refuses for the same reasons.

    Returns:
        Facts of the data (every mean is 0, every standard deviation 1, all values lie between -1 and 1, no node is
        driven), and frames of each run by its name.

    """
    base, runs = plan_runs(**plan)
    grid, static = Grid(dict(zip("xz", cell_centres(base), strict=True)), space_mask(base)), static_features(base)
    count, ones = len(VARIABLES), np.ones((grid.num_nodes, len(VARIABLES)), dtype=np.float32)
    spec = DataSpec(
        grid=grid,
        state=_unscaled({name: units for name, (units, _) in VARIABLES.items()}),
        static=_unscaled({name: units for name, (_, units, _) in static.items()}),
        forcing=FeatureSpec.empty(),
        diff_mean=np.zeros(count, dtype=np.float32),
        diff_std=np.ones(count, dtype=np.float32),
        static_values=np.stack([grid.to_nodes(values) for values, _, _ in static.values()], axis=-1),
        boundary=np.zeros(grid.num_nodes, dtype=bool),
        step_seconds=base.cadence,
        lower=-ones,
        upper=ones,
    )
    return spec, {name.removeprefix("run_"): run.frames for name, run in runs.items()}


def _unscaled(units: Mapping[str, str]) -> FeatureSpec:
    """Variables by name and unit; means are 0 and standard deviations 1."""
    return FeatureSpec(tuple(units), tuple(units.values()), np.zeros(len(units)), np.ones(len(units)))
