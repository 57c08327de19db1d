"""The scripts as modules, and sweeps as trainings leave them."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from spacecast.process.run_folder import add_facts, write_config
from spacecast.process.status import write_status
from spacecast.sweep.folder import Sweep, name_runs

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def load(name: str) -> ModuleType:
    """A script by its path below scripts/."""
    path = SCRIPTS / name
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    return load


@pytest.fixture(scope="session")
def scored() -> Callable[..., None]:
    return write_scores


def write_scores(run_dir: Path, tables: Mapping[str, Any], runs: list[str], variables: list[str], **facts: Any) -> None:
    """A finished run with scores: `NAME` of shape (lead, variable) or `NAME_by_run` of shape (run, lead, variable)."""
    run_dir.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for name, values in tables.items():
        axes = ("run", "lead_time", "region", "variable")[0 if name.endswith("_by_run") else 1 :]
        found[name] = (axes, np.expand_dims(np.asarray(values, dtype=float), -2))
    leads = 10.0 * np.arange(1, np.asarray(next(iter(tables.values()))).shape[-2] + 1)
    coordinates = {"lead_time": leads, "region": ["all"], "variable": variables, "run": runs}
    xr.Dataset(found, coordinates).to_netcdf(run_dir / "scores.nc")
    write_status(run_dir, state="finished")
    add_facts(run_dir, **facts)


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """make_sweep([["seed=1"], ...], [config, ...]): a sweep whose runs have configurations and no scores yet."""

    def make(words: list[list[str]], configs: list[dict[str, Any]]) -> Sweep:
        sweep = Sweep(tmp_path / "sweep", "spacecast.app.train:COMMAND", tuple(name_runs(words)))
        sweep.write()
        for run, config in zip(sweep.runs, configs, strict=True):
            sweep.run_dir(run).mkdir()
            write_config(config, sweep.run_dir(run))
            assert yaml.safe_load((sweep.run_dir(run) / "config.yaml").read_text()) == config
        return sweep

    return make
