"""Scores of a model on a split of the data, streamed: no forecast is kept longer than one lead."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.data.windows import WindowDataset
from spacecast.evaluation.accumulator import Accumulator
from spacecast.evaluation.examples import ExampleWriter
from spacecast.evaluation.forecaster import Forecaster
from spacecast.evaluation.scores import Scores
from spacecast.losses.latent import Estimator


def evaluate(
    model: nn.Module,
    datastore: Datastore,
    *,
    spec: DataSpec | None = None,
    split: str = "test",
    runs: str | Sequence[str | int] | None = None,
    steps: int = 10,
    windows: int | None = None,
    batch_size: int = 4,
    members: int = 1,
    member_chunk: int = 8,
    estimator: Estimator = "fair",
    regions: Mapping[str, Mapping[str, float]] | None = None,
    seed: int = 0,
    examples: int = 0,
    out_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Forecast from every initial time of a split and score against truth and persistence, in physical units.

    RMSE is the root of the mean over all windows and nodes, boundary left out. Of an ensemble, `rmse`, `mae`, `bias`
    and `correlation` belong to its mean, `member_rmse` and `div_b` to its members. Run it in one process: a distributed
    sampler would count its padding twice.

    Args:
        model: a `StepModel`.
        datastore: the data; its boundary drives the forecast and is left out of the scores.
        spec: what the model was trained on, for its statistics; None: that of the data store.
        split, runs: which frames: `train`, `val`, `test` or `all` of the runs that `select_runs` finds.
        steps: leads to forecast.
        windows: how many initial times of each run, in order; None: all.
        batch_size: windows at a time.
        members, member_chunk: ensemble members, and how many of a window go through the model at a time.
        estimator, regions: of the CRPS, `fair`, `almost_fair` or `ecdf`; further parts of the plane (`region_masks`).
        seed: of the draws of a probabilistic model.
        examples, out_dir: how many forecasts, from the first on, to write to `out_dir`/examples.zarr.
        device, progress: where to compute, None where the model is; called with the windows done and to do.

    Raises:
        UserError: when split, run, lead or region do not fit the data, or the model belongs to other data.

    """
    trained = datastore.spec if spec is None else spec
    _check(datastore.spec, trained, {"batch_size": batch_size, "members": members, "member_chunk": member_chunk})
    data = WindowDataset(cast(Any, datastore), select_runs(datastore, runs), split, steps, limit=windows)
    accumulator = Accumulator(datastore.spec, trained.state, steps, members, regions, estimator, seed)
    place = torch.device(device or next((weight.device for weight in model.parameters()), "cpu"))
    forecaster = Forecaster(model.to(place).eval(), trained, datastore.spec, place, members, member_chunk)
    open_writer = _open_examples(out_dir, data, steps, members, examples) if examples else nullcontext()
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), open_writer as writer:
        torch.manual_seed(seed)
        done = 0
        for batch in DataLoader(data, batch_size=batch_size, shuffle=False):
            forecaster.score(batch, steps, accumulator, writer, done)
            done += batch.initial.shape[0]
            if progress:
                progress(done, len(data))
    return accumulator.scores()


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


def _check(spec: DataSpec, trained: DataSpec, positive: dict[str, int]) -> None:
    """Refuse sizes below one, and a model of other data."""
    for name, value in positive.items():
        if value < 1:
            raise UserError(f"evaluation.{name}={value}: must be at least 1")
    if spec.state.names != trained.state.names:
        ours, theirs = ", ".join(spec.state.names), ", ".join(trained.state.names)
        raise UserError(f"the model forecasts {theirs}, but the data hold {ours}; evaluate it on data like its own")
    if trained.num_nodes != spec.num_nodes:
        raise UserError(
            f"the model was trained on {trained.num_nodes} nodes, but the data have {spec.num_nodes}; "
            "evaluate it on data of its own grid"
        )


def _open_examples(
    out_dir: str | Path | None, data: WindowDataset, steps: int, members: int, examples: int
) -> ExampleWriter:
    """A writer for the first windows of the data."""
    if out_dir is None:
        raise UserError(f"evaluation.examples={examples} needs a folder to write to")
    store = data.datastore
    numbers = range(min(examples, len(data)))
    times = np.array([data.initial_time(number) for number in numbers])
    runs = [store.runs[int(data[number].window[0])] for number in numbers]
    labels = {"split": data.split, "runs": runs, "data_hash": store.spec.data_hash}
    return ExampleWriter(Path(out_dir) / "examples.zarr", store.spec, times, steps, members, labels)
