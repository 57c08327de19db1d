"""`spacecast-plot paper`: the published figures, from published files or from runs of this project."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spacecast.app.cli import run_command
from spacecast.config.check import untracked
from spacecast.config.command import Command, Inputs
from spacecast.config.compose import conf_dir
from spacecast.config.plot_schema import PlotPaper
from spacecast.core.errors import UserError
from spacecast.core.text import several

if TYPE_CHECKING:
    from spacecast.plots.paper_figure import Figure, Notes
    from spacecast.plots.paper_names import PaperNames

log = logging.getLogger(__name__)
WORD = "paper"


def plot_paper(inputs: Inputs[PlotPaper]) -> list[Path]:
    """Draw what there are files for, and say what there are none for.

    Raises:
        UserError: a file or a name is wrong, or there is nothing to draw.

    """
    from spacecast.plots.canvas import require_picture, sized
    from spacecast.plots.paper_names import read_names
    from spacecast.process.logs import mute_libraries
    from spacecast.process.progress import ProgressBar

    mute_libraries()
    config = inputs.config
    if not config.formats:
        raise UserError("formats=[] is no format; give png, pdf or both")
    for suffix in config.formats:
        require_picture(config.output / f"figure.{suffix}")
    defaults, label = published(), "models"
    content: Mapping[str, Any] = defaults
    if isinstance(config.models, Path):
        label, content = str(config.models), read_yaml(config.models)
    elif isinstance(config.models, Mapping):
        content = config.models
    names = read_names(content, defaults, label)
    with ExitStack() as files, sized(config.size), ProgressBar("drawing") as progress:
        figures, notes = _figures(config, names, files)
        paths: list[Path] = []
        for number, figure in enumerate(figures, start=1):
            paths += figure.draw([config.output / f"{figure.name}.{suffix}" for suffix in config.formats])
            progress("figures", number, len(figures))
    for line in notes.lines:
        log.info("%s", line)
    if not figures:
        raise UserError(
            "there is nothing to draw; give metrics_dir and forecasts_dir, and the folders in models=FILE.yaml"
        )
    log.info("%s in %s", several(len(figures), "figure"), config.output)
    return paths


def _figures(config: PlotPaper, names: "PaperNames", files: ExitStack) -> "tuple[list[Figure], Notes]":
    """What can be drawn, and what is said of the rest.

    Raises:
        UserError: a file is odd, or a folder is not there.

    """
    from spacecast.plots.paper_examples import ExampleFigures
    from spacecast.plots.paper_figure import Notes
    from spacecast.plots.paper_scores import ScoreFigures

    notes, figures = Notes(), []
    for key, folder in (("metrics_dir", config.metrics_dir), ("forecasts_dir", config.forecasts_dir)):
        if folder is None:
            notes.add(f"no figure of {key.partition('_')[0]}: give {key}=DIR")
        elif not folder.is_dir():
            raise UserError(f"{key}={folder} is no folder; give the one with a folder for each model")
    if config.metrics_dir is not None:
        figures += ScoreFigures(names, config.metrics_dir, notes, member_rmse=config.member_rmse).figures()
    if config.forecasts_dir is not None:
        figures += ExampleFigures(names, config.forecasts_dir, notes, files).figures()
    return figures, notes


def published() -> dict[str, Any]:
    """The names of the published folders."""
    return dict(read_yaml(conf_dir() / "plot_paper.yaml")["models"])


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: it cannot be read, or holds something else.

    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"models={path} cannot be read ({type(error).__name__}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"models={path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UserError(f"models={path}: expected sections such as grid, found {type(found).__name__}")
    return found


def rewrite(words: Sequence[str]) -> list[str]:
    """The first word may be that which leads here."""
    return list(words[1:] if words[:1] == [WORD] else words)


COMMAND = Command(
    name="spacecast-plot",
    config="plot_paper",
    schema=PlotPaper,
    task=plot_paper,
    rewrite=rewrite,
    complete=untracked(PlotPaper),
    has_run_folder=False,
    summary="draws the published figures from published files or from runs.",
    usage=["spacecast-plot paper metrics_dir=DIR forecasts_dir=DIR output=DIR [models=FILE.yaml]"],
    examples={
        "spacecast-plot paper metrics_dir=metrics forecasts_dir=forecasts output=plots": "of the published files",
        "spacecast-plot paper metrics_dir=runs output=plots models=mine.yaml": "of runs, named in mine.yaml",
    },
    keys={
        "metrics_dir": "folder with a folder for each model: published tables, or runs",
        "forecasts_dir": "folder with a folder for each forecast: example_1.zarr, or runs with examples.zarr",
        "output": "folder of the figures",
        "models": "YAML file with the names of the folders; as in conf/plot_paper.yaml",
        "formats": "kinds of files",
        "size": "page, column of a paper or slide",
        "member_rmse": "RMSE of one member in the metric grids, as published, not that of the ensemble mean",
    },
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point, for the words behind `spacecast-plot`."""
    run_command(COMMAND, arguments)


if __name__ == "__main__":
    main()
