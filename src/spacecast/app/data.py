"""`spacecast-data`: simulates, prepares, inspects and downloads data; exports and converts models."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from spacecast.app.cli import run_command
from spacecast.app.download import download
from spacecast.app.export import complete_export, export
from spacecast.app.import_checkpoint import complete_import, import_checkpoint
from spacecast.config.check import untracked
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.schema import Data, DatastoreSection
from spacecast.core.errors import UserError, nearest
from spacecast.core.text import several

log = logging.getLogger(__name__)


def simulate(inputs: Inputs[Data]) -> None:
    """Make raw runs of the simulated magnetosphere."""
    from spacecast.app.assemble import simulate_data

    config = inputs.config
    if config.simulation is None:
        raise UserError("these data are not simulated; choose datastore=magnetosphere")
    paths = simulate_data(config.simulation, overwrite=config.overwrite)
    log.info("%s in %s", several(len(paths), "raw run"), config.datastore.root)


def prepare(inputs: Inputs[Data]) -> None:
    """Turn raw runs into training-ready ones."""
    from spacecast.app.assemble import prepare_data

    root = _folder(inputs.config.datastore)
    paths = prepare_data(inputs.config, overwrite=inputs.config.overwrite)
    log.info("%s in %s", several(len(paths), "prepared run"), root)


def _folder(section: DatastoreSection) -> str:
    """The folder of raw and prepared runs.

    Raises:
        UserError: the datastore is of another kind.

    """
    from spacecast.app.assemble import reads_runs

    if not reads_runs(section):
        raise UserError(f"{section.target} reads no folder of runs; choose datastore=magnetosphere or vlasiator")
    return str(section.root)


def inspect(inputs: Inputs[Data]) -> None:
    """Print and draw what is there, prepared first where it is not or has changed.

    Raises:
        UserError: it cannot be trained on.

    """
    from spacecast.app.assemble import open_data, prepare_data, reads_runs
    from spacecast.data.inspection import inspect as look
    from spacecast.plots.canvas import require_picture
    from spacecast.process.progress import ProgressBar

    config = inputs.config
    if config.picture is not None:
        require_picture(config.picture)
    prepare_data(config)
    section = config.datastore
    source, runs = (_folder(section), section.runs) if reads_runs(section) else (open_data(config), None)
    with ProgressBar("reading") as progress:
        report = look(source, runs, progress=progress)
    for line in report.lines:
        log.info("%s", line)
    for finding in report.findings:
        log.info("%s: %s", finding.severity, finding.text)
    report.raise_errors()
    if config.picture is not None:
        log.info("picture: %s", _draw_frame(section, config.picture))


def _draw_frame(section: DatastoreSection, picture: Path) -> Path:
    """Draw all variables at the middle of the training split of the first run."""
    from spacecast.app.assemble import open_prepared
    from spacecast.plots.maps import draw_fields
    from spacecast.plots.plane import Plane

    datastore = open_prepared(section)
    run, split = datastore.train_runs[0], "train"
    frame = datastore.num_frames(run, split) // 2
    state = datastore.read_state(run, split, frame, frame + 1)[0]
    return draw_fields(
        Plane.of(datastore.spec), state, picture, title=f"run {run}, {datastore.times(run, split)[frame]}"
    )


ACTIONS: dict[str, Callable[[Inputs[Data]], None]] = {
    "simulate": simulate,
    "prepare": prepare,
    "inspect": inspect,
    "download": download,
    "export": export,
    "import-checkpoint": import_checkpoint,
}


def run(inputs: Inputs[Data]) -> None:
    """Do what the first word says."""
    from spacecast.process.logs import mute_libraries

    if inputs.config.command != "download":  # which waits for none of them
        mute_libraries()
    ACTIONS[inputs.config.command](inputs)


def rewrite(words: Sequence[str]) -> list[str]:
    """The first word that is no flag and no override names the action; preset= is short for simulation.preset=."""
    rest = [f"simulation.{word}" if word.startswith("preset=") else word for word in words]
    for position, word in enumerate(rest):
        follows_flag = position > 0 and rest[position - 1].startswith("-")
        if "=" not in word and not word.startswith(("-", "~", "+")) and not follows_flag:
            if word not in ACTIONS:
                raise UserError(f"there is no {word!r}; {nearest(word, ACTIONS)}")
            rest[position] = f"command={word}"
            return rest
    if not any(word.startswith(("-", "command=")) for word in rest):
        raise UserError(f"say what to do: {', '.join(ACTIONS)}")
    return rest


def complete(composed: Plain, words: Sequence[str], opened: Opened) -> Plain:
    """Nothing is tracked here; what converts a checkpoint knows more from it."""
    composed = untracked(Data)(composed, words, opened)
    more = {"import-checkpoint": complete_import, "export": complete_export}.get(composed["command"])
    completed = composed if more is None else more(composed, words, opened)
    return {**completed, "logger": None}  # its check would import Lightning


COMMAND = Command(
    name="spacecast-data",
    config="data",
    schema=Data,
    task=run,
    rewrite=rewrite,
    complete=complete,
    has_run_folder=False,
    summary="simulates, prepares and inspects data, downloads published ones; exports and converts models.",
    usage=[
        "spacecast-data simulate [preset=small] [key=value ...]    raw simulation runs of the magnetosphere",
        "spacecast-data prepare [datastore.root=DIR ...]          raw simulation runs to training-ready ones",
        "spacecast-data inspect [datastore=MEMBER ...]            what is there, and whether it can be trained on",
        "spacecast-data download name=spacecast-data-small        published data and models, checked",
        "spacecast-data export checkpoint=RUN name=NAME           a trained model as a folder for others",
        "spacecast-data import-checkpoint checkpoint=FILE output=FILE datastore=MEMBER graph=MEMBER ...",
    ],
    examples={
        "spacecast-data simulate preset=small": "90 x 60 cells, seconds",
        "spacecast-data inspect datastore=vlasiator datastore.root=DIR": "look at a download",
    },
    keys={
        "simulation.preset": "size: tiny, small, medium, demo, fine; preset=demo is short for it",
        "simulation.densities": "one simulation run per solar-wind density [1/cm3]",
        "simulation.seed": "fluctuations of the wind",
        "datastore.root": "folder with the data",
        "overwrite": "make again what is there",
        "paths.data_dir": "data and graphs; environment SPACECAST_DATA",
        "picture": "picture that inspect draws; null: none",
        "checkpoint": "of export: a run folder or a checkpoint; of import-checkpoint: a published file",
        "output": "of download and export: the folder; of import-checkpoint: the checkpoint to write",
        "name": "of download: a published data set or model; of export: how the model is called",
        "scores": "of export: folder of an evaluation of the checkpoint; null: the scores of its run",
        "license": "of export: what others may do with the model, such as cc-by-4.0",
        "trust": "modules of your own that YAML files beside the data may call",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
