"""What a picture is, and what it is drawn from: the page to read before a picture is added."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from spacecast.evaluation.scores import Scores
from spacecast.plots.forecasts import Frame, opened
from spacecast.plots.plane import Plane

if TYPE_CHECKING:
    from spacecast.core.graph import MeshGraph
    from spacecast.plots.latents import Latents

NO_SCORES = Scores(())


@dataclass(frozen=True)
class Choice:
    """What of a run is shown.

    Args:
        variables: of the maps; None: all.
        leads: numbers of leads, 1 is the first; None: the tenth and the last, as far as there are.
        region: part of the plane of the scores.
        field_lines: draw lines of the magnetic field on maps.
        fps: frames per second of what moves.

    """

    variables: Sequence[str] | None = None
    leads: Sequence[int] | None = None
    region: str = "all"
    field_lines: bool = False
    fps: float = 10.0


@dataclass(frozen=True)
class ScoredRun:
    """What pictures are drawn from; what there is none of is empty or None, and a picture of it draws nothing.

    Args:
        scores: of the forecasts.
        plane: grid, variables and driven strip of the forecasts.
        examples: forecasts in a file, beside the truth where it is known; see `forecasts.py`.
        name: what people call the run.
        records: of the training by step and epoch, see `history.py`.
        stages: epochs at which the training changed more than its learning rate, and what changed.
        graph: makes the graph on which the model passes messages; None: it passes none, or nobody knows.
        choice: what of it is shown.
        latents: gives the latent variable of the model for one step; None where it has none, or no step is at hand.
        others: runs that are shown beside it, by pictures that can.

    """

    scores: Scores = NO_SCORES
    plane: Plane | None = None
    examples: Path | None = None
    name: str = ""
    records: Path | None = None
    graph: "Callable[[], MeshGraph | None] | None" = None
    choice: Choice = field(default_factory=Choice)
    stages: Sequence[tuple[float, str]] = ()
    latents: "Callable[[], Latents | None] | None" = None
    others: "Sequence[ScoredRun]" = ()


@dataclass(frozen=True)
class Picture:
    """One picture. A module of `plots` lists its own as `PICTURES`, and that is all it takes to add one.

    Args:
        name: as `spacecast-plot what=NAME` asks for it; its file is NAME.png.
        text: what it shows, a line for people.
        draw: from a run and the file to write to the files written, none where there is nothing to draw. A picture of
            several files names them after the one it is given.
        always: draw it after each evaluation; else when it is asked for.
        together: shows several runs in one; others are drawn once for each run.
        suffix: of its files, where they are no PNG, PDF or the like.

    """

    name: str
    text: str
    draw: Callable[[ScoredRun, Path], list[Path]]
    always: bool = True
    together: bool = False
    suffix: str = ""


def chosen_frames(run: ScoredRun, path: Path) -> Iterator[tuple[Frame, Path]]:
    """The chosen leads of all example forecasts of a run, each with the path of its picture; none without examples.

    Args:
        run: what is drawn.
        path: the paths are `<its name>_<number>_lead_<lead>` beside it.

    """
    if run.examples is None or run.plane is None:
        return
    with opened(run.examples, run.plane) as file:
        for number in range(file.count):
            for lead in file.chosen_leads(run.choice.leads):
                yield file.frame(number, lead), path.with_stem(f"{path.stem}_{number}_lead_{lead}")
