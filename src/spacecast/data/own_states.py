"""Which windows a training on the model's own states takes: a pure function of seed, process and epoch."""

import numpy as np

from spacecast.core.types import OwnStates

CHUNK = 64  # trajectories of each place that are drawn at a time: part of what is drawn, so it must not change
FRESH = -1  # in place of a number of a place: none


def with_own_states(
    windows: np.ndarray, left: np.ndarray, plan: OwnStates, *, epoch: int, seed: int, rank: int
) -> np.ndarray:
    """Let some windows of an epoch make way for those that the places of a pool visit, one place after the other.

    Each place follows a trajectory: it begins with a random window, takes the next one of the same run at each visit,
    and ends after a random number of visits, log-uniform from 1 to `max_age`, or with the run.

    Args:
        windows: numbers of the windows of an epoch, shape (item,). All epochs must have as many: else trajectories
            break between them, and go on from true states.
        left: windows of the same run from each window on, itself included, shape (all windows,).
        plan: what the schedule says.
        epoch, seed, rank: of the training and of this process.

    Returns:
        Shape (item, 4): number of the window; of the place, -1 for none; age, visits that its trajectory has had
        before; 1 where the model may have the state before, else 0.

    """
    visits = round(len(windows) * (1 - plan.fresh))
    rows = np.stack([windows, *(np.full(len(windows), value) for value in (FRESH, 0, 1))], axis=1)
    chosen = np.random.default_rng((seed, epoch, rank)).permutation(len(windows))[:visits]
    number = (epoch - plan.since) * visits + np.arange(visits)
    place, turn = number % plan.size, number // plan.size
    starts, lengths, leads = _trajectories(left, plan, int(turn.max(initial=0)), np.random.default_rng((seed, rank)))
    ends = lengths.cumsum(axis=0)
    which = np.zeros(visits, dtype=int)
    for one in range(plan.size):
        which[place == one] = np.searchsorted(ends[:, one], turn[place == one], side="right")
    age = turn - (ends - lengths)[which, place]
    rows[np.sort(chosen)] = np.stack([starts[which, place] + age, place, age, age < leads[which, place]], axis=1)
    return rows


def _trajectories(
    left: np.ndarray, plan: OwnStates, turn: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First windows, lengths and leads with the state before of all trajectories up to a visit of the places.

    Each of shape (trajectory, place).
    """
    drawn: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    reached = np.zeros(plan.size, dtype=int)
    while not drawn or reached.min() <= turn:
        shape = (CHUNK, plan.size)
        starts = generator.integers(len(left), size=shape)
        ages = np.floor((plan.max_age + 1) ** generator.random(shape)).astype(int)
        with_previous, leads = generator.random(shape) < plan.previous, generator.integers(1, 4, size=shape)
        drawn.append((starts, np.minimum(ages, left[starts]), np.where(with_previous, leads, 0)))
        reached += drawn[-1][1].sum(axis=0)
    starts, lengths, leads = (np.concatenate(each) for each in zip(*drawn, strict=True))
    return starts, lengths, leads
