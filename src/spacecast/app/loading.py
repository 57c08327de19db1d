"""`spacecast.load`: from a checkpoint to the model that it holds, for the Python interface."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from spacecast.app.registered import local_checkpoint
from spacecast.app.trained_model import PathText, TrainedModel
from spacecast.checkpoint.content import (
    find_checkpoint,
    load_checkpoint,
    load_weights,
    model_weights,
    trained_spec,
    warn_of_another_graph,
)
from spacecast.config.binding import check_target
from spacecast.config.command import Plain
from spacecast.config.compose import conf_dir
from spacecast.config.paths import absolute_path
from spacecast.config.schema import GIVEN, Section
from spacecast.config.stored import anchored, stored_config
from spacecast.config.trust import Trust
from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec
from spacecast.core.text import several
from spacecast.data.configs import find_runs, prepared_path
from spacecast.data.datastore import RunDatastore
from spacecast.graphs.cache import cache_key, load_or_build
from spacecast.graphs.stored import StoredGraph
from spacecast.graphs.validation import validate

STORED = f"{StoredGraph.__module__}.{StoredGraph.__qualname__}"
GRAPHS, CACHED = "graph", "graphs"  # folders of stored graphs, and of those that were built, below that of the data


def load(
    path: PathText,
    *,
    data: PathText | None = None,
    graph: PathText | None = None,
    trust: str | Sequence[str] | None = None,
    device: str | torch.device | None = None,
) -> TrainedModel:
    """A trained model, by its checkpoint.

    Nothing in a file is executed, and nothing is called that is neither part of spacecast nor trusted by name. Nothing
    is written, but for a copy of a registered checkpoint below the data folder.

    Args:
        path: a checkpoint, ours or published by the reference implementation; the folder of a run (then its best one)
            or of an exported model; or `models:/NAME@best` of the registry that MLFLOW_TRACKING_URI names.
        data: the folder of the data: prepared runs, and graphs that were read from files, `graph/NAME`. A checkpoint
            of the reference needs it, for it says nothing of statistics, grid and graph; those are taken of the first
            run, or of the one that is named, `DIR/vlasiator_run_2.zarr`. Ours have all of it; a graph that is not where
            it was in training is looked for here.
        graph: the folder of another graph that was read from files.
        trust: modules of your own that the checkpoint may call.
        device: where to compute; None: a GPU where there is one.

    Raises:
        UserError: there is no such checkpoint, or it does not fit data and graph.

    """
    place = _device(device)
    file = find_checkpoint(local_checkpoint(path, "path"))
    checkpoint, source = load_checkpoint(file), f"checkpoint {file}"
    facts, config = checkpoint["spacecast"], stored_config(checkpoint, source)
    root = None if data is None else Path(absolute_path(data, "data"))
    folder = None if graph is None else Path(absolute_path(graph, "graph"))
    if "reference" in config:
        given, folder = _published(config["reference"], root, folder, source)
        spec = trained_spec(facts, given)
    else:
        spec = DataSpec.from_dict(facts["data_spec"])
    _check_sections(config, ("model",) if folder else ("model", "graph"), trust, source)
    if folder is None:
        mesh = _trained_graph(config, spec.grid, root, source)
    else:
        mesh = StoredGraph(folder).build(spec.grid)
        validate(mesh, spec.grid)
    warn_of_another_graph(facts, mesh)
    with torch.random.fork_rng(devices=[]):  # (weights are drawn, and replaced at once)
        module = Section(content=config["model"]).build()(spec=spec, graph=mesh)
    load_weights(module, model_weights(checkpoint), str(file))
    return TrainedModel(module.to(place).eval().requires_grad_(False), spec, mesh, facts, file)


def _device(wanted: str | torch.device | None) -> torch.device:
    """Where to compute."""
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(wanted or ("cuda" if gpu else "cpu"))
    except RuntimeError as error:
        raise UserError(f"device={wanted} is none that PyTorch knows; give cpu, cuda or cuda:NUMBER") from error
    if device.type == "cuda" and (not gpu or (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"device={wanted}: this machine has {several(torch.cuda.device_count(), 'GPU')}; give another")
    return device


def _published(reference: Plain, data: Path | None, graph: Path | None, source: str) -> tuple[DataSpec, Path]:
    """What a checkpoint of the reference does not say: the facts of its data, and the folder of its graph."""
    name = str(reference["graph"])
    if data is None:
        way = f"give data=DIR, the folder that holds vlasiator_run_1.zarr and {GRAPHS}/{name}"
        raise UserError(f"{source} is one of the reference and says nothing of data and graph: {way}")
    root = data.parent if data.suffix == ".zarr" else data
    runs = [run for run in find_runs(root) if data in (root, prepared_path(root, run))]
    if not runs:
        raise UserError(f"data={data}: there is no prepared run, vlasiator_run_NAME.zarr; run spacecast-data prepare")
    folder = graph or root / GRAPHS / name
    if not folder.is_dir():
        raise UserError(f"{source} has the graph {name}, but {folder} is no folder; give graph=DIR")
    keywords = {key: reference["datastore"].get(key) for key in ("statistics", "forcing_past", "forcing_future")}
    return RunDatastore(root, runs[:1], **keywords).spec, folder


def _check_sections(config: Plain, names: Sequence[str], trust: str | Sequence[str] | None, source: str) -> None:
    """Look at what a configuration out of a file would call, and with what, before anything is called."""
    for name in names:
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{source} does not say what {name} it has")
    Trust.of({"trust": trust}, [conf_dir()]).check({name: config[name] for name in names}, source)
    for name in names:
        check_target(config[name], name, (), GIVEN.get(name, ()))


def _trained_graph(config: Plain, grid: Grid, data: Path | None, source: str) -> MeshGraph:
    """The graph of a training, read from files, found where graphs are kept, or built again."""
    section = anchored({name: config.get(name) for name in ("graph", "paths")}, (), source)["graph"]
    if section["_target_"] == STORED and not Path(str(section.get("path"))).is_dir():
        before = Path(str(section.get("path")))
        moved = None if data is None else data / GRAPHS / before.name
        if moved is None or not moved.is_dir():
            sought = "" if moved is None else f", and {moved} neither"
            raise UserError(f"{source} has a graph read from {before}, which is no folder{sought}; give graph=DIR")
        section = {**section, "path": str(moved)}
    builder = Section(content=section).build()
    kept = (config.get("paths") or {}).get("data_dir")
    for folder in (data, Path(kept) if isinstance(kept, str) else None):
        if folder is not None and (folder / CACHED / f"graph-{cache_key(grid, builder.recipe)}.pt").is_file():
            return load_or_build(builder, grid, folder / CACHED)
    found: MeshGraph = builder.build(grid)
    validate(found, grid)
    return found
