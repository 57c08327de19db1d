"""What is measured: a plane of any size, data of its kind, and models as the configuration makes them."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from spacecast.app.assemble import build_model
from spacecast.app.auto import decided
from spacecast.app.train import COMMAND
from spacecast.config.complete import checked
from spacecast.config.compose import compose, conf_dir
from spacecast.config.schema import Train, typed
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.core.types import Batch, Stage

UNITS = {
    "Bx": "nT", "By": "nT", "Bz": "nT", "Ex": "mV/m", "Ey": "mV/m", "Ez": "mV/m",
    "vx": "km/s", "vy": "km/s", "vz": "km/s", "rho": "1/cm3", "P": "nPa", "T": "MK",
}  # fmt: skip
LENGTH, EARTH = 94.7, 3.8  # of the plane of the published data and of their inner boundary [R_E]

COMMON = ("logger=none", "trainer=cpu", "paths.data_dir=/nonexistent")
FREE = ("model.magnetic=free", "model.electric=free", "model.state_law=free")
PUBLISHED = ("model.inputs=states", *FREE, "model.lower=null")
LOSS = ("loss.reduction=reference", "loss.div_weight=10")
FM = (
    *COMMON, "model=graph_fm", *PUBLISHED, *LOSS, "loss.input_noise=0", "model.processor_layers=4", "model.guard=null",
)  # fmt: skip
EFM = (
    *COMMON, "model=graph_efm", *PUBLISHED, "model.latent_dim=null", "model.processor_layers=4", "model.prior=learned",
    "model.scale_increments=false", "loss=elbo", *LOSS, "loss.kl_weight=1", "loss.crps_weight=1e6", "loss.members=2",
)  # fmt: skip
MODELS: dict[str, tuple[str, ...]] = {
    "default": COMMON,
    "flat": (*FM, "graph=reference"),
    "hierarchical": (*FM, "graph=reference_hierarchical"),
    "efm": (*EFM, "graph=reference_multiscale"),
}
"""Words of spacecast-train for each model; all but the default are the published ones, 4 layers deep."""


def plane(nx: int, nz: int) -> Grid:
    """A plane of the published length with Earth where it is in the published data."""
    cell = LENGTH / nx
    x, z = cell * (np.arange(nx) - 0.641 * nx), cell * (np.arange(nz) - (nz - 1) / 2)
    return Grid({"x": x, "z": z}, np.hypot(x[:, None], z[None, :]) >= EARTH)


def spec_of(grid: Grid) -> DataSpec:
    """Facts of plasma data on a grid: means of 0, standard deviations of 1, nothing driven."""
    count, ones = len(UNITS), np.ones((grid.num_nodes, len(UNITS)), dtype=np.float32)
    static = np.column_stack([grid.positions, grid.radius]).astype(np.float32)
    return DataSpec(
        grid=grid,
        state=FeatureSpec(tuple(UNITS), tuple(UNITS.values()), np.zeros(count), np.ones(count)),
        static=FeatureSpec(("x_coord", "z_coord", "r"), ("R_E",) * 3, static.mean(axis=0), static.std(axis=0)),
        forcing=FeatureSpec.empty(),
        diff_mean=np.zeros(count, dtype=np.float32),
        diff_std=np.ones(count, dtype=np.float32),
        static_values=static,
        boundary=np.zeros(grid.num_nodes, dtype=bool),
        step_seconds=1.0,
        lower=-5 * ones,
        upper=5 * ones,
    )


def coarsening(size: tuple[int, int]) -> int:
    """Of the published meshes: 5 (arXiv 2601.12614), or 3 (arXiv 2509.19605) where that leaves a single level."""
    return 5 if max(size) >= 125 else 3


class Subject(NamedTuple):
    """A model with all that its training step needs."""

    config: Train
    spec: DataSpec
    graph: MeshGraph
    model: nn.Module
    objective: nn.Module
    make_optimizer: Callable[..., torch.optim.Optimizer]


def configured(words: Sequence[str]) -> Train:
    """The configuration that spacecast-train has after these words."""
    return typed(checked(COMMAND, compose("train", list(words), conf_dir()), {}), Train)


def subject(model: str, size: tuple[int, int], width: int | None, words: Sequence[str] = ()) -> Subject:
    """A model of `MODELS` on a plane.

    Args:
        model: its name.
        size: cells along x and z.
        width: hidden size; None: that of the configuration.
        words: further ones of spacecast-train.
    """
    hidden = [] if width is None else [f"model.hidden_dim={width}"]
    mesh = [] if model == "default" else [f"graph.coarsening={coarsening(size)}"]
    config = configured([*MODELS[model], *hidden, *mesh, *words])
    spec = spec_of(plane(*size))
    graph = config.graph.build().build(spec.grid)
    network = build_model(decided(config.model, spec, None), config.seed, spec, graph)
    return Subject(config, spec, graph, network, config.loss.build()(spec), config.optimizer.build())


def random_batch(spec: DataSpec, steps: int, windows: int = 1) -> Batch:
    """Standardised states of noise."""
    torch.manual_seed(0)
    shape, forcing = (spec.num_nodes, len(spec.state)), torch.zeros(windows, steps, spec.num_nodes, 0)
    initial, target = torch.randn(windows, 2, *shape), torch.randn(windows, steps, *shape)
    return Batch(initial, target, forcing, torch.zeros(windows, 2, dtype=torch.int64))


def training_step(subject: Subject, steps: int) -> Callable[[], None]:
    """An optimiser step with a roll-out of so many steps, all terms of the loss on."""
    optimizer = subject.make_optimizer(subject.model.parameters())
    return partial(_step, subject, optimizer, random_batch(subject.spec, steps), Stage(rollout_steps=steps))


def _step(subject: Subject, optimizer: torch.optim.Optimizer, batch: Batch, stage: Stage) -> None:
    """See `training_step`."""
    optimizer.zero_grad(set_to_none=True)
    subject.objective(subject.model, batch, stage).total.backward()
    optimizer.step()


def write_data(folder: Path, size: tuple[int, int], frames: int = 40) -> None:
    """A raw run of smooth fields in the published layout, prepared; nothing where it is there already."""
    from spacecast.data.configs import write_configs
    from spacecast.data.prepare import prepare

    grid = plane(*size)
    x, z = grid.coordinates["x"], grid.coordinates["z"]
    if not (folder / "run_1.zarr").exists():
        folder.mkdir(parents=True, exist_ok=True)
        planes = {"x_coord": x[:, None] + 0 * z, "z_coord": 0 * x[:, None] + z}
        planes |= {"r": np.hypot(x[:, None], z), "mask": grid.valid}
        static = {name: (("x", "z"), values.astype(np.float32), {"units": "R_E"}) for name, values in planes.items()}
        _save(xr.Dataset(static, {"x": x, "z": z}), folder / "static.zarr", {})
        time = np.datetime64("2000-01-01", "ns") + np.arange(frames) * np.timedelta64(1, "s")
        fields = {name: _field(number, frames, grid) for number, name in enumerate(UNITS)}
        data: dict[str, Any] = {
            name: (("time", "x", "z"), values, {"units": UNITS[name]}) for name, values in fields.items()
        }
        chunks = {name: {"chunks": (1, *size)} for name in UNITS}
        _save(xr.Dataset(data, {"time": time, "x": x, "z": z}), folder / "run_1.zarr", chunks)
        write_configs(folder)
    prepare(folder)


def _field(number: int, frames: int, grid: Grid) -> np.ndarray:
    """A travelling wave with some noise, NaN inside Earth, (frame, x, z), float32."""
    x, z = (values.astype(np.float32) for values in grid.coordinates.values())
    time = np.arange(frames, dtype=np.float32)[:, None, None]
    noise = np.random.default_rng(number).normal(scale=0.02, size=grid.shape).astype(np.float32)
    wave = 5 + np.sin(0.2 * x[:, None] + 0.1 * (number + 1) * z + 0.1 * time) + noise
    return np.where(grid.valid, wave, np.float32(np.nan))


def _save(dataset: xr.Dataset, path: Path, encoding: dict[str, Any]) -> None:
    """Write a zarr store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(path, mode="w", consolidated=True, zarr_format=3, encoding=encoding)
