"""Windows of consecutive frames: two initial states and K targets."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.core.types import Batch
from spacecast.data.contract import forcing_reach, split_range


def window_starts(num_frames: int, steps: int, past: int = 0, future: int = 0) -> range:
    """First frames of all windows of 2 + `steps` frames in a split.

    Args:
        num_frames: frames of the split.
        steps: roll-out steps, that is target frames per window.
        past, future: forcing steps needed before the first and after the last target.

    """
    return range(max(past - 2, 0), max(num_frames - steps - 1 - future, 0))


def chosen_starts(starts: Sequence[int], limit: int | None, *, spread: bool) -> list[int]:
    """Some of the starts, the first ones or such as lie evenly from the first to the last; None: all of them."""
    if limit is None or limit >= len(starts) or not spread:
        return list(starts[:limit])
    places = np.linspace(0, len(starts) - 1, limit).round().astype(int)
    return [starts[place] for place in places.tolist()]


class WindowDataset(Dataset[Batch]):
    """All windows of a split, run after run in time order; every window has all its targets.

    Args:
        datastore: the source.
        runs: runs to take windows from.
        split: `train`, `val`, `test` or `all`.
        steps: roll-out steps K.
        limit: take only `limit` initial times of each run.
        spread: whether these are spread evenly from the first to the last, instead of the first ones.

    An item is a `Batch` without its batch axis, physical units, float32: initial (2, node, state), target
    (K, node, state), forcing (K, node, forcing), window (2,): number of the run, training runs before held-out ones,
    and of the window's first frame in that run (`contract.split_range`). Where the number of a window comes with more
    numbers, as in a training on own states (`own_states.with_own_states`), these follow in `window`.

    Attributes:
        counts: windows of each run.
        numbers: of the runs by name, as in `window`.

    Raises:
        UserError: when the split of a run is too short for one window.

    """

    def __init__(
        self,
        datastore: Datastore,
        runs: Sequence[int | str],
        split: str,
        steps: int,
        limit: int | None = None,
        *,
        spread: bool = False,
    ) -> None:
        if steps < 1:
            raise UserError(f"a roll-out needs at least 1 step, found {steps}")
        if limit is not None and limit < 1:
            raise UserError(f"the number of windows must be at least 1 or null, found {limit}")
        self.datastore, self.split, self.steps = datastore, split, steps
        past, future = forcing_reach(datastore)
        everything = (*datastore.train_runs, *datastore.holdout_runs)
        self.numbers = {run: number for number, run in enumerate(everything) if run in set(map(str, runs))}
        self._index: list[tuple[str, int]] = []
        self.counts: list[int] = []  # windows of each run
        for run in map(str, runs):
            frames = datastore.num_frames(run, split)
            starts = chosen_starts(window_starts(frames, steps, past, future), limit, spread=spread)
            if not starts:
                longest = frames - 2 - future - max(past - 2, 0)
                advice = f"take at most {longest} steps or enlarge the split" if longest > 0 else "enlarge the split"
                raise UserError(
                    f"split {split!r} of run {run} has {frames} frames, "
                    f"a roll-out of {steps} steps needs {frames - longest + steps}; {advice}"
                )
            self._index += [(run, start) for start in starts]
            self.counts.append(len(starts))

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, item: int | Sequence[int]) -> Batch:
        item, *visit = item if isinstance(item, Sequence) else (item,)
        run, start = self._index[item]
        data = self.datastore
        states = torch.from_numpy(data.read_state(run, self.split, start, start + 2 + self.steps))
        forcing = torch.from_numpy(data.read_forcing(run, self.split, start + 2, start + 2 + self.steps))
        return Batch(states[:2], states[2:], forcing, torch.tensor([*self.place(item), *visit]))

    def place(self, item: int) -> tuple[int, int]:
        """Number of the run of a window, and of the window's first frame in that run."""
        run, start = self._index[item]
        return self.numbers[run], split_range(self.datastore, run, self.split)[0] + start

    def run(self, item: int) -> str:
        """Name of the run of a window."""
        return self._index[item][0]

    def initial_time(self, item: int) -> np.datetime64:
        """Time of the second initial state of a window, from which leads are counted."""
        run, start = self._index[item]
        return self.datastore.times(run, self.split)[start + 1]
