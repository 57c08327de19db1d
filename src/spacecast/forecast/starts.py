"""Which initial times a forecast starts from: what a user gives, found in the frames of a run."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import Datastore
from spacecast.core.ranges import whole
from spacecast.core.text import several, shown
from spacecast.data.contract import WHOLE, forcing_reach, unbroken

CLOSE = 1e-3  # of a step: what a time may be off the frame that it names

Moment = int | str | date | np.datetime64
"""A number of a frame, counted from 0 or, where negative, from the end; or a time, as text in ISO 8601."""


@dataclass(frozen=True)
class Start:
    """Where a forecast starts.

    Args:
        run: name of the simulation run.
        frame: number of the second initial state in the whole run, its split `all`.
        time: of that state, from which leads are counted, datetime64[ns].

    """

    run: str
    frame: int
    time: np.datetime64


def find_run(datastore: Datastore, run: str | int | None = None) -> str:
    """The run to forecast: the one that is named, else the only one.

    Raises:
        UserError: there is none of this name, or there are several and none is named.

    """
    known = (*datastore.train_runs, *datastore.holdout_runs)
    if run is None and len(known) > 1:
        raise UserError(f"the data hold {len(known)} runs: give run=NAME, one of {', '.join(known)}")
    if run is not None and str(run) not in known:
        raise UserError(f"run={run} is none of the data's; {nearest(str(run), known)}")
    return known[0] if run is None else str(run)


def find_starts(
    datastore: Datastore,
    run: str | int | None,
    start: Moment | Iterable[Moment] | None,
    steps: int,
    boundary: Literal["data", "persist"] = "data",
) -> list[Start]:
    """The initial times of forecasts, in the order given.

    Args:
        datastore: the data, as the model takes them.
        run: name of the run; None: the only one.
        start: number of the frame, or time, of the second initial state, or several of them. None: the newest two
            frames; where true values of the data drive the boundary, the newest two that `steps` frames follow, or
            the first two of a run too short for that.
        steps: leads of the forecast. Their forcing, if the model takes any, must be in the data.
        boundary: whether true values of the data drive the boundary, as long as they last, or the initial ones.

    Raises:
        UserError: a start is no frame of the run, or none that a forecast can start from; the nearest is named.

    """
    name = find_run(datastore, run)
    times = datastore.times(name, WHOLE)
    possible, stops = _possible(datastore, name, len(times), steps)
    if start is None:
        driven = boundary == "data" and datastore.spec.driven is not None
        followed = possible[possible + steps < stops[possible]] if driven else possible
        frames = [int(followed[-1] if followed.size else possible[0])]
    else:
        moments = _listed(start)
        frames = [_frame(moment, times, possible, datastore.spec.step_seconds, name) for moment in moments]
        twice = [moment for number, moment in enumerate(moments) if frames[number] in frames[:number]]
        if twice:
            raise UserError(f"start={shown(str(twice[0]))} is given twice; give each initial time once")
        if not frames:
            raise UserError("start is an empty list; give at least one initial time")
    return [Start(name, frame, times[frame]) for frame in frames]


def _possible(datastore: Datastore, run: str, frames: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames that a forecast can start from, shape (start,), and where the piece of each frame ends, shape (frame,)."""
    whole(steps=steps)
    if steps < 1:
        raise UserError(f"steps={steps}: a forecast has at least 1 step")
    past, future = forcing_reach(datastore)
    ahead = steps + future if len(datastore.spec.forcing) else 0
    stops, possible, longest, begin = np.zeros(frames, dtype=int), [], 0, 0
    while begin < frames:
        _, stop = unbroken(datastore, run, begin)
        first = begin + max(1, past - 1)
        possible.append(np.arange(first, stop - ahead))
        longest = max(longest, stop - 1 - future - first)
        stops[begin:stop], begin = stop, stop
    found = np.concatenate(possible) if possible else np.zeros(0, dtype=int)
    if found.size:
        return found, stops
    if frames < 2 or not ahead:
        apart = ", none of them one step after another" if frames > 1 else ""
        raise UserError(
            f"run {run} has {several(frames, 'frame')}{apart}, a forecast starts from two that follow each other"
        )
    way = f"take at most {several(longest, 'step')}" if longest > 0 else "give a longer run"
    raise UserError(f"run {run} has {frames} frames, too few for the forcing of {several(steps, 'step')}; {way}")


def _listed(start: Any) -> list[Any]:
    """What is given as a list, arrays of numpy and xarray included."""
    if hasattr(start, "dtype"):
        return list(np.atleast_1d(np.asarray(start)))
    listed = list(start) if isinstance(start, Iterable) and not isinstance(start, str) else [start]
    return [np.asarray(each)[()] if hasattr(each, "dtype") else each for each in listed]


def _frame(given: Any, times: np.ndarray, possible: np.ndarray, step_seconds: float, run: str) -> int:
    """The number of the frame that one start names."""
    moment, said = _moment(given), f"start={shown(str(given))}"
    if isinstance(moment, int):
        frame = moment + len(times) if moment < 0 else moment
    else:
        apart = np.abs((times.astype("datetime64[us]") - moment).astype(np.int64)) / 1e6
        frame = int(np.argmin(apart))
        if apart[frame] > CLOSE * step_seconds:
            nearest_one = int(possible[np.argmin(np.abs(possible - frame))])
            raise UserError(
                f"{said}: run {run} has no frame at this time, the nearest is {_told(times, nearest_one)}"
            )
    if frame not in possible:
        pieces = np.split(possible, np.flatnonzero(np.diff(possible) != 1) + 1)
        ranges = (f"from {_told(times, each[0])} to {_told(times, each[-1])}" for each in pieces)
        raise UserError(f"{said}: in run {run} a forecast can start {', or '.join(ranges)}")
    return frame


def _told(times: np.ndarray, frame: int) -> str:
    """A frame in words."""
    return f"{np.datetime_as_string(times[frame], unit='auto')} (frame {frame})"


def _moment(given: Any) -> int | np.datetime64:
    """A number of a frame, or a time in microseconds."""
    value = given
    if isinstance(value, str):
        text = value.strip()
        if text.removeprefix("-").isdecimal():
            return int(text)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            value = None
    if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64)):
        return int(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, (date, np.datetime64)):
        time = np.datetime64(value, "us") if isinstance(value, date) else value.astype("datetime64[us]")
        if not np.isnat(time):
            return time
    raise UserError(
        f"start={shown(str(given))} is neither a time nor the number of a frame; for example 2000-01-01T00:10:00"
    )

