"""From a checked configuration to the objects that it describes, top to bottom."""

import logging
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from spacecast.config.binding import takes
from spacecast.config.schema import Data, DatastoreSection, Forecast, Graph, Section, Train
from spacecast.config.targets import locate
from spacecast.config.trust import trusted_words
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.core.names import UNSEEN
from spacecast.core.protocols import Datastore, cell_levels_of
from spacecast.core.spec import DataSpec
from spacecast.core.types import OwnStates
from spacecast.data.configs import find_raw_runs
from spacecast.data.contract import check_datastore
from spacecast.data.datastore import RunDatastore
from spacecast.data.prepare import prepare
from spacecast.graphs.cache import load_or_build
from spacecast.process.progress import ProgressBar, ProgressCallback

if TYPE_CHECKING:
    from spacecast.data.datamodule import WindowDataModule
    from spacecast.training.module import ForecastModule
    from spacecast.training.schedule import Schedule

log = logging.getLogger(__name__)


def make_data(config: Train | Forecast | Graph | Data, *, overwrite: bool = False) -> None:
    """Simulate the data where the configuration says how and they are not there yet, and prepare what is not."""
    if config.simulation is not None:
        simulate_data(config.simulation, overwrite=overwrite)
    prepare_data(config, overwrite=overwrite)


def simulate_data(simulation: Section, *, overwrite: bool = False) -> list[Path]:
    """Simulate the runs that are not there yet; returns the paths of all."""
    with ProgressBar("simulating") as progress:
        paths: list[Path] = simulation.build()(progress=progress, overwrite=overwrite)
    return paths


def prepare_data(config: Train | Forecast | Graph | Data, *, overwrite: bool = False) -> list[Path]:
    """Prepare the raw runs of a data folder that are not yet, or have changed since; other datastores have none."""
    section = config.datastore
    if section.root is None or not reads_runs(section):
        return []
    runs = None if section.runs is None else [*section.runs, *(section.holdout or ())]
    if runs is not None and UNSEEN not in runs and UNSEEN in find_raw_runs(section.root):
        runs.append(UNSEEN)
    with ProgressBar("preparing") as progress:
        trusted = trusted_words(config.trust)
        return prepare(section.root, runs, overwrite=overwrite, progress=progress, trusted=trusted)


def reads_runs(section: DatastoreSection) -> bool:
    """Whether a datastore is made of the prepared runs of a folder, and not one of the user's own."""
    target = locate(section.target, "datastore")
    return isinstance(target, type) and issubclass(target, RunDatastore)


def open_prepared(section: DatastoreSection, progress: ProgressCallback | None = None) -> Datastore:
    """The datastore of a section `datastore`, its data being there; told of the progress where it takes it.

    Raises:
        UserError: it is none, by `data.contract`.

    """
    reader = section.build(_partial_=True)
    watched = {"progress": progress} if takes(reader.func, "progress") else {}
    datastore: Datastore = reader(**watched)
    check_datastore(datastore)
    return datastore


def open_data(config: Train | Forecast | Graph | Data) -> Datastore:
    """The datastore, its data simulated and prepared first where they are not or have changed."""
    make_data(config)
    with ProgressBar("reading") as progress:
        datastore = open_prepared(config.datastore, progress)
    spec = datastore.spec
    runs = ", ".join((*datastore.train_runs, *(f"{run} (held out)" for run in datastore.holdout_runs)))
    facts = (" x ".join(map(str, spec.grid.shape)), len(spec.state), spec.step_seconds, runs)
    log.info("data: %s cells, %d variables, every %g s, runs %s", *facts)
    return datastore


def open_graph(section: Section, grid: Grid, data_dir: Path) -> MeshGraph:
    """The mesh graph for a grid, from the cache under the data folder when it was built before."""
    graph = load_or_build(section.build(), grid, data_dir / "graphs")
    sizes = " + ".join(f"{level.num_nodes}" for level in graph.levels)
    edges = sum(edges.num_edges for edges in graph.edge_sets().values())
    log.info("graph: %d grid nodes, %s mesh nodes, %d edges", graph.num_grid_nodes, sizes, edges)
    return graph


def build_model(section: Section, seed: int, spec: DataSpec, graph: MeshGraph) -> nn.Module:
    """The step model, its weights a function of the seed alone."""
    random.seed(seed)
    torch.manual_seed(seed)
    model: nn.Module = section.build()(spec=spec, graph=graph)
    facts = model_facts(model)
    unused = "" if facts["on_mesh"] else "; it does not use the mesh"
    log.info("model: %s, %s parameters%s", type(model).__name__, f"{facts['parameters']:,}", unused)
    return model


def model_facts(model: nn.Module) -> dict[str, Any]:
    """What is told and recorded of a model besides its configuration, as `tracking.logger.log_params` takes it."""
    return {
        "on_mesh": cell_levels_of(model) is None,
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }


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


def assemble(config: Train, datastore: Datastore, data_dir: Path) -> Parts:
    """Datastore -> graph -> model -> objective -> module -> data module.

    Args:
        config: of the training.
        datastore: its data.
        data_dir: where graphs are kept.

    Raises:
        UserError: parts that do not fit each other or the data.

    """
    from spacecast.training.memory import set_memory
    from spacecast.training.module import ForecastModule

    spec = datastore.spec
    schedule = config.schedule.build()
    objective = config.loss.build()(spec)
    graph = open_graph(config.graph, spec.grid, data_dir)
    model = build_model(config.model, config.seed, spec, graph)
    set_memory(model, config.trainer.memory)
    optimizer, leads = config.optimizer.build(), config.data.val_steps
    module = ForecastModule(model, objective, schedule, optimizer, spec, validation_steps=leads)
    functions = {"rollout_steps": partial(rollout_at, schedule), "own_states": partial(own_states_at, schedule)}
    builder = config.data.build()
    data = builder(datastore, **{name: each for name, each in functions.items() if takes(builder.func, name)})
    return Parts(datastore, spec, graph, model, schedule, module, data)


def rollout_at(schedule: "Schedule", epoch: int) -> int:
    """Steps of the training roll-out in an epoch."""
    return schedule.at(epoch).rollout_steps


def own_states_at(schedule: "Schedule", epoch: int) -> OwnStates | None:
    """How an epoch takes states of the model's own."""
    return schedule.at(epoch).own_states


def device_of(config: Train) -> torch.device:
    """Where to compute outside of the trainer."""
    wanted = config.trainer.accelerator
    return torch.device("cuda" if wanted in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu")
