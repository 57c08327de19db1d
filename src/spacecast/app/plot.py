"""`spacecast-plot`: the pictures of runs and forecasts, made again from their files."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from spacecast.app.cli import run_command
from spacecast.config.check import untracked
from spacecast.config.command import Command, Inputs
from spacecast.config.plot_schema import Plot
from spacecast.core.errors import UserError, nearest
from spacecast.core.text import as_words, several
from spacecast.process.workers import import_by_name

log = logging.getLogger(__name__)

PAPER = "paper"  # the first word of another command line, of published plots


def plot(inputs: Inputs[Plot]) -> list[Path]:
    """Draw what is asked for; the names of the files are told.

    Args:
        inputs: the configuration of `plot.yaml`.

    Returns:
        Paths of the pictures.

    Raises:
        UserError: a picture or a format that there is not, or nothing to draw.

    """
    from spacecast.app.plotted import plotted_runs
    from spacecast.plots.pictures import chosen_pictures, draw_chosen
    from spacecast.process.logs import mute_libraries

    mute_libraries()
    config = inputs.config
    pictures, formats = chosen_pictures(config.what), _formats(config.format)
    runs = plotted_runs(config)
    folder = config.output or (config.paths.run_dir if len(runs) > 1 else runs[0].place)
    paths = draw_chosen(pictures, [each.run for each in runs], folder, formats, config.size)
    for path in paths:
        log.info("%s", path)
    if not paths:
        names = ", ".join(picture.name for picture in pictures)
        raise UserError(f"run={', '.join(each.run.name for each in runs)}: nothing there that {names} could show")
    log.info("%s in %s", several(len(paths), "picture"), folder)
    return paths


def _formats(wanted: str | Sequence[str]) -> list[str]:
    """The formats that are asked for.

    Raises:
        UserError: matplotlib writes no such format.

    """
    from spacecast.plots.canvas import picture_formats

    known = picture_formats()
    names = as_words(wanted)
    for name in names:
        if name not in known:
            raise UserError(f"format={name}: no picture is written so; {nearest(name, known)}")
    if not names:
        raise UserError("format=[] is no format; give png, pdf or both")
    return list(dict.fromkeys(names))


COMMAND = Command(
    name="spacecast-plot",
    config="plot",
    schema=Plot,
    task=plot,
    complete=untracked(Plot),
    has_run_folder=False,
    summary="makes the pictures of runs and forecasts again from their files.",
    usage=[
        "spacecast-plot run=DIR_OR_FORECAST [what=NAME] [key=value ...]",
        "spacecast-plot run=[A,B] [what=NAME] ...                 several runs in one picture",
        "spacecast-plot paper metrics_dir=DIR forecasts_dir=DIR output=DIR    the published plots",
        "",
        "NAME (several: [A,B]; all of them: all)",
        "  examples, maps, members, animation   truth, forecast and error on the plane; of ensembles mean and spread",
        "  cuts, keogram                        the Sun-Earth line and a line across the tail; the former against time",
        "  rmse, skill, rmse_ratio, divergence  scores against lead time beside persistence and other references",
        "  spread_skill, ranks, spectra         spread over skill; rank histograms; power by wave number",
        "  history, latents, mesh, mesh_html    the loss as it went; latent component; the mesh, also for a browser",
    ],
    examples={
        "spacecast-plot run=runs/DATE/RUN": "what an evaluation draws, in the folder figures of the run",
        "spacecast-plot run=RUN what=maps variables=all field_lines=true": "a map of each variable, with field lines",
        "spacecast-plot run=RUN what=[rmse,spectra] format=pdf size=column": "vectors, for a column of a paper",
        "spacecast-plot run=[RUN1,RUN2,RUN3] what=rmse": "three runs in one picture",
        "spacecast-plot run=RUN what=animation variables=[rho,Bz] fps=15": "a GIF, and an MP4 where ffmpeg is",
        "spacecast-plot run=storm.nc what=maps leads=[1,10,60]": "maps of a forecast",
    },
    keys={
        "run": "folder of a training or an evaluation, or a file of forecasts; several in brackets",
        "what": "names of pictures, see above; null: those that an evaluation draws",
        "output": "folder of the pictures; null: figures in the folder of the run",
        "format": "png, pdf (vectors), svg; several in brackets",
        "size": "page, column of a paper or slide",
        "variables": "of maps, cuts and keograms; null: all, or a few where each has a picture of its own",
        "leads": "numbers of the leads of maps, 1 is the first; null: the tenth and the last",
        "region": "part of the plane of the scores",
        "field_lines": "lines of the magnetic field on maps",
        "fps": "frames per second of animations",
        "trust": "modules of your own that the checkpoint of a run may call, where a picture needs it",
    },
)


def main() -> None:
    """Entry point of the console script."""
    words = sys.argv[1:]
    if words[:1] == [PAPER]:
        import_by_name("spacecast.app.plot_paper:main")(words[1:])
    run_command(COMMAND)


if __name__ == "__main__":
    main()
