"""`spacecast-forecast`: forecasts of a trained model as a file. What shaped the model is taken from its checkpoint."""

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.cli import run_command
from spacecast.app.forecast_file import check_output, default_output, file_format, in_words, provenance
from spacecast.app.from_checkpoint import check_data_place, check_same_data, completed, shared, trained_parts
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.schema import Evaluate, Forecast
from spacecast.config.stored import stored_config
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys

if TYPE_CHECKING:
    from spacecast.app.trained_model import TrainedModel
    from spacecast.core.protocols import Datastore
    from spacecast.core.spec import DataSpec
    from spacecast.data.fit import FittedDatastore
    from spacecast.forecast.starts import Start

log = logging.getLogger(__name__)
USED = ("datastore", "graph", "model", "simulation")  # of the configuration in a checkpoint
STEPS, MEMBERS = 10, 1  # where a checkpoint does not say how it was evaluated


def forecast(inputs: Inputs[Forecast]) -> Path:
    """Forecast from one or several initial times into a file.

    Args:
        inputs: the configuration of `forecast.yaml`, completed by `complete`.

    Raises:
        UserError: the checkpoint does not fit the data, or what is asked for is not possible.

    """
    from spacecast.checkpoint.content import load_checkpoint
    from spacecast.forecast.layout import statistics_of
    from spacecast.forecast.run import write_forecast
    from spacecast.process.logs import mute_libraries, print_line
    from spacecast.process.memory import keep_memory
    from spacecast.process.progress import ProgressBar

    mute_libraries()
    keep_memory()
    config = inputs.config
    check_output(config)
    checkpoint = inputs.opened.get(config.checkpoint) or load_checkpoint(config.checkpoint)
    spec, datastore = open_fitted(inputs, checkpoint)
    model = open_model(config, checkpoint, spec)
    starts = choose_starts(config, datastore)
    trained_in = str((stored_config(checkpoint, "checkpoint").get("paths") or {}).get("run_dir") or "")
    output = config.output or default_output(config, min(starts, key=lambda start: start.time), trained_in)
    log.info("forecasting %s", in_words(starts, config.steps, config.members, spec.step_seconds))
    with shared(inputs, COMMAND) as processes, ProgressBar("forecasting") as progress:
        write_forecast(
            model.module,
            datastore,
            output,
            starts=starts,
            steps=config.steps,
            members=config.members,
            seed=config.seed,
            boundary=config.boundary,
            statistics=statistics_of(config.statistics),
            member_chunk=config.member_chunk,
            format=file_format(config),
            attributes=provenance(config, model.attributes(), COMMAND.name),
            processes=processes,
            overwrite=config.overwrite,
            progress=(lambda done, total: progress("steps", done, total)) if processes.first else None,
        )
    if processes.first:
        for line in (f"forecast: {output}", "import xarray as xr", f"forecast = xr.open_dataset({str(output)!r})"):
            print_line(line)
    return output


def open_fitted(inputs: Inputs[Forecast], checkpoint: Plain) -> "tuple[DataSpec, FittedDatastore]":
    """What the model was trained on, and the data to forecast from as it takes them.

    Raises:
        UserError: the data are of another kind, or not where they were.

    """
    from spacecast.app.assemble import open_data
    from spacecast.checkpoint.content import trained_spec
    from spacecast.core.spec import DataSpec
    from spacecast.data.contract import WHOLE, offers
    from spacecast.data.dataset import DatasetStore, open_source
    from spacecast.data.fit import Advice, FittedDatastore
    from spacecast.data.whole import WholeRuns

    config, facts = inputs.config, checkpoint["spacecast"]
    wanted = config.dataset is None or facts["data_spec"] is None  # of the reference, which does not say
    if wanted:
        check_data_place(inputs, checkpoint)
    opened = open_data(config) if wanted else None
    spec = DataSpec.from_dict(facts["data_spec"]) if opened is None else trained_spec(facts, opened.spec)
    if config.dataset is not None:
        data: Datastore = DatasetStore(open_source(config.dataset), spec)
        advice = "give a dataset like the model's own data"
    else:
        assert opened is not None
        check_same_data(config, facts, opened.spec.data_hash)
        data, advice = opened, "give data like the model's own with datastore.root=DIR"
    told = Advice(advice, "convert_units=true", "convert them")
    if not any(offers(data, run, WHOLE) for run in (*data.train_runs, *data.holdout_runs)):
        data = WholeRuns(data)
    return spec, FittedDatastore(data, spec, convert_units=config.convert_units, advice=told)


