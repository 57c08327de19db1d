"""What an evaluation scores: which runs, which part of them, from which initial times, and how far ahead."""

from collections.abc import Sequence
from typing import NamedTuple

from spacecast.core.errors import UserError, nearest
from spacecast.core.protocols import Datastore
from spacecast.data.contract import forcing_reach, offers

AUTO = "auto"
MOST_STEPS = 100
"""Leads of an evaluation that is not told how many, where the runs are long enough."""


class Selection(NamedTuple):
    """Runs by name, their split, leads to forecast, and whether no training and no statistic has seen these runs."""

    runs: tuple[str, ...]
    split: str
    steps: int
    held_out: bool

    def __str__(self) -> str:
        """In words."""
        frames = "all frames" if self.split == "all" else f"split {self.split}"
        return f"run{'s' * (len(self.runs) > 1)} {', '.join(self.runs)}{' (held out)' * self.held_out}, {frames}"


def select(
    datastore: Datastore,
    runs: str | Sequence[str | int] | None,
    split: str | None,
    steps: int | None,
    windows: int | None,
) -> Selection:
    """What the keys of an evaluation mean for a data store.

    Args:
        datastore: the data.
        runs: as in `select_runs`; `auto`: those held out where there are some and no split is asked for, else those
            trained on.
        split: of the runs; None: all frames of runs that are held out, and `test` of those that are trained on, or of
            a datastore that has no split `all`.
        steps: leads; None: as many as leave `windows` initial times in each run, up to `MOST_STEPS`.
        windows: initial times that are wanted; None: all.

    Raises:
        UserError: there are no such runs, or some of them are held out and some are not, and no split is given.

    """
    if runs == AUTO:
        runs = "holdout" if datastore.holdout_runs and split is None else "train"
    names = select_runs(datastore, runs)
    held = {name in datastore.holdout_runs for name in names}
    if split is None and len(held) > 1:
        raise UserError("evaluation.split=null: some of the runs are trained on, some held out; give test or all")
    whole = True in held and all(offers(datastore, name, "all") for name in names)
    part = split or ("all" if whole else "test")
    count = fitting_steps(datastore, names, part, windows) if steps is None else steps
    return Selection(names, part, count, held == {True})


def fitting_steps(datastore: Datastore, runs: Sequence[str], split: str, windows: int | None) -> int:
    """Most leads, up to `MOST_STEPS`, that leave so many initial times in each run; half of a run that is too short.

    Args:
        datastore: the data.
        runs: names of runs.
        split: of them.
        windows: initial times; None: all, which are as many as there are leads.

    """
    past, future = forcing_reach(datastore)
    frames = min(datastore.num_frames(run, split) for run in runs)
    room = frames - 1 - future - max(past - 2, 0)  # initial times of a forecast of no steps
    return max(1, min(MOST_STEPS, max(room - (windows or room), room // 2)))


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
            known = nearest(name, [*groups["all"], *groups, AUTO])
            raise UserError(f"evaluation.runs: the data store has no run {name!r}; {known}")
    return names
