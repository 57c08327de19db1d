"""Data in memory and models that show what they were given, for forecasts into files."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.types import StepOutput
from spacecast.forecast.starts import Start

FRAMES = 12
T0 = np.datetime64("2000-01-01", "ns")


class Frames:
    """Two runs of a smooth random walk, with the members of a datastore."""

    train_runs, holdout_runs = ("1",), ("2",)

    def __init__(self, spec: DataSpec, past: int = 0, future: int = 0) -> None:
        self.spec, self.forcing_past, self.forcing_future = spec, past, future
        rng = np.random.default_rng(5)
        walk = rng.normal(size=(2, FRAMES, spec.num_nodes, len(spec.state))).cumsum(axis=1) * 0.2
        self.states = (walk * spec.state.std + spec.state.mean).astype(np.float32)
        self.forcing = rng.normal(size=(2, FRAMES, spec.num_nodes, len(spec.forcing))).astype(np.float32)
        self.most = 0  # frames that were asked for at once

    def num_frames(self, run: str, split: str) -> int:
        return FRAMES

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        return self._read(self.states, run, split, start, stop)

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        assert start >= self.forcing_past
        assert stop + self.forcing_future <= FRAMES
        return self._read(self.forcing, run, split, start, stop)

    def times(self, run: str, split: str) -> np.ndarray:
        return T0 + (np.arange(FRAMES) + 100 * int(run)) * np.timedelta64(10, "s")

    def start(self, frame: int, run: str = "1") -> Start:
        return Start(run, frame, self.times(run, "all")[frame])

    def _read(self, values: np.ndarray, run: str, split: str, start: int, stop: int) -> np.ndarray:
        assert split == "all"
        assert 0 <= start < stop <= FRAMES
        self.most = max(self.most, stop - start)
        return values[int(run) - 1, start:stop]


class Drift(nn.Module):
    """Adds noise of a given size, the mean forcing and a number; knows how many rows it was given at once."""

    def __init__(self, noise: float = 0.0, after: float = 0.0) -> None:
        super().__init__()
        self.noise, self.after = noise, after
        self.weight = nn.Parameter(torch.ones(()))
        self.rows: list[int] = []

    def prepare(self) -> None:
        pass

    def step(self, previous, state, forcing, prepared, draw=torch.randn_like) -> StepOutput:
        self.rows.append(len(state))
        new = state + 0.1 * (state - previous) + self.after
        if forcing.shape[-1]:
            new = new + forcing.mean(dim=-1, keepdim=True)
        return StepOutput(self.weight * new + self.noise * draw(state) if self.noise else self.weight * new, None)


@pytest.fixture
def spec(tiny_spec) -> DataSpec:
    """Three variables with statistics of unlike sizes."""
    state = tiny_spec.state
    columns = state.indices(("Ex", "rho", "T"))
    names, units = (tuple(values[column] for column in columns) for values in (state.names, state.units))
    few = FeatureSpec(names, units, state.mean[columns], state.std[columns])
    return replace(tiny_spec, state=few, diff_mean=tiny_spec.diff_mean[columns], diff_std=tiny_spec.diff_std[columns])


@pytest.fixture
def frames(spec) -> Frames:
    return Frames(spec)


@pytest.fixture
def free(spec) -> Frames:
    """Without a boundary."""
    return Frames(replace(spec, boundary=np.zeros(spec.num_nodes, dtype=bool)))


@pytest.fixture
def forced(spec) -> Frames:
    """With forcing of two variables that reaches two frames back and one ahead, without a boundary."""
    forcing = FeatureSpec(("wind", "density"), ("km/s", "1/cm3"), np.zeros(2), np.ones(2))
    boundary = np.zeros(spec.num_nodes, dtype=bool)
    return Frames(replace(spec, forcing=forcing, boundary=boundary), past=2, future=1)


@pytest.fixture
def fakes() -> SimpleNamespace:
    return SimpleNamespace(Drift=Drift, Frames=Frames)
