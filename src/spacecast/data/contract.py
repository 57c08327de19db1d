"""Holds a datastore against `core.protocols.Datastore`, so that a fault in a user's own is named where it lies."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.data.splits import SPLITS

WHOLE = "all"
"""The split that is a whole run."""


def forcing_reach(datastore: Datastore) -> tuple[int, int]:
    """Frames before the first and after the last one asked for that `read_forcing` reaches for.

    The members `forcing_past` and `forcing_future`; 0 where a datastore has none.
    """
    return getattr(datastore, "forcing_past", 0), getattr(datastore, "forcing_future", 0)


def split_range(datastore: Datastore, run: str, split: str) -> tuple[int, int]:
    """Frames [start, stop) of the run that a split is made of.

    The member `split_range(run, split)`; where a datastore has none a split counts as a run of its own.
    """
    range_of = getattr(datastore, "split_range", None)
    start, stop = (0, datastore.num_frames(run, split)) if range_of is None else range_of(run, split)
    return start, stop


def offers(datastore: Datastore, run: str, split: str) -> bool:
    """Whether a run has such a split; `all` is one that a datastore may be without, and refuse as it refuses a typo."""
    try:
        return datastore.num_frames(run, split) > 0
    except (UserError, LookupError, ValueError):
        return False


def unbroken(datastore: Datastore, run: str, frame: int) -> tuple[int, int]:
    """Frames [start, stop) of the split `all` around one of them that follow each other without a gap.

    The member `unbroken(run, frame)`; a datastore that has none has no gaps.
    """
    range_of = getattr(datastore, "unbroken", None)
    start, stop = (0, len(datastore.times(run, WHOLE))) if range_of is None else range_of(run, frame)
    return start, stop


def members() -> list[str]:
    """What a datastore must have."""
    methods = [name for name, value in vars(Datastore).items() if callable(value) and not name.startswith("_")]
    return [*Datastore.__annotations__, *methods]


def check_datastore(datastore: Any) -> None:
    """Look for all members, the types of the facts, and the shapes of the first frames.

    Raises:
        UserError: the first fault.

    """
    name = f"datastore: {type(datastore).__module__}.{type(datastore).__qualname__}"
    missing = [member for member in members() if not hasattr(datastore, member)]
    if missing:
        raise UserError(f"{name} has no {', '.join(missing)}, which spacecast/core/protocols.py asks of a datastore")
    for fault in _faults(datastore):
        raise UserError(f"{name}: {fault}; spacecast/core/protocols.py says what a datastore must give")


def _faults(datastore: Datastore) -> Iterator[str]:
    """Sentences on whatever is not as it must be."""
    if not isinstance(datastore.spec, DataSpec):
        yield f"spec is a {type(datastore.spec).__name__}, not a DataSpec"
    for group in ("train_runs", "holdout_runs"):
        runs = getattr(datastore, group)
        if not isinstance(runs, (tuple, list)) or not all(isinstance(run, str) for run in runs):
            yield f"{group} is {runs!r}, not a tuple of names"
    if not datastore.train_runs:
        yield "train_runs is empty"
    yield from _faults_of_spec(datastore.spec)
    run = datastore.train_runs[0]
    split, frames = _first_split(datastore, run)
    if not isinstance(frames, (int, np.integer)):
        yield f"num_frames gives {frames!r}, not a whole number"
    count, nodes = min(2, int(frames)), datastore.spec.num_nodes
    for method, size in (("read_state", len(datastore.spec.state)), ("read_forcing", len(datastore.spec.forcing))):
        start, future = forcing_reach(datastore) if method == "read_forcing" else (0, 0)
        if start + count + future > frames:
            continue
        values = getattr(datastore, method)(run, split, start, start + count)
        shape = (count, nodes, size)
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.shape != shape:
            yield f"{method} gives {_described(values)}, not float32 of shape {shape} (frame, node, variable)"
    times = datastore.times(run, split)
    kind = np.issubdtype(getattr(times, "dtype", object), np.datetime64)
    if not kind or times.shape != (frames,):
        yield f"times gives {_described(times)}, not datetime64 of shape {(int(frames),)}"


def _first_split(datastore: Datastore, run: str) -> tuple[str, Any]:
    """A split of a run and its number of frames; data that are only scored may have no `train`."""
    for split in (*SPLITS, WHOLE):
        with suppress(UserError):
            return split, datastore.num_frames(run, split)
    return SPLITS[0], datastore.num_frames(run, SPLITS[0])


def _faults_of_spec(spec: DataSpec) -> Iterator[str]:
    """Arrays of the description whose shape is another than that of the plane and the variables."""
    shapes = {
        "diff_mean": (len(spec.state),),
        "diff_std": (len(spec.state),),
        "static_values": (spec.num_nodes, len(spec.static)),
        "boundary": (spec.num_nodes,),
    }
    ranges = [name for name in ("lower", "upper") if getattr(spec, name) is not None]
    shapes |= dict.fromkeys(ranges, (spec.num_nodes, len(spec.state)))
    for name, shape in shapes.items():
        values = getattr(spec, name)
        if not isinstance(values, np.ndarray) or values.shape != shape:
            yield f"spec.{name} is {_described(values)}, not an array of shape {shape}"
    if spec.boundary.dtype != bool:
        yield f"spec.boundary is {_described(spec.boundary)}, not of bool"
    scales = {f"{name}.std": getattr(spec, name).std for name in ("state", "static", "forcing")}
    for name, values in {**scales, "diff_std": spec.diff_std}.items():
        if not (np.isfinite(values) & (values > 0)).all():
            yield f"spec.{name} is {values}, not positive everywhere"


def _described(values: Any) -> str:
    """Type and shape in words."""
    if isinstance(values, np.ndarray):
        return f"{values.dtype} of shape {values.shape}"
    return f"a {type(values).__name__}"
