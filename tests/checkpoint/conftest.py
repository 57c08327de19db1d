"""The data set and graphs on which the results of the reference were made."""

import importlib
import warnings

import numpy as np
import pytest
import torch
import xarray as xr

from spacecast.checkpoint.reference import TARGETS
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.types import Batch
from spacecast.graphs.stored import StoredGraph

NAMES = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T")


def _category(names, mean, std):
    return FeatureSpec(tuple(names), ("",) * len(names), mean, std)


@pytest.fixture(scope="session")
def reference_spec(reference_dir):
    """Facts of run 1 or 2 by its stored statistics: a function of the run's number."""
    constants = np.load(reference_dir / "tensors" / "constants.npz")

    def make(run: int = 2) -> DataSpec:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = xr.open_zarr(reference_dir / "data" / f"vlasiator_run_{run}.zarr", chunks=None)
            mean, std, diff_mean, diff_std = (
                data[f"state__train__{name}"].values for name in ("mean", "std", "diff_mean", "diff_std")
            )
            x, z = np.unique(data.x.values), np.unique(data.z.values)
        grid = Grid({"x": x, "z": z}, constants["space_mask"].reshape(x.size, z.size))
        return DataSpec(
            grid=grid,
            state=_category(NAMES, mean, std),
            static=_category(("x", "z", "r"), np.zeros(3), np.ones(3)),
            forcing=FeatureSpec.empty(),
            diff_mean=diff_mean,
            diff_std=diff_std,
            static_values=constants["grid_static"],  # standardised already
            boundary=np.zeros(grid.num_nodes, dtype=bool),
            step_seconds=1.0,
        )

    return make


@pytest.fixture(scope="session")
def reference_graph(reference_dir, reference_spec):
    """A stored graph: a function of its name."""
    grid = reference_spec().grid
    known = {}

    def make(name: str):
        if name not in known:
            known[name] = StoredGraph(reference_dir / "data" / "graph" / name).build(grid)
        return known[name]

    return make


@pytest.fixture(scope="session")
def reference_batch(reference_dir):
    """Standardised initial and target states."""
    arrays = np.load(reference_dir / "tensors" / "batch.npz")
    initial, target = torch.as_tensor(arrays["init"]), torch.as_tensor(arrays["target"])
    return Batch(initial, target, torch.zeros(*target.shape[:3], 0), torch.zeros(len(initial), 2, dtype=torch.long))


@pytest.fixture(scope="session")
def build_reference():
    """Build one of our models for a model of the reference."""

    def make(model, spec, graph, keywords, state_dict):
        module, _, name = TARGETS[model].rpartition(".")
        network = getattr(importlib.import_module(module), name)(spec, graph, **keywords)
        network.load_state_dict(state_dict)
        return network.eval()

    return make


class MeansOnly:
    """Graph-EFM with every sample replaced by the mean of its distribution."""

    def __init__(self, model):
        self.model = model
        self.prepare = model.prepare

    def step(self, previous, state, forcing, prepared):
        latent, _ = self.model.prior(previous, state, forcing, prepared)
        return self.model.decode(latent, previous, state, forcing, prepared)


@pytest.fixture(scope="session")
def means_only():
    """`MeansOnly`."""
    return MeansOnly
