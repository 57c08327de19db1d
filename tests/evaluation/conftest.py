import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from spacecast.core.spec import DataSpec
from spacecast.core.types import StepOutput

sys.path.insert(0, str(Path(__file__).parent))


class FakeStore:
    """Two runs of a smooth random walk in memory, one of them held out, with the reading methods of a data store."""

    train_runs, holdout_runs = ("1",), ("2",)
    runs = ("1", "2")
    forcing_past = forcing_future = 0

    def __init__(self, spec: DataSpec, frames: int = 9) -> None:
        self.spec = spec
        rng = np.random.default_rng(5)
        walk = rng.normal(size=(2, frames, spec.num_nodes, len(spec.state))).cumsum(axis=1) * 0.2
        self.states = (walk * spec.state.std + spec.state.mean).astype(np.float32)

    def run_number(self, run: str) -> int:
        return self.runs.index(run)

    def split_range(self, run: str, split: str) -> tuple[int, int]:
        return 0, self.states.shape[1]

    def num_frames(self, run: str, split: str) -> int:
        return self.states.shape[1]

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        return self.states[self.run_number(run), start:stop]

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        return np.zeros((stop - start, self.spec.num_nodes, 0), dtype=np.float32)

    def times(self, run: str, split: str) -> np.ndarray:
        return np.datetime64("2000-01-01", "ns") + np.arange(self.states.shape[1]) * np.timedelta64(10, "s")


class Persist(nn.Module):
    """Persistence, optionally damped and with noise of a given size, standardised."""

    def __init__(self, noise: float = 0.0, damping: float = 1.0) -> None:
        super().__init__()
        self.noise, self.damping = noise, damping

    def prepare(self) -> None:
        pass

    def step(self, previous, state, forcing, prepared) -> StepOutput:
        return StepOutput(self.damping * state + self.noise * torch.randn_like(state), None)


class Oracle(nn.Module):
    """Knows the frames of a run: each state is followed by the true next one."""

    def __init__(self, store: FakeStore) -> None:
        super().__init__()
        frames = torch.as_tensor(store.states).flatten(0, 1)
        self.frames = (frames - torch.as_tensor(store.spec.state.mean)) / torch.as_tensor(store.spec.state.std)

    def prepare(self) -> None:
        pass

    def step(self, previous, state, forcing, prepared) -> StepOutput:
        distance = (state.flatten(1)[:, None] - self.frames.flatten(1)).square().sum(dim=-1)
        return StepOutput(self.frames[distance.argmin(dim=1) + 1], None)


@pytest.fixture
def store(tiny_spec) -> FakeStore:
    return FakeStore(tiny_spec)


@pytest.fixture
def fakes() -> SimpleNamespace:
    return SimpleNamespace(Persist=Persist, Oracle=Oracle)
