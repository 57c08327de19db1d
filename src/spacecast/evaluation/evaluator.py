"""Scores of a model on a split of the data, streamed: no forecast is kept longer than one lead."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import Datastore
from spacecast.core.ranges import NonNegativeInt, PositiveInt
from spacecast.core.regions import Bounds
from spacecast.core.spec import DataSpec
from spacecast.core.types import Batch
from spacecast.data.fit import FittedDatastore
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.regions import DEFAULT_REGIONS
from spacecast.evaluation.scores import Scores
from spacecast.forecast.forecaster import Forecaster
from spacecast.forecast.writer import ForecastWriter
from spacecast.formulas.ensemble import Estimator


def evaluate(
    model: nn.Module,
    datastore: Datastore,
    *,
    spec: DataSpec | None = None,
    split: str = "test",
    runs: str | Sequence[str | int] | None = None,
    steps: NonNegativeInt = 10,
    windows: PositiveInt | None = None,
    batch_size: PositiveInt = 4,
    members: PositiveInt = 1,
    member_chunk: int = 6,
    estimator: Estimator = "fair",
    regions: Mapping[str, Bounds] | None = DEFAULT_REGIONS,
    seed: NonNegativeInt = 0,
    convert_units: bool = False,
    examples: NonNegativeInt = 0,
    out_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Forecast from every initial time of a split and score against truth and persistence, in physical units.

    RMSE is the root of the mean over all windows and nodes, boundary left out. Of an ensemble, `rmse`, `mae`, `bias`
    and `correlation` belong to its mean, the rest to its members. Run it in one process: a distributed sampler would
    count its padding twice.

    Args:
        model: a `StepModel`.
        datastore: the data; its boundary drives the forecast and is left out of the scores.
        spec: what the model was trained on, for its statistics; None: that of the data store.
        split, runs: which frames: `train`, `val`, `test` or `all` of the runs that `select_runs` finds.
        steps: leads to forecast.
        windows: how many initial times of each run, in order; None: all.
        batch_size, members, member_chunk: windows at a time; ensemble members, and how many of a window at a time.
        estimator, regions: of the CRPS, `fair`, `almost_fair` or `ecdf`; further parts of the plane (`region_masks`).
        seed, convert_units: of the draws; whether data in other units are turned into the model's (`FittedDatastore`).
        examples, out_dir: how many forecasts, spread over runs and times, to write to `out_dir`/examples.zarr.
        device, progress: where to compute, None where the model is; called with the windows done and to do.

    Raises:
        UserError: when split, run, lead or region do not fit the data, or the model belongs to other data.

    """
    _check_positive(batch_size=batch_size, members=members, member_chunk=member_chunk)
    source = FittedDatastore(datastore, spec or datastore.spec, convert_units=convert_units)
    data = WindowDataset(source, select_runs(source, runs), split, steps, limit=windows)
    accumulator = Accumulator(source.spec, steps, members, regions, estimator, seed)
    place = torch.device(device or next((weight.device for weight in model.parameters()), "cpu"))
    forecaster = Forecaster(model.to(place).eval(), source.spec, place, members, member_chunk, seed)
    open_writer = _open_examples(out_dir, data, steps, members, examples) if examples else nullcontext()
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), open_writer as writer:
        done = 0
        for batch in DataLoader(data, batch_size=batch_size, shuffle=False):
            times = np.array([data.initial_time(done + row) for row in range(batch.initial.shape[0])])
            _score(forecaster, batch, times, steps, accumulator, writer, done)
            done += batch.initial.shape[0]
            if progress:
                progress(done, len(data))
    return accumulator.scores()


@torch.inference_mode()
def _score(
    forecaster: Forecaster,
    batch: Batch,
    times: np.ndarray,
    steps: int,
    sums: Accumulator,
    writer: ForecastWriter | None,
    first: int,
) -> None:
    """Forecast a batch in physical units, add it to the sums and write those of its windows that are examples.

    The batch's windows start at `times`; the first is the one of number `first` in the data.
    """
    batch = Batch(*(field.to(forecaster.device) for field in batch))
    scaled = forecaster.standardizer.batch(batch)
    rows = range(batch.initial.shape[0])
    examples = {row: writer.windows[first + row] for row in rows if first + row in writer.windows} if writer else {}
    for lead, members in enumerate(forecaster.leads(scaled, steps, times)):
        truth = batch.target[:, lead]
        sums.add(lead, members, scaled, batch)
        for row, example in examples.items():
            forecast = forecaster.standardizer.state_to_physical(members[row]).cpu().numpy()
            cast(ForecastWriter, writer).write(example, lead, forecast, truth[row].cpu().numpy())


def select_runs(datastore: Datastore, runs: str | Sequence[str | int] | None) -> tuple[str, ...]:
    """Names of the runs that are meant: names, or `train`, `holdout` or `all` of them; None: the training runs."""
    groups = {
        "train": tuple(datastore.train_runs),
        "holdout": tuple(datastore.holdout_runs),
        "all": (*datastore.train_runs, *datastore.holdout_runs),
    }
    if runs is None or (isinstance(runs, str) and runs in groups):
        chosen = groups[runs or "train"]
        if not chosen:
            raise UserError(f"evaluation.runs={runs}: the data store has no such run; name some with datastore.holdout")
        return chosen
    names = tuple(str(run) for run in ([runs] if isinstance(runs, str) else runs))
    if not names:
        raise UserError("evaluation.runs: the list is empty; name runs, or train, holdout or all, or null")
    for name in names:
        if name not in groups["all"]:
            known = nearest(name, [*groups["all"], *groups])
            raise UserError(f"evaluation.runs: the data store has no run {name!r}; {known}")
    return names


def _check_positive(**sizes: int) -> None:
    """Refuse sizes below one."""
    for name, value in sizes.items():
        if value < 1:
            raise UserError(f"evaluation.{name}={value}: must be at least 1")


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


def _open_examples(
    out_dir: str | Path | None, data: WindowDataset, steps: int, members: int, examples: int
) -> ForecastWriter:
    """A writer for some windows of the data."""
    if out_dir is None:
        raise UserError(f"evaluation.examples={examples} needs a folder to write to")
    store = data.datastore
    numbers = spread_starts(data.counts, examples)
    times = np.array([data.initial_time(number) for number in numbers])
    runs = [data.run(number) for number in numbers]
    labels = {"split": data.split, "runs": runs, "data_hash": store.spec.data_hash}
    return ForecastWriter(Path(out_dir) / "examples.zarr", store.spec, times, steps, members, labels, windows=numbers)
