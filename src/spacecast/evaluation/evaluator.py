"""Scores of a model on a part of the data, streamed: no forecast is kept longer than one lead.

RMSE is the root of the mean over all windows and nodes, boundary left out; `metrics.METRICS` say what is scored.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.core.ranges import NonNegativeInt, PositiveInt, whole
from spacecast.core.regions import Bounds
from spacecast.core.spec import DataSpec
from spacecast.core.text import several
from spacecast.core.types import Batch
from spacecast.data.fit import FittedDatastore
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.climatology import climatology
from spacecast.evaluation.regions import DEFAULT_REGIONS, Regions
from spacecast.evaluation.sample import THRESHOLDS
from spacecast.evaluation.score_dataset import score_dataset
from spacecast.evaluation.scores import Scores
from spacecast.evaluation.selection import Selection, select
from spacecast.evaluation.surfaces import SURFACES
from spacecast.forecast.forecaster import Forecaster
from spacecast.forecast.processes import ALONE, Processes
from spacecast.forecast.writer import ForecastWriter
from spacecast.formulas.ensemble import Estimator

log = logging.getLogger(__name__)


def evaluate(
    model: nn.Module,
    datastore: Datastore,
    *,
    spec: DataSpec | None = None,
    split: str | None = "test",
    runs: str | Sequence[str | int] | None = None,
    steps: NonNegativeInt | None = 10,
    windows: PositiveInt | None = None,
    spread: bool = False,
    batch_size: PositiveInt = 4,
    members: PositiveInt = 1,
    member_chunk: int = 6,
    estimator: Estimator = "fair",
    thresholds: Sequence[float] = THRESHOLDS,
    regions: Mapping[str, Bounds] | None = DEFAULT_REGIONS,
    surfaces: Mapping[str, float] = SURFACES,
    plasma_regions: bool = False,
    seed: NonNegativeInt = 0,
    convert_units: bool = False,
    examples: NonNegativeInt = 0,
    bootstrap_draws: NonNegativeInt = 1000,
    out_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes = ALONE,
) -> Scores | None:
    """Forecast from some initial times, and score against truth, persistence and other references, in physical units.

    Args:
        model, datastore: a `StepModel`; the data, whose boundary drives the forecast and is left out of the scores.
        spec: what the model was trained on, for its statistics; None: that of the data store.
        split, runs: which frames: `train`, `val`, `test` or `all` of which runs; see `selection.select`.
        steps, windows, spread: leads, None: up to 100; initial times of each run, None: all; even ones or the first.
        batch_size, members, member_chunk: windows at a time; ensemble members, and how many of a window at a time.
        estimator, thresholds, regions, surfaces, plasma_regions: of CRPS and Brier scores; see `Setting`, `Regions`.
        seed, convert_units: of the draws; whether data in other units are turned into the model's (`FittedDatastore`).
        examples, out_dir: how many forecasts, spread over runs and times, to write to `out_dir`/examples.zarr.
        bootstrap_draws: drawings of initial times for the intervals in `scores.nc`; 0: no intervals.
        device, progress: where to compute, None where the model is; called with the windows done and to do.
        processes: those that share the work, all of which call this: the same bits as of one, None but in the first.

    Raises:
        UserError: when split, run, lead or region do not fit the data, or the model belongs to other data.

    """
    source = FittedDatastore(datastore, spec or datastore.spec, convert_units=convert_units)
    chosen = select(source, runs, split, steps, windows)
    steps, seed, batch_size, members, member_chunk = _plain(chosen.steps, seed, batch_size, members, member_chunk)
    data = WindowDataset(source, chosen.runs, chosen.split, steps, limit=windows, spread=spread)
    places = Regions(source.spec, regions, surfaces, plasma_regions)
    usual, facts = _references(source, chosen, data)
    accumulator = Accumulator(source.spec, steps, members, places, estimator, seed, thresholds, *usual)
    place = torch.device(device or next((weight.device for weight in model.parameters()), "cpu"))
    forecaster = Forecaster(model.to(place).eval(), source.spec, place, members, member_chunk, seed)
    written = spread_starts(data.counts, examples)
    with _examples(out_dir, data, steps, members, written if processes.first else []) as writer:
        _score_all(forecaster, data, _deal(len(data), batch_size, written, processes), accumulator, writer, progress)
    parts = processes.gather(accumulator.sums.parts())
    return None if parts is None else _result(accumulator, parts, data, {**facts, "seed": seed}, bootstrap_draws)


def _references(
    source: FittedDatastore, chosen: Selection, data: WindowDataset
) -> tuple[tuple[np.ndarray | None, dict[int, np.ndarray]], dict[str, Any]]:
    """The climatology, and by the number of each run what stands for it; facts for `scores.nc`."""
    log.info("scoring %s: %s of %s", chosen, several(len(data), "forecast"), several(data.steps, "step"))
    usual = climatology(source, chosen.runs, chosen.split)
    facts = {"scored": str(chosen), "split": chosen.split, "climatology": str(usual or "none")}
    if usual is None:
        return (None, {}), facts
    return (usual.mean, {number: usual.of(run) for run, number in data.numbers.items()}), facts


def _result(
    accumulator: Accumulator, parts: Sequence[Any], data: WindowDataset, facts: dict[str, Any], draws: int
) -> Scores:
    """The scores of the sums of all processes."""
    accumulator.sums.merge(parts)
    store = data.datastore
    names = dict(enumerate((*store.train_runs, *store.holdout_runs)))
    times = {data.place(number): data.initial_time(number) for number in range(len(data))}
    facts = {**facts, "data_hash": store.spec.data_hash}
    dataset = score_dataset(accumulator, names, times, draws=draws, attributes=facts)
    return replace(accumulator.scores(), dataset=dataset, scored=facts["scored"])


def _deal(windows: int, batch_size: int, examples: Sequence[int], processes: Processes) -> list[list[int]]:
    """Numbers of the windows of each batch of this process: the batches of a single process, dealt so that all have as
    many; those with an example go to the first process, which writes them.
    """
    batches = [list(range(start, min(start + batch_size, windows))) for start in range(0, windows, batch_size)]
    with_examples = [batch for batch in batches if set(batch) & set(examples)]
    hands: list[list[list[int]]] = [[] for _ in range(processes.world)]
    hands[0] += with_examples
    for batch in batches:
        if batch not in with_examples:
            min(hands, key=len).append(batch)
    return sorted(hands[processes.rank])


def _score_all(
    forecaster: Forecaster,
    data: WindowDataset,
    batches: Sequence[list[int]],
    sums: Accumulator,
    writer: ForecastWriter | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Forecast batches of windows, given by their numbers, and score them."""
    done, total = 0, sum(map(len, batches))
    loader = DataLoader(data, batch_sampler=batches, generator=torch.Generator())
    for numbers, batch in zip(batches, loader, strict=True):
        times = np.array([data.initial_time(number) for number in numbers])
        known = writer.windows if writer else {}
        examples = {row: known[number] for row, number in enumerate(numbers) if number in known}
        _score(forecaster, batch, times, sums, writer, examples)
        done += len(numbers)
        if progress:
            progress(done, total)


