"""A user's own datastore: travelling waves, made in memory. One file, and one YAML file in `datastore/` beside it.

    spacecast-train --config-dir tests/app/own datastore=waves
"""

import numpy as np

from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec

SPLITS = {"train": (0, 20), "val": (20, 28), "test": (28, 36)}


class Waves:
    """Two variables on 14 x 12 cells; exactly the members of `spacecast.core.protocols.Datastore`.

    Args:
        runs: how many training runs, each with a wave of another speed; one more is held out.
        amplitude: of the waves.
    """

    def __init__(self, runs: int = 2, *, amplitude: float = 1.0) -> None:
        self.train_runs = tuple(f"wave{number}" for number in range(runs))
        self.holdout_runs = ("late",)
        x, z = np.arange(14.0) - 6.5, np.arange(12.0) - 5.5
        grid = Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) > 1.5)
        names = (*self.train_runs, *self.holdout_runs)
        self._speed = {name: 0.3 + 0.1 * number for number, name in enumerate(names)}
        self._grid, self._amplitude = grid, amplitude
        frames = np.concatenate([self._frames(run, *SPLITS["train"]) for run in self.train_runs])
        change = np.diff(self._frames(self.train_runs[0], *SPLITS["train"]), axis=0)
        state = FeatureSpec(("vx", "rho"), ("km/s", "1/cm3"), frames.mean(axis=(0, 1)), frames.std(axis=(0, 1)))
        radius = grid.radius[:, None].astype(np.float32)
        self.spec = DataSpec(
            grid=grid,
            state=state,
            static=FeatureSpec(("r",), ("R_E",), radius.mean(axis=0), radius.std(axis=0)),
            forcing=FeatureSpec.empty(),
            diff_mean=change.mean(axis=(0, 1)),
            diff_std=change.std(axis=(0, 1)),
            static_values=radius,
            boundary=grid.positions[:, 0] > 6,
            step_seconds=10.0,
        )

    def num_frames(self, run: str, split: str) -> int:
        """Frames of one run in a split."""
        start, stop = SPLITS[split]
        return stop - start

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a split."""
        first = SPLITS[split][0]
        return self._frames(run, first + start, first + stop)

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """There is none."""
        return np.zeros((stop - start, self._grid.num_nodes, 0), dtype=np.float32)

    def times(self, run: str, split: str) -> np.ndarray:
        """Ten seconds apart."""
        return np.datetime64("2000-01-01", "ns") + np.arange(*SPLITS[split]) * np.timedelta64(10, "s")

    def _frames(self, run: str, start: int, stop: int) -> np.ndarray:
        """(frame, node, variable)."""
        phase = self._grid.positions[:, 0] - self._speed[run] * np.arange(start, stop)[:, None]
        waves = np.stack([np.sin(phase), 5 + np.cos(phase + self._grid.positions[:, 1])], axis=-1)
        return (self._amplitude * waves).astype(np.float32)
