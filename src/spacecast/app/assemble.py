"""From a checked configuration in plain types to the objects of a run, top to bottom."""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from spacecast.config.binding import takes
from spacecast.config.build import build
from spacecast.config.schema import own_part
from spacecast.config.targets import locate
from spacecast.config.trust import trusted_words
from spacecast.core.graph import MeshGraph
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.data.contract import check_datastore
from spacecast.data.datastore import RunDatastore
from spacecast.data.prepare import prepare
from spacecast.graphs.cache import load_or_build
from spacecast.graphs.validation import validate
from spacecast.process.progress import ProgressBar, ProgressCallback

if TYPE_CHECKING:
    from spacecast.data.datamodule import WindowDataModule
    from spacecast.training.module import ForecastModule
    from spacecast.training.schedule import Schedule

log = logging.getLogger(__name__)

Plain = Mapping[str, Any]


def make_data(plain: Plain, *, overwrite: bool = False) -> None:
    """Simulate the data where the configuration says how and they are not there yet, and prepare what is not."""
    if plain.get("simulation") is not None:
        with ProgressBar("simulating") as progress:
            build(plain["simulation"])(progress=progress, overwrite=overwrite)
    prepare_data(plain, overwrite=overwrite)


def prepare_data(plain: Plain, *, overwrite: bool = False) -> None:
    """Prepare the raw runs of a data folder that are not yet, or have changed since; other datastores have none."""
    section = plain["datastore"]
    if not reads_runs(section):
        return
    chosen = section.get("runs")
    runs = None if chosen is None else [*chosen, *(section.get("holdout") or ())]
    with ProgressBar("preparing") as progress:
        trusted = trusted_words(plain.get("trust"))
        prepare(section["root"], runs, overwrite=overwrite, progress=progress, trusted=trusted)


def reads_runs(section: Plain) -> bool:
    """Whether a datastore is made of the prepared runs of a folder, and not one of the user's own."""
    target = locate(section["_target_"], "datastore")
    return isinstance(target, type) and issubclass(target, RunDatastore)


def open_prepared(section: Plain, progress: ProgressCallback | None = None) -> Datastore:
    """The datastore of a section `datastore`, its data being there; told of the progress where it takes it.

    Raises:
        UserError: it is none, by `data.contract`.

    """
    own = own_part(section, "datastore")
    reader = build({**{key: value for key, value in section.items() if key not in own}, "_partial_": True})
    watched = {"progress": progress} if takes(reader.func, "progress") else {}
    datastore: Datastore = reader(**watched)
    check_datastore(datastore)
    return datastore


def open_data(plain: Plain) -> Datastore:
    """The datastore, its data simulated and prepared first where they are not or have changed."""
    make_data(plain)
    with ProgressBar("reading") as progress:
        datastore = open_prepared(plain["datastore"], progress)
    spec = datastore.spec
    runs = ", ".join((*datastore.train_runs, *(f"{run} (held out)" for run in datastore.holdout_runs)))
    facts = (*spec.grid.shape, len(spec.state), spec.step_seconds, runs)
    log.info("data: %d x %d cells, %d variables, every %g s, runs %s", *facts)
    return datastore


def open_graph(plain: Plain, spec: DataSpec) -> MeshGraph:
    """The mesh graph for a grid, from the cache under the data folder when it was built before."""
    graph = load_or_build(build(plain["graph"]), spec.grid, Path(plain["paths"]["data_dir"]) / "graphs")
    validate(graph, spec.grid)
    sizes = " + ".join(f"{level.num_nodes}" for level in graph.levels)
    edges = sum(edges.num_edges for edges in graph.edge_sets().values())
    log.info("graph: %d grid nodes, %s mesh nodes, %d edges", graph.num_grid_nodes, sizes, edges)
    return graph


def build_model(plain: Plain, spec: DataSpec, graph: MeshGraph) -> nn.Module:
    """The step model, its weights a function of the seed alone."""
    random.seed(plain["seed"])
    torch.manual_seed(plain["seed"])
    model: nn.Module = build(plain["model"])(spec=spec, graph=graph)
    count = sum(weight.numel() for weight in model.parameters())
    log.info("model: %s, %s parameters", type(model).__name__, f"{count:,}")
    return model


@dataclass(frozen=True)
class Parts:
    """Everything that a training needs, before the trainer."""

    datastore: Datastore
    spec: DataSpec
    graph: MeshGraph
    model: nn.Module
    schedule: "Schedule"
    module: "ForecastModule"
    data: "WindowDataModule"


def assemble(plain: Plain, datastore: Datastore) -> Parts:
    """Datastore -> graph -> model -> objective -> module -> data module.

    Raises:
        UserError: parts that do not fit each other or the data.

    """
    from spacecast.training.module import ForecastModule

    spec = datastore.spec
    schedule = build(plain["schedule"])
    objective = build(plain["loss"])(spec)
    graph = open_graph(plain, spec)
    model = build_model(plain, spec, graph)
    optimizer, leads = build(plain["optimizer"]), plain["data"]["val_steps"]
    module = ForecastModule(model, objective, schedule, optimizer, spec, validation_steps=leads)
    data = build(plain["data"])(datastore, rollout_steps=partial(rollout_at, schedule))
    return Parts(datastore, spec, graph, model, schedule, module, data)


def rollout_at(schedule: "Schedule", epoch: int) -> int:
    """Steps of the training roll-out in an epoch."""
    return schedule.at(epoch).rollout_steps


def device_of(plain: Plain) -> torch.device:
    """Where to compute outside of the trainer."""
    wanted = plain["trainer"].get("accelerator", "auto")
    return torch.device("cuda" if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu")
