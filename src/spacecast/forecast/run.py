"""Forecasts into a file: any number of initial times, members and leads in the memory of a few members."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

import spacecast
from spacecast.core.protocols import Datastore
from spacecast.core.ranges import whole
from spacecast.core.spec import DataSpec
from spacecast.forecast.forecaster import Forecaster
from spacecast.forecast.layout import CONVENTIONS, Boundary, Layout, Statistics
from spacecast.forecast.noise import milliseconds
from spacecast.forecast.place import Place, explained
from spacecast.forecast.processes import ALONE, Processes
from spacecast.forecast.request import Format, Request, in_order
from spacecast.forecast.starts import Start
from spacecast.forecast.statistics import blocks, write_statistics
from spacecast.forecast.unit import Inputs, NotFinite, Unit, forecast_unit, units_of

log = logging.getLogger(__name__)


def write_forecast(
    model: nn.Module,
    datastore: Datastore,
    path: str | PathLike[str],
    *,
    starts: Sequence[Start],
    steps: int,
    members: int = 1,
    seed: int = 0,
    boundary: Boundary = "data",
    statistics: Statistics = "none",
    member_chunk: int = 6,
    format: Format = "zarr",  # noqa: A002 - the word of the command line
    attributes: Mapping[str, Any] = MappingProxyType({}),
    processes: Processes = ALONE,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Forecast, and write a file that xarray opens; see docs/forecast.md for what is in it.

    Interrupted, the same call goes on where it ended, and the file is that of a call that was not. A file that is there
    from the same request is left alone.

    Args:
        model: a `StepModel`; several members need one that draws.
        datastore: the data, as the model takes them (`data.fit.FittedDatastore`), with a split `all`.
        path: of the file; its folder is made.
        starts, steps: initial times, each another one, and leads.
        members, seed, member_chunk: ensemble members, of a single one the file has no axis; of their noise; how many of
            them go through the model at a time.
        boundary: what drives its cells: true values of the `data` as long as they last, or, with `persist`, those of
            the initial time.
        statistics: mean and spread over the members: `none`, `beside` the members, or `only` these.
        format, attributes: `zarr` or `netcdf`; global attributes such as `source`, `history` and `references`.
        processes: that share the work; each of them makes this call.
        overwrite: replace another forecast, or make the same one again.
        progress: called with the steps of members done and to do in this process.

    Raises:
        UserError: the data do not have what the forecast needs, the file may not be replaced, another command writes
            it, or the disk does not take it. Nothing is there half-written.

    """
    steps, members, chunk, seed = *whole(1, steps=steps, members=members, member_chunk=member_chunk), *whole(seed=seed)
    request = Request(in_order(starts), steps, members, seed, boundary, statistics, min(chunk, members), format)
    request.check(datastore)
    model = model.to(processes.device).eval()
    times = milliseconds([start.time for start in request.starts])
    layout = Layout(datastore.spec, times, steps, members, request.member_chunk)
    place = Place(Path(path), request.described(model, datastore), layout, statistics)
    with place.held(overwrite=overwrite) if processes.first else nullcontext():
        processes.barrier()
        if place.ready:
            units = _forecast(request, model, datastore, place, processes, progress or (lambda *_: None))
            if processes.first:
                facts = {**_facts(request, datastore.spec, place), **_not_finite(request, place, units)}
                with explained(place.path):
                    place.finish({**_said(attributes), **facts}, format)
        processes.barrier()
    return place.path


def _forecast(
    request: Request,
    model: nn.Module,
    datastore: Datastore,
    place: Place,
    processes: Processes,
    progress: Callable[[int, int], None],
) -> list[Unit]:
    """Forecast what is not done yet, and the statistics; returns all units."""
    units = units_of(len(request.starts), request.members, request.member_chunk)
    left = [number for number in range(len(units)) if not place.is_done(number)]
    processes.barrier()  # nobody has begun while somebody still looks at what is done
    forecaster = Forecaster(
        model, datastore.spec, processes.device, request.members, request.member_chunk, request.seed
    )
    inputs = Inputs(datastore, forecaster, request.boundary)
    mine = processes.share(left)
    total, done = sum(len(units[number].members) for number in mine) * request.steps, 0
    for number in mine:
        unit = units[number]

        def told(size: int = len(unit.members)) -> None:
            nonlocal done
            done += size
            progress(done, total)

        found = forecast_unit(inputs, request.starts[unit.start], unit, place, told)
        with explained(place.path):
            place.record(number, found)
    processes.barrier()
    if request.statistics != "none":
        with explained(place.path):
            for block in processes.share(blocks(place.layout)):
                write_statistics(place.members, place.final, place.layout, block)
        processes.barrier()
    return units


def _said(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Global attributes as a user gives them, with those that stand for what is not given; plain types."""
    tool = f"spacecast {spacecast.__version__}"
    given = {"title": "forecast", "source": tool, "history": f"written by {tool}", **attributes}
    plain = {key: isinstance(value, str | int | float) and not isinstance(value, bool) for key, value in given.items()}
    return {
        key: value if plain[key] else json.dumps(value, default=str)
        for key, value in given.items()
        if value is not None
    }


def _facts(request: Request, spec: DataSpec, place: Place) -> dict[str, Any]:
    """Global attributes that follow from the request."""
    driven = 0 if spec.driven is None else int(np.count_nonzero(spec.driven))
    boundary = {
        "data": f"data: true values drive {driven} cells",
        "persist": f"persist: {driven} cells keep their values of the initial time",
    }
    runs = [start.run for start in request.starts]
    return {
        "Conventions": CONVENTIONS,
        "run": runs[0] if len(set(runs)) == 1 else ", ".join(runs),
        "boundary": boundary[request.boundary] if driven else "none: true values drive no cell",
        "model_hash": place.request["model"],
        "data_hash": place.request["data"],
        **({"members": request.members, "seed": request.seed} if request.members > 1 else {}),
    }


def _not_finite(request: Request, place: Place, units: Sequence[Unit]) -> dict[str, str]:
    """Say of a forecast, in the log and in an attribute, that it is not finite everywhere."""
    found = [(unit.start, NotFinite(*each)) for number, unit in enumerate(units) for each in place.found(number)]
    if not found:
        return {}
    start, first = min(found, key=lambda item: item[1].lead)
    total = len(request.starts) * request.members
    member = f"member {first.member} " if request.members > 1 else ""
    lead = (first.lead + 1) * place.layout.spec.step_seconds
    text = (
        f"{len(found)} of {total} forecasts hold numbers that are not finite, the first from lead {lead:g} s on: "
        f"{', '.join(first.names)} of {member}from {request.starts[start].time}"
    )
    log.warning("%s: %s", place.path, text)
    return {"not_finite": text}
