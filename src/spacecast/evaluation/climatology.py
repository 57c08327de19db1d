"""The state that a node is in on average: what anomalies depart from, and a forecast that is worth nothing."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.evaluation.plasma import UPSTREAM

FRAMES = 50  # of each run, which the mean is taken of
FLOOR = 0.01  # of the deviation of a variable: by how much winds that are steady differ for certain

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Climatology:
    """Means over time of the training split of training runs, and which of them stands for a run that is scored.

    Args:
        means: of each training run by name, physical units, float64, shape (node, state).
        nearest: of each run that is scored: itself, or the training run whose solar wind is nearest to its own.

    """

    means: Mapping[str, np.ndarray]
    nearest: Mapping[str, str] = field(default_factory=dict)

    @property
    def mean(self) -> np.ndarray:
        """Over the training runs, each in equal weight, shape (node, state)."""
        return np.mean(list(self.means.values()), axis=0)

    def of(self, run: str) -> np.ndarray:
        """What stands for a run that is scored, shape (node, state)."""
        return self.means[self.nearest[run]]

    def __str__(self) -> str:
        """Which run stands for which, in words."""
        return ", ".join(f"run {other}" + f" for run {run}" * (run != other) for run, other in self.nearest.items())


def climatology(
    datastore: Datastore, runs: Sequence[str] = (), split: str = "train", frames: int = FRAMES
) -> Climatology | None:
    """Mean over time of each node and variable in the training split of each training run.

    Frames are read one by one, and of a long split no more than `frames` of each run, evenly spaced: neighbouring ones
    are nearly the same, and the cost of a mean over all of them grows with the data instead of with what is scored.

    Args:
        datastore: the data.
        runs: that are scored. Of one that is not trained on, the solar wind is read as well, which is known beforehand:
            it drives the forecast.
        split: of these runs.
        frames: most frames of a run.

    Returns:
        None, which the log explains, where a training run lacks that split.

    """
    nodes, means, winds = wind_nodes(datastore.spec), {}, {}
    for run in datastore.train_runs:
        try:
            datastore.num_frames(run, "train")
        except UserError as error:
            log.info("no scores of the climatology, which is of the training split: %s", error)
            return None
        total, wind = np.zeros((datastore.spec.num_nodes, len(datastore.spec.state))), []
        for state in _frames(datastore, run, "train", frames):
            total += state
            wind.append(state[nodes])
        if wind:
            means[run], winds[run] = total / len(wind), np.stack(wind)
    if not means:
        log.info("no scores of the climatology, which is of the training split: it holds no frame")
        return None
    unseen = [run for run in runs if run not in means]
    other = {run: np.stack([state[nodes] for state in _frames(datastore, run, split, frames)]) for run in unseen}
    nearest = {run: nearest_wind(other[run], winds, datastore.spec) if run in other else run for run in runs}
    return Climatology(means, nearest)


def _frames(datastore: Datastore, run: str, split: str, most: int) -> Iterator[np.ndarray]:
    """Frames of a split, evenly spaced, each (node, state)."""
    count = datastore.num_frames(run, split)
    for frame in np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist():
        yield datastore.read_state(run, split, frame, frame + 1)[0]


def wind_nodes(spec: DataSpec) -> np.ndarray:
    """Nodes whose state says what the solar wind is: driven ones, or those next to the sunward edge of the grid."""
    if spec.driven is not None or "x" not in spec.grid.axes:
        return np.flatnonzero(np.ones(spec.num_nodes) if spec.driven is None else spec.driven)
    x = spec.grid.positions[:, spec.grid.axes.index("x")]
    return np.flatnonzero(x > x.max() - UPSTREAM)


def nearest_wind(wind: np.ndarray, winds: Mapping[str, np.ndarray], spec: DataSpec) -> str:
    """The run whose solar wind is nearest to another one.

    The distance is that of the means over time and nodes, each variable in units of how much the winds vary about their
    means, to which a hundredth of its deviation in all of the data is added for winds that are steady.

    Args:
        wind: states of the nodes of the wind, shape (frame, node, state).
        winds: of the runs, the same.
        spec: of the data.

    """
    variance = np.mean([each.var(axis=(0, 1), dtype=np.float64) for each in winds.values()], axis=0)
    scale = np.sqrt(variance + (FLOOR * spec.state.std.astype(np.float64)) ** 2)
    middle = {run: each.mean(axis=(0, 1), dtype=np.float64) for run, each in winds.items()}
    own = wind.mean(axis=(0, 1), dtype=np.float64)
    return min(middle, key=lambda run: float((((middle[run] - own) / scale) ** 2).sum()))
