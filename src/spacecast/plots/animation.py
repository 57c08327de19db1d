"""A forecast as a moving picture: beside the truth where it is known, of an ensemble the mean and the spread."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spacecast.core.names import MEAN, SPREAD, TRUTH
from spacecast.plots.animation_files import COLOURS, write_animation
from spacecast.plots.canvas import label, size_of_now
from spacecast.plots.colours import ColourScale, colour_scale, own_scale
from spacecast.plots.fields import ERROR, is_ensemble, read_field
from spacecast.plots.forecasts import ForecastFile, opened
from spacecast.plots.picture import Picture, ScoredRun
from spacecast.plots.plane import Planes, draw_field, new_planes, plane_image
from spacecast.process.progress import ProgressBar

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

DPI = 110
GREYS = 32  # of the colours of a GIF, for letters and lines
SAMPLES = 5  # leads that colours are chosen from
HEADINGS = {TRUTH: "truth", MEAN: "forecast", ERROR: "error", SPREAD: "ensemble spread"}


def draw_animation(run: ScoredRun, path: Path) -> list[Path]:
    """Draw every forecast of a run or a file as a GIF and, where ffmpeg is installed, as an MP4.

    Args:
        run: with forecasts in a file; `choice` says the variables, the leads (all, where it does not) and the frame
            rate.
        path: of the GIF; of several forecasts `<name>_<number>.gif`.

    Returns:
        The paths.

    Raises:
        UserError: a variable or a lead that there is not.

    """
    if run.examples is None or run.plane is None:
        return []
    names = run.plane.chosen(run.choice.variables)
    for name in names:
        run.plane.index(name)
    paths: list[Path] = []
    with opened(run.examples, run.plane) as file, ProgressBar("drawing") as progress:
        leads = file.chosen_leads(run.choice.leads or range(1, len(file.leads) + 1))
        for number in range(file.count):
            place = path if file.count == 1 else path.with_stem(f"{path.stem}_{number}")

            def tell(done: int, what: str = place.name) -> None:
                progress(what, done, len(leads))

            paths += _animate(file, number, names, leads, place, run.choice.fps, tell)
    return paths


def _animate(
    file: ForecastFile,
    example: int,
    names: Sequence[str],
    leads: Sequence[int],
    path: Path,
    fps: float,
    tell: Callable[[int], None],
) -> list[Path]:
    """One forecast."""
    kinds = [TRUTH, MEAN, ERROR] if file.has_truth else [MEAN]
    if is_ensemble(file):
        kinds = [*([TRUTH] if file.has_truth else []), MEAN, SPREAD]
    sampled = [leads[place] for place in np.unique(np.linspace(0, len(leads) - 1, SAMPLES).astype(int))]
    scales = {name: _scales(file, example, name, kinds, sampled) for name in names}
    bars = [column for column, kind in enumerate(kinds) if kind != TRUTH]
    with new_planes(file.plane, len(names), len(kinds), bars, file.title(example, leads[-1])) as planes:
        panes = [
            _pane(planes, file, Shown(example, name, kind, scales[name][kind]), (row, column), (len(names), leads[0]))
            for row, name in enumerate(names)
            for column, kind in enumerate(kinds)
        ]
        scene = Scene(planes, file, example, panes)

        def frames() -> Iterator[np.ndarray]:
            for done, lead in enumerate(leads, start=1):
                yield scene.frame(lead)
                tell(done)

        return write_animation(
            frames(), _palette([scale for each in scales.values() for scale in each.values()]), path, fps
        )


def _palette(scales: Sequence[ColourScale]) -> np.ndarray:
    """Colours of a GIF: greys, and as many of each colour map as there is room for, shape (colour, 3), uint8."""
    import matplotlib as mpl

    names = sorted({scale.cmap for scale in scales})
    greys = np.repeat(np.linspace(0, 1, GREYS)[:, None], 3, axis=1)
    room = (COLOURS - GREYS) // len(names)
    maps = [mpl.colormaps[name](np.linspace(0, 1, room - room // 4))[:, :3] for name in names]
    maps += [(1 + mpl.colormaps[name](np.linspace(0, 1, room // 4))[:, :3]) / 2 for name in names]  # under the veil
    return np.round(255 * np.concatenate([greys, *maps])).astype(np.uint8)


class Shown(NamedTuple):
    """What a pane shows."""

    example: int
    name: str
    kind: str
    scale: ColourScale


class Pane(NamedTuple):
    """A pane and its image, whose field changes."""

    shown: Shown
    axes: "Axes"
    image: "AxesImage"

    def over(self) -> "list[Artist]":
        """What lies over the image."""
        above = list(self.axes.images)
        above = above[above.index(self.image) + 1 :]
        return [*above, *self.axes.collections, *self.axes.patches, *self.axes.spines.values()]


class Scene:
    """A figure whose fields change from frame to frame; what does not is drawn once.

    Args:
        planes: the figure.
        file: of the forecasts.
        example: which forecast.
        panes: its panes.

    """

    def __init__(self, planes: Planes, file: ForecastFile, example: int, panes: Sequence[Pane]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.file, self.example, self.panes = file, example, panes
        self.figure = planes.figure
        self.figure.set_dpi(max(DPI, round(0.7 * size_of_now().dpi)))
        assert planes.title is not None
        self.planes, self.title = planes, planes.title
        self.canvas = FigureCanvasAgg(self.figure)
        moving: list[Artist] = [self.title, *(artist for pane in panes for artist in (pane.image, *pane.over()))]
        for artist in moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(self.figure.bbox)

    def frame(self, lead: int) -> np.ndarray:
        """Colours of the frame of a lead, 1 is the first: shape (row, column, 3), uint8."""
        self.canvas.restore_region(self.still)
        for pane in self.panes:
            _, name, kind, scale = pane.shown
            field = read_field(self.file, kind, name, lead - 1, self.example)
            pane.image.set_data(plane_image(self.file.plane, field, scale))
            for artist in (pane.image, *pane.over()):
                pane.axes.draw_artist(artist)
        self.title.set_text(self.planes.in_lines(self.file.title(self.example, lead)))
        self.figure.draw_artist(self.title)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def _pane(planes: Planes, file: ForecastFile, shown: Shown, place: tuple[int, int], figure: tuple[int, int]) -> Pane:
    """One pane with its colour bar, at the first lead."""
    row, column = place
    rows, lead = figure
    axes = planes.plane(row, column, labelled=(row == rows - 1, column == 0))
    field = read_field(file, shown.kind, shown.name, lead - 1, shown.example)
    image = draw_field(axes, file.plane, field, shown.scale)
    what = "ensemble mean" if shown.kind == MEAN and is_ensemble(file) else HEADINGS[shown.kind]
    planes.head(axes, f"{label(shown.name)}, {what}" if column == 0 else what)
    if shown.kind != TRUTH:
        planes.colourbar(image, row, column, file.plane.units[shown.name])
    return Pane(shown, axes, image)


def _scales(
    file: ForecastFile, example: int, name: str, kinds: Sequence[str], leads: Sequence[int]
) -> Mapping[str, ColourScale]:
    """Colours of a variable, the same at all leads: those of truth and forecast, and those of error or spread."""
    fields = {kind: [read_field(file, kind, name, lead - 1, example) for lead in leads] for kind in kinds}
    states = np.concatenate(fields.get(TRUTH, fields[MEAN]))
    shared = colour_scale(states, *fields[MEAN])
    own = [kind for kind in kinds if kind in (ERROR, SPREAD)]
    return {kind: own_scale(np.concatenate(fields[kind]), shared) if kind in own else shared for kind in kinds}


PICTURES = (
    Picture(
        "animation",
        "a forecast beside the truth as a GIF and, where ffmpeg is installed, an MP4: `variables`, `leads`, `fps`",
        draw_animation,
        always=False,
        suffix=".gif",
    ),
)
