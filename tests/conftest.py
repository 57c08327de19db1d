"""Small objects that every test may use."""

import logging
import os
import shutil
import sys
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from spacecast.config.compose import conf_dir, group_members
from spacecast.core.graph import EdgeSet, MeshGraph, MeshLevel
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.tracking.store import ensure_store

STATE = ("Bx", "By", "Bz", "Ex", "Ey", "Ez", "vx", "vy", "vz", "rho", "P", "T")
UNITS = ("nT",) * 3 + ("mV/m",) * 3 + ("km/s",) * 3 + ("1/cm3", "nPa", "MK")
REPOSITORY = Path(__file__).resolve().parents[1]

# How long an example takes says something of the machine only.
TOO_SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("any-machine", deadline=None, suppress_health_check=TOO_SLOW)
hypothesis.settings.load_profile("any-machine")


def pytest_generate_tests(metafunc):
    """A test that takes `loss_member` runs once for every file of conf/loss, and so with every other group."""
    for group, members in group_members([conf_dir()]).items():
        if f"{group}_member" in metafunc.fixturenames:
            metafunc.parametrize(f"{group}_member", members)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _log_level():
    """What a command sets, in a test or for several of them, does not reach the next test."""
    logger = logging.getLogger("spacecast")
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _rank():
    """A test that pretends to be one of several processes leaves no trace of it in Lightning."""
    yield
    if "lightning_utilities.core.rank_zero" in sys.modules:
        sys.modules["lightning_utilities.core.rank_zero"].rank_zero_only.rank = 0


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Results of the reference implementation; a test that needs them is skipped where they are not at hand."""
    folder = Path(os.environ.get("SPACECAST_REFERENCE", REPOSITORY.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference results at {folder}; set SPACECAST_REFERENCE")
    return folder


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory) -> Path:
    """One store made once; tests copy its bytes, for making one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    ensure_store(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """Classes of the reference's package, importable while a checkpoint is written and not when it is read."""
    package, config = "neural_lam", "neural_lam.config"
    module = types.ModuleType(config)
    names = "NeuralLAMConfig TrainingConfig OutputClamping ManualStateFeatureWeighting UniformFeatureWeighting"
    for name in (*names.split(), "DatastoreSelection"):
        methods = {"__module__": config, "__init__": lambda self, **keywords: vars(self).update(keywords)}
        setattr(module, name, type(name, (), methods))
    sys.modules[package], sys.modules[config] = types.ModuleType(package), module
    yield module
    for name in (package, config):
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def tiny_grid() -> Grid:
    """12 x 8 cells with a hole for Earth."""
    x, z = np.linspace(-16.5, 16.5, 12), np.linspace(-10.5, 10.5, 8)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) > 4)


@pytest.fixture(scope="session")
def tiny_spec(tiny_grid: Grid) -> DataSpec:
    """Twelve plasma variables with statistics of unlike sizes; the sunward edge is a boundary."""
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=12), rng.uniform(0.5, 20, size=12)
    mean[9:] = np.abs(mean[9:])  # density, pressure and temperature
    state = FeatureSpec(STATE, UNITS, mean, std)
    static_values = np.column_stack([tiny_grid.positions, tiny_grid.radius]).astype(np.float32)
    static = FeatureSpec(("x", "z", "r"), ("R_E",) * 3, static_values.mean(axis=0), static_values.std(axis=0))
    return DataSpec(
        grid=tiny_grid,
        state=state,
        static=static,
        forcing=FeatureSpec.empty(),
        diff_mean=0.01 * rng.normal(size=12).astype(np.float32),
        diff_std=(0.1 * state.std * rng.uniform(0.5, 2, size=12)).astype(np.float32),
        static_values=static_values,
        boundary=tiny_grid.positions[:, 0] > 15,
        step_seconds=10.0,
        data_hash="test",
    )


