"""The published figures of example forecasts, published ones or those of runs of this project."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.plots.canvas import panes_across
from spacecast.plots.fields import check_variables, lead_number, leads_in_words
from spacecast.plots.forecasts import ForecastFile, opened
from spacecast.plots.paper_figure import ROWS, Figure, Notes, is_turned, numbered, parts_of, variables_across
from spacecast.plots.paper_maps import draw_maps
from spacecast.plots.paper_names import PaperNames
from spacecast.plots.paper_spectra import draw_spectra

EXAMPLES = "examples.zarr"


class ExampleFigures:
    """Figures of forecasts.

    Args:
        names: of the folders.
        folder: of the folders of forecasts.
        notes: receives what could not be drawn and why.
        files: closes the files.

    """

    def __init__(self, names: PaperNames, folder: Path, notes: Notes, files: ExitStack) -> None:
        self.names, self.folder, self.notes, self._files = names, folder, notes, files
        self._opened: dict[Path, ForecastFile] = {}

    def figures(self) -> list[Figure]:
        """All figures that there is something for; the forecasts are opened.

        Raises:
            UserError: a file is odd.

        """
        return list(chain(self._maps(), self._spectra()))

    def _open(self, figure: str, folder: str) -> ForecastFile | None:
        """The forecasts in a folder, opened once; None where there are none, which is noted."""
        place = self.folder / folder
        path = next((place / file for file in (self.names.example, EXAMPLES) if (place / file).exists()), None)
        if path is None:
            self.notes.add(f"{figure}: {place / self.names.example} is not there")
            return None
        if path not in self._opened:
            self._opened[path] = self._files.enter_context(opened(path, step_seconds=self.names.step_seconds))
            check_variables(self._opened[path], list(self.names.variables.items()), str(path))
        return self._opened[path]

    def _lead(self, figure: str, text: str, file: ForecastFile, seconds: float) -> int | None:
        """Number of a lead; None where there is none, which is noted."""
        lead = lead_number(file, seconds)
        if lead is None:
            self.notes.add(f"{figure}: {text} has no lead of {seconds:g} s, but {leads_in_words(file)}")
        return lead

    def _maps(self) -> Iterator[Figure]:
        """Truth, mean and standard deviation of several runs, a figure for each variable.

        Raises:
            UserError: the forecasts are on unlike planes.

        """
        figure, runs = "forecast_grid", {}
        for text, folder in self.names.forecasts.items():
            file = self._open(figure, folder)
            lead = None if file is None else self._lead(figure, text, file, self.names.map_seconds)
            if file is not None and lead is not None:
                runs[text] = file, lead
        if self.names.forecasts and not runs:
            self.notes.add(f"{figure} is not drawn: none of its forecasts is there")
        _check_planes(figure, {text: file for text, (file, _) in runs.items()})
        for name in self.names.variables if runs else ():
            parts = parts_of(list(runs), panes_across() if is_turned() else len(runs))
            for number, part in enumerate(parts, start=1):
                yield Figure(numbered(f"{figure}_{name}", number, len(parts)), partial(draw_maps, runs, name, part))

    def _spectra(self) -> Iterator[Figure]:
        """Power spectra at several leads, a figure for each run and six variables.

        Raises:
            UserError: the forecasts of a run are on unlike planes.

        """
        for run, folders in self.names.spectra.items():
            figure = f"{run.lower().replace(' ', '_')}_power_spectra_grid"
            models = {text: found for text, folder in folders.items() if (found := self._open(figure, folder))}
            if not any(file.has_truth for file in models.values()):
                self.notes.add(f"{figure} is not drawn: none of its forecasts is there")
                continue
            _check_planes(figure, models)
            seconds = [
                lead
                for lead in self.names.spectra_seconds
                if None not in [self._lead(figure, text, file, lead) for text, file in models.items()]
            ]
            variables = list(self.names.variables) if seconds else []
            most = variables_across() if is_turned() else ROWS
            for number, first in enumerate(range(0, len(variables), most), start=1):
                chosen = variables[first : first + most]
                yield Figure(f"{figure}_{number}", partial(draw_spectra, models, chosen, seconds))


def _check_planes(figure: str, files: Mapping[str, ForecastFile]) -> None:
    """Refuse forecasts on unlike planes in one figure.

    Raises:
        UserError: they are.

    """
    shapes = {file.plane.grid.shape: text for text, file in files.items()}
    if len(shapes) > 1:
        found = " and ".join(f"{text} on {' x '.join(map(str, shape))}" for shape, text in shapes.items())
        raise UserError(f"{figure}: forecasts on unlike planes, {found} cells; give one kind")