def open_model(config: Forecast, checkpoint: Plain, spec: "DataSpec") -> "TrainedModel":
    """The trained model.

    Raises:
        UserError: weights, data and graph do not fit each other, or several members would be one forecast.

    """
    from spacecast.app.trained_model import TrainedModel
    from spacecast.forecast.forecaster import check_ensemble

    graph, module = trained_parts(config, checkpoint, spec)
    check_ensemble(module, config.members, "leave members out")
    if config.statistics and config.members == 1:
        raise UserError(f"statistics={str(config.statistics).lower()} are those of an ensemble; give members=2 or more")
    return TrainedModel(module.eval().requires_grad_(False), spec, graph, checkpoint["spacecast"], config.checkpoint)


def choose_starts(config: Forecast, datastore: "FittedDatastore") -> "list[Start]":
    """Where to start: of the first run unless one is named, and there at its first test frame unless that is given.

    Raises:
        UserError: there is no such run or frame, or too few frames follow.

    """
    import numpy as np

    from spacecast.data.contract import WHOLE, offers
    from spacecast.forecast.starts import find_run, find_starts

    known = (*datastore.train_runs, *datastore.holdout_runs)
    run = find_run(datastore, known[0] if config.run is None else config.run)
    start: Any = config.start
    if start is None and config.dataset is None and offers(datastore, run, "test"):
        first = datastore.times(run, "test")[0]
        start = int(np.searchsorted(datastore.times(run, WHOLE), first)) + 1
    return find_starts(datastore, run, start, config.steps, config.boundary)


def rewrite(words: Sequence[str]) -> list[str]:
    """Let overrides of stored sections through Hydra, whose defaults may be those of another model.

    Raises:
        UserError: a launcher is asked for.

    """
    if launcher := next((word for word in words if word.startswith("launcher")), ""):
        raise UserError(f"{launcher}: a forecast is not submitted; put `srun spacecast-forecast ...` into a job")
    sections = tuple(f"{name}." for name in USED)
    return [f"++{word}" if word.startswith(sections) else word for word in words]


def complete(composed: Plain, words: Sequence[str], opened: Opened) -> Plain:
    """The configuration in the checkpoint, overridden by what was typed, without what only a training needs."""
    stored = completed({"evaluation": {}} | composed, words, opened, USED)
    evaluation, typed = stored["evaluation"] or {}, {key.partition(".")[0] for key in typed_keys(words)}
    own = {field.name for field in fields(Forecast)}
    training = {field.name for field in fields(Evaluate)} - own - typed
    result = {name: value for name, value in stored.items() if name not in training}
    for key, default in (("steps", STEPS), ("members", MEMBERS)):
        if result[key] is None:
            result[key] = evaluation.get(key, default)
    return result | {"seed": composed["seed"]}


COMMAND = Command(
    name="spacecast-forecast",
    config="forecast",
    schema=Forecast,
    task=forecast,
    rewrite=rewrite,
    complete=complete,
    has_run_folder=False,
    summary="forecasts with a trained model; everything that shaped it comes from its checkpoint.",
    usage=[
        "spacecast-forecast checkpoint=FILE_OR_RUN_FOLDER [key=value ...]",
        "spacecast-forecast checkpoint=PUBLISHED datastore=vlasiator datastore.root=DIR graph=stored graph.path=DIR",
    ],
    examples={
        "spacecast-forecast checkpoint=runs/DATE/RUN": "from the first frames of its test split",
        "spacecast-forecast checkpoint=RUN start=2000-01-01T00:10 steps=60": "ten minutes from then on",
        "spacecast-forecast checkpoint=RUN members=20 statistics=true": "an ensemble, its mean and its spread",
        'spacecast-forecast checkpoint=RUN "start=[1,5,10]" output=three.nc': "several starts in one NetCDF file",
        "spacecast-forecast checkpoint=RUN dataset=now.zarr boundary=persist": "from the newest frames of other data",
    },
    keys={
        "checkpoint": "a .ckpt file, ours or the reference's, a run folder, an exported model or models:/NAME@best",
        "output": "NAME.zarr or NAME.nc; null: named after model, run and initial time, in paths.run_dir",
        "paths.run_dir": "folder of forecasts without an output",
        "start": "time or number of a frame (-1: the last), or a list; null: the first of the test split",
        "steps": "of the model, each one lead time; null: as many as the evaluation of the training",
        "members": "of an ensemble; null: as many as the evaluation of the training",
        "seed": "of the noise of the members",
        "format": "zarr or netcdf; null: as the output is called",
        "statistics": "mean and spread of the members: false, true (beside them) or only",
        "run": "of the data; null: the first",
        "dataset": "zarr or NetCDF file to start from; null: the data of the training, or datastore.root",
        "boundary": "cells driven with true values: data, as long as they last, or persist",
        "member_chunk": "members that go through the model at a time",
        "overwrite": "replace another forecast",
        "convert_units": "turn data in other units, such as T for nT, into the model's",
        "datastore.root": "folder with the data",
        "trainer.devices": "processes that share the work",
        "trust": "modules of your own that the checkpoint may call",
    },
)


def main() -> None:
    """Entry point of the console script."""
    run_command(COMMAND)


if __name__ == "__main__":
    main()