def nearest_edges(
    senders: np.ndarray, receivers: np.ndarray, count: int, scale: float, skip_self: bool = False
) -> EdgeSet:
    """Each receiver is joined to its `count` nearest senders, by brute force."""
    distance = np.linalg.norm(receivers[:, None] - senders[None], axis=-1)
    near = np.argsort(distance, axis=1, kind="stable")[:, int(skip_self) : count + int(skip_self)]
    receiver = np.repeat(np.arange(len(receivers)), near.shape[1])
    vector = senders[near.ravel()] - receivers[receiver]
    features = np.column_stack([np.linalg.norm(vector, axis=1), vector]) / scale
    features = torch.as_tensor(features, dtype=torch.float32)
    return EdgeSet(torch.as_tensor(near.ravel()), torch.as_tensor(receiver), features, len(senders), len(receivers))


def make_graph(grid: Grid, levels: int) -> MeshGraph:
    """A mesh on every second, fourth ... cell, by brute force."""
    field = [grid.positions[:: 3**level] for level in range(1, levels + 1)]
    largest = np.abs(grid.positions).max()
    edges = [nearest_edges(nodes, nodes, min(4, len(nodes) - 1), 5.0, skip_self=True) for nodes in field]
    mesh = tuple(
        MeshLevel(torch.as_tensor(nodes), torch.as_tensor(nodes / largest, dtype=torch.float32), edge)
        for nodes, edge in zip(field, edges, strict=True)
    )
    # grid to mesh: every grid node sends to its nearest mesh node
    to_grid = nearest_edges(field[0], grid.positions, 1, 5.0)
    grid_to_mesh = EdgeSet(to_grid.receivers, to_grid.senders, -to_grid.features, grid.num_nodes, len(field[0]))
    down = tuple(nearest_edges(coarse, fine, 1, 5.0) for fine, coarse in pairwise(field))
    up = tuple(EdgeSet(d.receivers, d.senders, -d.features, d.num_receivers, d.num_senders) for d in down)
    return MeshGraph(mesh, grid_to_mesh, nearest_edges(field[0], grid.positions, 3, 5.0), up, down, 5.0)


@pytest.fixture(scope="session")
def tiny_graph(tiny_grid: Grid) -> MeshGraph:
    """A flat graph."""
    return make_graph(tiny_grid, levels=1)


@pytest.fixture(scope="session")
def tiny_hierarchy(tiny_grid: Grid) -> MeshGraph:
    """A graph of two levels."""
    return make_graph(tiny_grid, levels=2)


@pytest.fixture(scope="session")
def graph_factory():
    """`make_graph`, for other grids and numbers of levels."""
    return make_graph


def write_graph_files(graph: MeshGraph, folder: Path) -> Path:
    """Write a graph in the published layout: mesh nodes first, level after level, then grid nodes; features in R_E."""
    folder.mkdir()
    start = [0]
    for level in graph.levels:
        start.append(start[-1] + level.num_nodes)

    def save(name, sets, firsts, listed=True):
        index = [
            torch.stack([edges.senders + sender, edges.receivers + receiver])
            for edges, (sender, receiver) in zip(sets, firsts, strict=True)
        ]
        features = [edges.features * graph.length_scale for edges in sets]
        torch.save(index if listed else index[0], folder / f"{name}_edge_index.pt")
        torch.save(features if listed else features[0], folder / f"{name}_features.pt")

    torch.save([level.features for level in graph.levels], folder / "mesh_features.pt")
    save("m2m", [level.edges for level in graph.levels], [(first, first) for first in start[:-1]])
    save("g2m", [graph.grid_to_mesh], [(start[-1], 0)], listed=False)
    save("m2g", [graph.mesh_to_grid], [(0, start[-1])], listed=False)
    if graph.hierarchical:
        save("mesh_up", graph.up, list(pairwise(start[:-1])))
        save("mesh_down", graph.down, [(coarse, fine) for fine, coarse in pairwise(start[:-1])])
    return folder


@pytest.fixture(scope="session")
def write_graph():
    """`write_graph_files`."""
    return write_graph_files


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    pytest.importorskip("playwright.sync_api", reason='playwright is not installed: pip install "spacecast[ui-test]"')
    path = os.environ.get("SPACECAST_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("there is no program chromium: apt-get install chromium, or set SPACECAST_CHROMIUM")
    return path


@pytest.fixture
def browser_page(chromium: str) -> Iterator:
    """A page of the browser, as large as that of a small laptop."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        words = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=words, timeout=0)
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()
