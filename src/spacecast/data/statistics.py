"""Mean, standard deviation and range over runs, streamed; sums in float64."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError
from spacecast.process.files import atomic_write
from spacecast.process.progress import ProgressCallback
from spacecast.storage.folder import writable

logger = logging.getLogger(__name__)
VERSION = 3  # of the numbers in the cache
BLOCK = 8192  # rows that stay in the processor's cache


class Moments:
    """Streamed mean and variance of each variable: float64 sums about a shift, so that large means cost no digits."""

    def __init__(self) -> None:
        self.count = 0
        self._shift = self._sum = self._squares = np.zeros(0)

    def update(self, values: np.ndarray) -> None:
        """Add values of shape (..., variable)."""
        rows = values.reshape(-1, values.shape[-1])
        if self.count == 0:
            self._shift = rows.mean(axis=0, dtype=np.float64)
            self._sum, self._squares = np.zeros_like(self._shift), np.zeros_like(self._shift)
        self.count += len(rows)
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK] - self._shift
            self._sum = self._sum + block.sum(axis=0)
            self._squares = self._squares + np.einsum("nv,nv->v", block, block)

    @property
    def mean(self) -> np.ndarray:
        """Mean of each variable, float64."""
        return self._shift + self._sum / self.count

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation of each variable, float64."""
        return np.sqrt(np.maximum(self._squares / self.count - (self._sum / self.count) ** 2, 0.0))

    def merge(self, other: "Moments") -> None:
        """Add what another one has seen (Chan, Golub and LeVeque 1983)."""
        if self.count == 0 or other.count == 0:
            if other.count:
                self.__dict__.update(other.__dict__)
            return
        offset = other._shift - self._shift
        self._squares = self._squares + other._squares + 2 * offset * other._sum + other.count * offset**2
        self._sum = self._sum + other._sum + other.count * offset
        self.count += other.count


@dataclass(frozen=True)
class Statistics:
    """Statistics of one category, float64, each of shape (variable,); increments are one-step differences.

    `lower` and `upper`, the least and the greatest value at each node, are of the type of the frames and of shape
    (node, variable); None where they are not known.
    """

    mean: np.ndarray
    std: np.ndarray
    diff_mean: np.ndarray
    diff_std: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None


def stream(
    frames: Mapping[str, Iterable[np.ndarray]],
    names: Sequence[str],
    total: int,
    progress: ProgressCallback | None = None,
    *,
    ranges: bool = False,
) -> Statistics:
    """Pooled statistics of several runs; increments are taken within each run.

    Args:
        frames: consecutive frames of each run, each of shape (node, variable).
        names: variable names, for the error.
        total: number of frames over all runs, for the progress.
        progress: called with ("statistics", frames done, total).
        ranges: whether the least and the greatest value at each node are wanted as well.

    Raises:
        UserError: when one run's scale is off from the others' by so much that its units must differ.

    """
    values, increments, per_run, done = Moments(), Moments(), {}, 0
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    for run, sequence in frames.items():
        own, previous = Moments(), None
        for frame in sequence:
            own.update(frame)
            if previous is not None:
                increments.update(frame - previous)
            previous = frame
            if ranges:
                lower = frame.copy() if lower is None else np.minimum(lower, frame, out=lower)
                upper = frame.copy() if upper is None else np.maximum(upper, frame, out=upper)
            done += 1
            if progress is not None:
                progress("statistics", done, total)
        per_run[run] = np.sqrt(own.mean**2 + own.std**2)
        values.merge(own)
    check_scales(per_run, names)
    zero = np.zeros(len(names))
    moved = increments.count > 0
    diff_mean, diff_std = (increments.mean, increments.std) if moved else (zero, zero)
    return Statistics(values.mean, values.std, diff_mean, diff_std, lower, upper)


def check_scales(rms: Mapping[str, np.ndarray], names: Sequence[str], factor: float = 300.0) -> None:
    """Raise a UserError when a variable's rms in one run is far from its median over the runs: the units differ."""
    if len(rms) < 2:
        return
    table = np.stack(list(rms.values()))
    middle = np.median(table, axis=0)
    for run, row in rms.items():
        positive = (row > 0) & (middle > 0)
        off = np.where(positive, np.abs(np.log(np.where(positive, row / np.where(positive, middle, 1), 1))), 0)
        if off.max(initial=0) > np.log(factor):
            worst = int(np.argmax(off))
            raise UserError(
                f"run {run}: {names[worst]} has rms {row[worst]:.3g} but {middle[worst]:.3g} over the runs; "
                "its units differ, convert it and prepare again"
            )


def floor_std(
    std: np.ndarray, scale: np.ndarray, names: Sequence[str], what: str, replacement: np.ndarray | None = None
) -> np.ndarray:
    """Replace a vanishing standard deviation, by which nothing can be divided.

    Args:
        std: standard deviations, shape (variable,).
        scale: magnitude of each variable; a std below 1e-6 of it is round-off.
        names: variable names, for the log.
        what: what the std belongs to, for the log.
        replacement: value to put in its place, shape (variable,); None: the magnitude itself, 1 where that is 0.

    """
    vanishing = ~(std > 1e-6 * np.abs(scale))
    if vanishing.any():
        logger.warning(
            "constant %s: %s; scaled by %s",
            what,
            ", ".join(np.asarray(names)[vanishing]),
            "the standard deviation of the field" if replacement is not None else "its size",
        )
    if replacement is None:
        replacement = np.where(scale == 0, 1.0, np.abs(scale))
    return np.where(vanishing, replacement, std)


def cached(folder: Path, key: Sequence[str], compute: Callable[[], dict[str, Statistics]]) -> dict[str, Statistics]:
    """Statistics by category from `folder`, or computed and stored there when it can be written to.

    Args:
        folder: where the cache lies.
        key: everything that the statistics depend on.
        compute: called when the cache has none.

    """
    digest = hashlib.sha256(repr((VERSION, *key)).encode()).hexdigest()[:16]
    path = folder / f"statistics-{digest}.npz"
    try:
        with np.load(path) as stored:
            found: dict[str, dict[str, np.ndarray]] = {}
            for name in stored.files:
                category, _, statistic = name.partition("/")
                found.setdefault(category, {})[statistic] = stored[name]
            return {category: Statistics(**values) for category, values in found.items()}
    except (OSError, ValueError, TypeError, EOFError):
        pass
    result = compute()
    if not writable(folder.parent):
        return result
    every = {f"{c}/{s}": getattr(result[c], s) for c in result for s in Statistics.__dataclass_fields__}
    arrays = {name: values for name, values in every.items() if values is not None}
    try:
        folder.mkdir(exist_ok=True)
        with atomic_write(path) as partial:
            np.savez(partial, **arrays)
    except OSError as error:
        logger.info("statistics are not cached: %s", error)
    return result
