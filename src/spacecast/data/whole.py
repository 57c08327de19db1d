"""The split `all` of a datastore that has none: the splits that it has, one after the other."""

from dataclasses import dataclass

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.data.contract import WHOLE, forcing_reach, offers, split_range
from spacecast.data.splits import SPLITS
from spacecast.storage.times import TOLERANCE


@dataclass(frozen=True)
class _Whole:
    """All frames of a run in time order, each of shape (frame,).

    Attributes:
        times: datetime64[ns].
        split: number in `SPLITS` of the split that a frame is read from.
        place: number of the frame in that split.
        piece: number of the piece without a gap that it lies in.

    """

    times: np.ndarray
    split: np.ndarray
    place: np.ndarray
    piece: np.ndarray


class WholeRuns:
    """A datastore with the split `all`, made of `train`, `val` and `test` in time order, each time once.

    Where these leave frames out, `all` has gaps: `unbroken` says which frames follow each other. Forcing that reaches
    beyond its step can be read within a split alone, so that each of them counts as a piece of its own then.

    Args:
        datastore: a datastore whose runs have no split `all`.

    """

    def __init__(self, datastore: Datastore) -> None:
        self._datastore, self.spec = datastore, datastore.spec
        self.train_runs, self.holdout_runs = datastore.train_runs, datastore.holdout_runs
        self.forcing_past, self.forcing_future = forcing_reach(datastore)
        self._wholes: dict[str, _Whole] = {}

    def num_frames(self, run: str, split: str) -> int:
        """Frames of one run in a split."""
        return len(self._whole(run).times) if split == WHOLE else self._datastore.num_frames(run, split)

    def times(self, run: str, split: str) -> np.ndarray:
        """Time stamps of a split, datetime64[ns], shape (frame,)."""
        return self._whole(run).times if split == WHOLE else self._datastore.times(run, split)

    def split_range(self, run: str, split: str) -> tuple[int, int]:
        """Frames [start, stop) that a split counts as; those of a split other than `all` are as the datastore says."""
        return (0, self.num_frames(run, split)) if split == WHOLE else split_range(self._datastore, run, split)

    def unbroken(self, run: str, frame: int) -> tuple[int, int]:
        """Frames [start, stop) of `all` around one of them that follow each other without a gap."""
        piece = self._whole(run).piece
        return int(np.searchsorted(piece, piece[frame])), int(np.searchsorted(piece, piece[frame], side="right"))

    def read_state(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a split: (frame, node, state)."""
        return self._read("read_state", run, split, start, stop)

    def read_forcing(self, run: str, split: str, start: int, stop: int) -> np.ndarray:
        """Forcing of frames [start, stop), window folded into the last axis: (frame, node, forcing)."""
        return self._read("read_forcing", run, split, start, stop)

    def _read(self, method: str, run: str, split: str, start: int, stop: int) -> np.ndarray:
        read = getattr(self._datastore, method)
        if split != WHOLE:
            values: np.ndarray = read(run, split, start, stop)
            return values
        whole = self._whole(run)
        if not 0 <= start < stop <= len(whole.times):
            raise IndexError(f"frames {start} to {stop} of run {run}, which has {len(whole.times)}")
        split_of, place = whole.split[start:stop], whole.place[start:stop]
        cuts = np.flatnonzero((np.diff(split_of) != 0) | (np.diff(place) != 1)) + 1
        parts = zip(np.split(split_of, cuts), np.split(place, cuts), strict=True)
        return np.concatenate([read(run, SPLITS[one[0]], int(at[0]), int(at[-1]) + 1) for one, at in parts])

    def _whole(self, run: str) -> _Whole:
        """The frames of a run, put together at first use.

        Raises:
            UserError: it has none.

        """
        if run not in self._wholes:
            self._wholes[run] = self._put_together(run)
        return self._wholes[run]

    def _put_together(self, run: str) -> _Whole:
        parts = [
            (np.asarray(self._datastore.times(run, name)), number)
            for number, name in enumerate(SPLITS)
            if offers(self._datastore, run, name)
        ]
        if not parts:
            raise UserError(f"run {run} has no frame in {', '.join(SPLITS)}")
        times = np.concatenate([each for each, _ in parts])
        split = np.concatenate([np.full(len(each), number) for each, number in parts])
        place = np.concatenate([np.arange(len(each)) for each, _ in parts])
        _, first = np.unique(times, return_index=True)  # in time order; of two frames of one time the earlier split's
        times, split, place = times[first], split[first], place[first]
        steps = np.diff(times) / np.timedelta64(1, "ns") / (1e9 * self.spec.step_seconds)
        breaks = np.abs(steps - 1) > TOLERANCE
        if (self.forcing_past, self.forcing_future) != (0, 0) and len(self.spec.forcing):
            breaks |= np.diff(split) != 0
        return _Whole(times, split, place, np.concatenate([[0], np.cumsum(breaks)]))
