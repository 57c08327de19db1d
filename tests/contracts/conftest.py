"""What holds for every file of a group of conf/: a test that takes `GROUP_member` runs once for each of them."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spacecast.config.check import check_config
from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.schema import Train, typed
from spacecast.core.spec import DataSpec

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from data_fixtures import prepared_root  # noqa: F401


@pytest.fixture(scope="session")
def composed(tmp_path_factory) -> Callable[..., Train]:
    """composed("loss=mae", ...): the checked configuration of a training in a folder of its own."""
    folder = tmp_path_factory.mktemp("project")
    places = [f"paths.project_dir={folder}", f"paths.data_dir={folder}/data", f"paths.run_dir={folder}/run"]

    @functools.cache
    def once(*words: str) -> Train:
        plain = to_plain(job_part(compose("train", [*places, *words], conf_dir())))
        check_config(plain, Train)
        return typed(plain, Train)

    return once


class Store:
    """Two runs of a random walk in memory, one of them held out: what the interface asks for and no more."""

    train_runs, holdout_runs = ("1",), ("2",)
    frames = 8  # of each split

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec
        steps = np.random.default_rng(5).normal(size=(2, 3 * self.frames, spec.num_nodes, len(spec.state)))
        walk = (spec.diff_std * steps).cumsum(axis=1)
        self._states = (spec.state.mean + walk).astype(np.float32)

    def _range(self, split: str) -> tuple[int, int]:
        number = ("train", "val", "test").index(split)
        return number * self.frames, (number + 1) * self.frames

    def num_frames(self, run: str, split: str) -> int:
        first, last = self._range(split)  # there is no split `all`
        return last - first

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        first, last = self._range(split)
        return self._states[("1", "2").index(run), first:last][start:stop]

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        return np.zeros((stop - start, self.spec.num_nodes, 0), dtype=np.float32)

    def times(self, run: str, split: str) -> np.ndarray:
        step = np.timedelta64(round(1e9 * self.spec.step_seconds), "ns")
        return np.datetime64("2000-01-01", "ns") + np.arange(*self._range(split)) * step


@pytest.fixture
def tiny_store(tiny_spec) -> Store:
    return Store(tiny_spec)