@torch.inference_mode()
def _score(
    forecaster: Forecaster,
    batch: Batch,
    times: np.ndarray,
    sums: Accumulator,
    writer: ForecastWriter | None,
    examples: Mapping[int, int],
) -> None:
    """Forecast a batch of windows in physical units, which start at `times`; add it to the sums and write examples.

    Some rows of the batch are examples of a number.
    """
    batch = Batch(*(field.to(forecaster.device) for field in batch))
    scaled = forecaster.standardizer.batch(batch)
    for lead, members in enumerate(forecaster.leads(scaled, batch.target.shape[1], times)):
        truth = batch.target[:, lead]
        sums.add(lead, members, scaled, batch)
        for row, example in examples.items():
            forecast = forecaster.standardizer.state_to_physical(members[row]).cpu().numpy()
            known = truth[row].cpu().numpy(), batch.forcing[row, lead].cpu().numpy()
            cast(ForecastWriter, writer).write(example, lead, forecast, *known)


def _plain(steps: int, seed: int, *sizes: int) -> list[int]:
    """Plain numbers, sizes of at least one."""
    names = ("evaluation.batch_size", "evaluation.members", "evaluation.member_chunk")
    numbers = whole(0, **{"evaluation.steps": steps, "evaluation.seed": seed})
    return [*numbers, *whole(1, **dict(zip(names, sizes, strict=True)))]


def spread_starts(counts: Sequence[int], wanted: int) -> list[int]:
    """Numbers of `wanted` windows that are spread evenly over runs and over the time of each run.

    The first is the first window of the first run, the last the last one of its run, and their times differ as far as
    there are as many.

    Args:
        counts: windows of each run; they are numbered run after run.
        wanted: how many, fewer where there are fewer windows.

    Returns:
        Ascending numbers.

    """
    wanted = min(wanted, sum(counts))
    left = [list(range(count)) for count in counts]
    chosen = []
    for number in range(wanted):
        first = number * len(counts) // wanted if wanted < len(counts) else number % len(counts)
        run = next(run for run in (*range(first, len(counts)), *range(first)) if left[run])
        place = number * (counts[run] - 1) / max(wanted - 1, 1)
        start = min(left[run], key=lambda start: abs(start - place))
        left[run].remove(start)
        chosen.append(sum(counts[:run]) + start)
    return sorted(chosen)


def _examples(
    out_dir: str | Path | None, data: WindowDataset, steps: int, members: int, numbers: Sequence[int]
) -> AbstractContextManager[ForecastWriter | None]:
    """A writer for some windows of the data, by their numbers; None where there are none."""
    if not numbers:
        return nullcontext()
    if out_dir is None:
        raise UserError(f"evaluation.examples={len(numbers)} needs a folder to write to")
    store = data.datastore
    times = np.array([data.initial_time(number) for number in numbers])
    runs = [data.run(number) for number in numbers]
    labels = {"split": data.split, "runs": runs, "data_hash": store.spec.data_hash}
    return ForecastWriter(Path(out_dir) / "examples.zarr", store.spec, times, steps, members, labels, windows=numbers)
