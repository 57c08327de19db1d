"""From what `spacecast-plot run=` names to what pictures are drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.checkpoints import listed
from spacecast.app.latents import latents_of
from spacecast.app.run_records import recorded_config
from spacecast.config.build import build
from spacecast.config.compose import conf_dir
from spacecast.config.paths import absolute_path
from spacecast.config.plot_schema import Plot
from spacecast.config.trust import Trust
from spacecast.core.errors import UserError
from spacecast.core.protocols import cell_levels_of
from spacecast.core.text import as_words
from spacecast.evaluation.paired_scores import read_scores
from spacecast.evaluation.scores import Scores
from spacecast.plots.forecasts import opened
from spacecast.plots.history import records_of
from spacecast.plots.picture import NO_SCORES, Choice, ScoredRun
from spacecast.training.schedule import changes

if TYPE_CHECKING:
    from spacecast.core.graph import MeshGraph

EXAMPLES, TABLE, DATASET = "examples.zarr", "scores.csv", "scores.nc"


@dataclass(frozen=True)
class Plotted:
    """A run, and the folder of its pictures where none is named."""

    run: ScoredRun
    place: Path


def plotted_runs(config: Plot) -> list[Plotted]:
    """The runs and files that are named; a sweep stands for its runs.

    Raises:
        UserError: one is not there, is none, or is named twice.

    """
    words = as_words(config.run)
    for word in words:
        path = Path(absolute_path(word, "run"))
        if not path.exists():
            raise UserError(f"run={word}: there is no such folder or file; give a run folder or a file of forecasts")
    runs, _ = listed(words)
    names = [each.name for each in runs]
    return [_plotted(config, Path(each.text), name) for each, name in zip(runs, names, strict=True)]


def _plotted(config: Plot, path: Path, name: str) -> Plotted:
    """One of them, with all that there is of it."""
    choice = Choice(
        variables=None if config.variables is None else as_words(config.variables),
        leads=[config.leads] if isinstance(config.leads, int) else config.leads,
        region=config.region,
        field_lines=config.field_lines,
        fps=config.fps,
    )
    if path.is_file() or path.suffix == ".zarr":
        with opened(path) as file:
            run = ScoredRun(plane=file.plane, examples=path, name=path.stem, choice=choice)
        return Plotted(run, path.with_name(f"{path.stem}_figures"))
    recorded = recorded_config(path)
    records = records_of(path)
    examples = path / EXAMPLES if (path / EXAMPLES).is_dir() else None
    scores = _scores(path)
    if examples is None and records is None and not scores.rows:
        raise UserError(f"run={path} holds neither {TABLE} nor {EXAMPLES} nor records; give the folder of a run")
    plane = None
    if examples is not None:
        with opened(examples, boundary=_boundary(recorded)) as file:
            plane = file.plane
    checkpoint = Path(str(recorded.get("checkpoint") or path))
    graph = partial(graph_of, checkpoint, config.trust)
    latents = None if examples is None else partial(latents_of, checkpoint, config.trust, examples)
    stages = stages_of(recorded, config.trust)
    run = ScoredRun(scores, plane, examples, name, records, graph, choice, stages, latents)
    return Plotted(run, path / "figures")


def _scores(folder: Path) -> Scores:
    """The scores of a run: its table, with the intervals, ranks and spectra of its data set where that is there."""
    if not (folder / TABLE).is_file():
        return NO_SCORES
    table = Scores.read_csv(folder / TABLE)
    if not (folder / DATASET).is_file():
        return table
    data = read_scores(folder / DATASET)
    ranks = None
    if "rank_histogram" in data:
        ranks = data["rank_histogram"].sel(variable=table.variables).transpose("lead_time", "variable", "rank").values
    facts: dict[str, Any] = {"windows": int(data.attrs["forecasts"]), "scored": str(data.attrs.get("scored", ""))}
    return Scores(table.rows, members=int(data.attrs["members"]), ranks=ranks, dataset=data, **facts)


def stages_of(recorded: Mapping[str, Any], trust: str | Sequence[str] | None = None) -> list[tuple[float, str]]:
    """Epochs at which the schedule of a recorded training changes something, and what; none where that is not known."""
    section, trainer = recorded.get("schedule"), recorded.get("trainer")
    epochs = trainer.get("max_epochs") if isinstance(trainer, Mapping) else None
    if not isinstance(section, Mapping) or not isinstance(epochs, int) or epochs < 1:
        return []
    try:
        Trust.of({"trust": trust}, [conf_dir()]).check({"schedule": section}, "config.yaml")
        return changes(build(section), epochs)
    except (UserError, TypeError, ValueError):  # of a user's own, or of another version
        return []


def _boundary(recorded: Mapping[str, Any]) -> Any:
    """Bounds of what true values drive, as the configuration of a run has them; None where it does not say."""
    section = recorded.get("datastore")
    return section.get("boundary") if isinstance(section, Mapping) else None


def graph_of(checkpoint: Path, trust: str | Sequence[str] | None) -> "MeshGraph | None":
    """The graph on which the model of a run passes messages: its mesh, or levels of cells; None: it passes none."""
    from spacecast.app.loading import load
    from spacecast.graphs.cells import cell_graph

    trained = load(checkpoint, trust=trust, device="cpu")
    levels = cell_levels_of(trained.module)
    if levels is None:
        return trained.graph
    return cell_graph(trained.spec.grid, levels) if levels else None
