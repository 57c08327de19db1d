"""What is asked of a forecast: held against the data, and told from other requests by a hash."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import spacecast
from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import Datastore
from spacecast.core.text import several
from spacecast.data.contract import WHOLE, forcing_reach, unbroken
from spacecast.forecast.layout import Boundary, Statistics
from spacecast.forecast.starts import Start

Format = Literal["zarr", "netcdf"]
FRAMES = 8  # read at a time

WORDS = {
    "boundary": ("data", "persist"),
    "statistics": ("none", "beside", "only"),
    "format": ("zarr", "netcdf"),
}


@dataclass(frozen=True)
class Request:
    """A forecast that is asked for; see `run.write_forecast` for what the words mean.

    Args:
        starts: where it starts, ascending in time.
        steps, members, seed, boundary, statistics, member_chunk, format: as given.

    Raises:
        UserError: a word is none of those that there are, or they do not go together.

    """

    starts: tuple[Start, ...]
    steps: int
    members: int
    seed: int
    boundary: Boundary
    statistics: Statistics
    member_chunk: int
    format: Format

    def __post_init__(self) -> None:
        for name, known in WORDS.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)} is unknown; {nearest(str(getattr(self, name)), known)}")
        if self.statistics != "none" and self.members < 2:
            raise UserError(f"statistics={self.statistics} are those of an ensemble; give members=2 or more")
        if not self.starts:
            raise UserError("a forecast needs an initial time; give start=TIME")
        for one, two in itertools.pairwise(self.starts):
            if one.time == two.time:
                same = "is given twice" if one.run == two.run else f"is one of run {one.run} and of run {two.run}"
                raise UserError(f"the initial time {one.time} {same}; write a file for each")

    def check(self, datastore: Datastore) -> None:
        """Hold the request against the data: initial states, true values of the boundary and forcing must be there.

        Raises:
            UserError: something is missing; it is named, with the largest number of steps that is possible.

        """
        spec, (past, future) = datastore.spec, forcing_reach(datastore)
        times = {run: datastore.times(run, WHOLE) for run in {start.run for start in self.starts}}
        stops: dict[Start, int] = {}
        for start in self.starts:
            frames = len(times[start.run])
            if not 1 <= start.frame < frames:
                raise UserError(f"frame {start.frame} of run {start.run} is no second initial state of {frames} frames")
            if times[start.run][start.frame] != start.time:
                raise UserError(
                    f"frame {start.frame} of run {start.run} is that of {times[start.run][start.frame]}, "
                    f"not of {start.time}; give the time of the frame"
                )
            begin, stops[start] = unbroken(datastore, start.run, start.frame)
            if start.frame - 1 < begin:
                time = times[start.run][start.frame]
                raise UserError(f"run {start.run} has no frame one step before {time}; give a later start")
            if len(spec.forcing) and start.frame + 1 - begin < past:
                raise UserError(
                    f"the forcing of the model reaches {past} frames back, the first initial time of run {start.run} "
                    f"that has them is {times[start.run][min(begin + past - 1, frames - 1)]}; give a later start"
                )
        self._check_length({start: stop - 1 - start.frame for start, stop in stops.items()}, spec, future)

    def _check_length(self, ahead: Mapping[Start, int], spec: Any, future: int) -> None:
        """Refuse more steps than there are data for, where data are needed."""
        start, left = min(ahead.items(), key=lambda item: item[1])
        time = np.datetime_as_string(start.time, unit="auto")
        from_there = f"run {start.run} has {several(left, 'frame')} after {time}"
        if len(spec.forcing) and self.steps > left - future:
            names, most = ", ".join(spec.forcing.names), max(left - future, 0)
            reach = f", {future} of them beyond the last lead" if future else ""
            raise UserError(
                f"steps={self.steps}: the model takes forcing ({names}) for every step, {from_there}{reach}; "
                f"give steps={most} at most or an earlier start"
            )
        if spec.driven is not None and self.boundary == "data" and self.steps > left:
            fewer = f"give steps={left} at most, an earlier start," if left else "give an earlier start"
            raise UserError(
                f"steps={self.steps}: true values drive the boundary with boundary=data, but {from_there}; "
                f"{fewer} or boundary=persist"
            )

    def described(self, model: nn.Module, datastore: Datastore) -> dict[str, Any]:
        """Everything on which the numbers in the file depend, as plain types: two that are equal make equal files."""
        starts = [[start.run, start.frame, str(start.time.astype("datetime64[ms]"))] for start in self.starts]
        spec = datastore.spec
        data = spec.data_hash or hashed(self._read(datastore))
        facts = {"version": spacecast.__version__, "model": model_hash(model), "spec": spec_hash(spec.to_dict())}
        return {**asdict(self), **facts, "data": data, "starts": starts}

    def _read(self, datastore: Datastore) -> Iterator[np.ndarray]:
        """All numbers that the forecast takes from data which have no hash of their own."""
        driven = datastore.spec.driven if self.boundary == "data" else None
        for start in self.starts:
            yield datastore.read_state(start.run, WHOLE, start.frame - 1, start.frame + 1)
            for first in range(start.frame + 1, start.frame + 1 + self.steps, FRAMES):
                last = min(first + FRAMES, start.frame + 1 + self.steps)
                if driven is not None:
                    yield datastore.read_state(start.run, WHOLE, first, last)[:, driven]
                if len(datastore.spec.forcing):
                    yield datastore.read_forcing(start.run, WHOLE, first, last)


def identity(described: Mapping[str, Any]) -> str:
    """Hash of a request."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def hashed(arrays: Iterable[np.ndarray]) -> str:
    """Hash of the numbers of some arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def model_hash(model: nn.Module) -> str:
    """Hash of weights, buffers and plain settings of a model."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        settings = {
            key: value
            for key, value in sorted(vars(module).items())
            if not key.startswith("_") and key != "training" and isinstance(value, bool | int | float | str | None)
        }
        digest.update(repr((name, type(module).__qualname__, settings)).encode())
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def spec_hash(spec: Any) -> str:
    """Hash of a description of data, `DataSpec.to_dict`."""
    plain = json.dumps(spec, sort_keys=True, default=lambda array: hashed([np.asarray(array)]))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def in_order(starts: Sequence[Start]) -> tuple[Start, ...]:
    """Starts ascending in time, as a coordinate of a file must be."""
    return tuple(sorted(starts, key=lambda start: (start.time, start.run)))
