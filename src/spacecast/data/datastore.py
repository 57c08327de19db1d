"""A set of prepared runs as one source of training data."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError, nearest
from spacecast.core.grid import Grid
from spacecast.core.names import UNSEEN
from spacecast.core.ranges import NonNegativeFloat
from spacecast.core.regions import Bounds, boundary_nodes
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.data.cache import FrameCache, FrameSource
from spacecast.data.configs import find_runs, prepared_path
from spacecast.data.consistency import check_consistent
from spacecast.data.forcing import fold_window, window_names
from spacecast.data.keeping import frames_kept
from spacecast.data.packed import categories
from spacecast.data.statistics import Statistics, cached, floor_std, stream
from spacecast.data.store import RunStore
from spacecast.process.progress import ProgressCallback
from spacecast.storage.fingerprint import CACHE, KIND, combined
from spacecast.storage.folder import require_folder


class RunDatastore:
    """Reads prepared runs window by window; implements `core.protocols.Datastore`.

    Args:
        root: folder with `vlasiator_run_<run>.zarr`.
        runs: runs to train on, numbers or names; None takes all that lie in `root` and are not held out.
        holdout: runs that no training and no statistic sees. They keep their splits, so that `test` covers the same
            times as in the other runs; their split `all` is the whole run. A run of the name `unseen` is always one of
            them, unless `runs` names it.
        statistics: `pooled`: ours, over the training split of all training runs in equal weight per frame, nodes only;
            `stored`: those that mllam-data-prep stored in the first run of `runs`, which has no ranges.
        boundary: region whose true values drive the forecast, by bounds (`core.regions.nodes_within`), {x_min: 27} for
            example, or a list of such regions, or None.
        forcing_past, forcing_future: steps before and after each step whose forcing is handed over as well.
        cache_gb: memory for decoded frames; data that fit are decoded once.
        progress: called with (what, done, total) while statistics are computed.

    Every run offers the splits that its YAML defines, and `all`. Values are physical, float32, on nodes only.

    Raises:
        UserError: when data are missing, damaged or inconsistent.

    """

    def __init__(
        self,
        root: str | Path,
        runs: Sequence[int | str] | None = None,
        holdout: Sequence[int | str] = (),
        *,
        statistics: str = "pooled",
        boundary: Bounds | Sequence[Bounds] | None = None,
        forcing_past: int = 0,
        forcing_future: int = 0,
        cache_gb: NonNegativeFloat = 4.0,
        progress: ProgressCallback | None = None,
    ) -> None:
        if statistics not in ("pooled", "stored"):
            raise UserError(f"statistics {statistics!r} is unknown; {nearest(statistics, ('pooled', 'stored'))}")
        if min(forcing_past, forcing_future) < 0:
            raise UserError(
                f"forcing windows must not be negative, found past {forcing_past} and future {forcing_future}"
            )
        self.root = Path(root)
        require_folder(self.root, write=False)
        self.train_runs, self.holdout_runs = choose_runs(find_runs(self.root), runs, holdout, self.root)
        self._stores = {run: RunStore(prepared_path(self.root, run), run) for run in self.runs}
        check_consistent(list(self._stores.values()))
        self.forcing_past, self.forcing_future = (forcing_past, forcing_future) if self._has_forcing else (0, 0)
        self.cache = FrameCache(cache_gb)
        self._frames: FrameSource = self.cache  # of the training runs
        self._progress = progress
        self.spec = self._make_spec(statistics, boundary)

    @property
    def runs(self) -> tuple[str, ...]:
        """Training runs, then held-out runs; `Batch.window` counts in this order."""
        return (*self.train_runs, *self.holdout_runs)

    @property
    def grid(self) -> Grid:
        """The grid of all runs."""
        return self._first.grid

    @property
    def _first(self) -> RunStore:
        return self._stores[self.train_runs[0]]

    @property
    def _has_forcing(self) -> bool:
        return bool(self._first.names.get("forcing"))

    def store(self, run: int | str) -> RunStore:
        """The store of one run."""
        if str(run) not in self._stores:
            raise UserError(f"run {str(run)!r} is not loaded; {nearest(str(run), self.runs)}")
        return self._stores[str(run)]

    def split_range(self, run: int | str, split: str) -> tuple[int, int]:
        """Frames [start, stop) of the run that make up a split."""
        return self.store(run).split(split)

    def num_frames(self, run: int | str, split: str) -> int:
        """Frames of one run in a split."""
        start, stop = self.split_range(run, split)
        return stop - start

    def times(self, run: int | str, split: str) -> np.ndarray:
        """Time stamps of a split, datetime64[ns], shape (frame,)."""
        return self.store(run).times[slice(*self.split_range(run, split))]

    def read_state(self, run: int | str, split: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a split: (frame, node, state)."""
        first = self._offset(run, split, start, stop)
        return self._read(run, "state", first + start, first + stop)

    def read_forcing(self, run: int | str, split: str, start: int, stop: int) -> np.ndarray:
        """Forcing of frames [start, stop), window folded into the last axis (variable slow, time fast).

        Returns:
            Shape (frame, node, variable * (past + 1 + future)); without forcing the last axis is empty.

        """
        past, future = self.forcing_past, self.forcing_future
        first = self._offset(run, split, start - past, stop + future)
        if not self._has_forcing:
            return np.zeros((stop - start, self.grid.num_nodes, 0), dtype=np.float32)
        frames = self._read(run, "forcing", first + start - past, first + stop + future)
        return fold_window(frames, past, future)

    def _read(self, run: int | str, category: str, start: int, stop: int) -> np.ndarray:
        source = self._frames if str(run) in self.train_runs else self.cache
        return source.read(self.store(run), category, start, stop)

    def keeping(self, cache: str, number: str = "float32") -> "RunDatastore":
        """The same data, the frames of the training runs kept in a certain way; see `keeping.frames_kept`."""
        other = copy.copy(self)
        stores = [self._stores[run] for run in self.train_runs]
        other._frames = frames_kept(self.root, stores, self.cache, cache, number)
        return other

    def warm_up(self, split: str) -> None:  # noqa: ARG002  (a run is kept as a whole)
        """Set memory for the training runs aside, which processes that are forked later fill and read together."""
        if isinstance(self._frames, FrameCache):
            for store in (self._stores[run] for run in self.train_runs):
                for category in categories(store):
                    self._frames.reserve(store, category)

    def share_memory(self, workers: int) -> None:
        """Divide the memory that is left for further frames by the number of workers."""
        self.cache.budget = self.cache.used + max(self.cache.budget - self.cache.used, 0) // workers

    def _offset(self, run: int | str, split: str, start: int, stop: int) -> int:
        """First frame of a split, once the requested frames are known to lie inside."""
        first, last = self.split_range(run, split)
        if not 0 <= start <= stop <= last - first:
            raise IndexError(f"frames {start} to {stop} of run {run}, split {split}, which has {last - first}")
        return first

    def _make_spec(self, statistics: str, boundary: Bounds | Sequence[Bounds] | None) -> DataSpec:
        """Everything models may know of the data."""
        first = self._first
        stats = {c: _stored(first, c) for c in first.names} if statistics == "stored" else self._pooled()
        specs = {}
        for category, names in first.names.items():
            found = stats[category]
            std = floor_std(found.std, found.mean, names, f"{category} variable")
            specs[category] = FeatureSpec(names, first.units[category], found.mean, std)
        increments, scale = stats["state"], specs["state"].std
        diff_std = floor_std(increments.diff_std, scale, first.names["state"], "increment of", scale)
        return DataSpec(
            grid=self.grid,
            state=specs["state"],
            static=specs["static"],
            forcing=self._fold(specs["forcing"]) if self._has_forcing else FeatureSpec.empty(),
            diff_mean=increments.diff_mean.astype(np.float32),
            diff_std=diff_std.astype(np.float32),
            static_values=first.static_values,
            boundary=boundary_nodes(self.grid, boundary),
            step_seconds=first.step_seconds,
            data_hash=combined(KIND, [(run, store.content_hash) for run, store in self._hashed()]),
            lower=increments.lower,
            upper=increments.upper,
        )

    def _hashed(self) -> list[tuple[str, RunStore]]:
        """What the data are told by: all runs but the one that is simulated for tests alone and may come later."""
        return [(run, store) for run, store in self._stores.items() if run in self.train_runs or run != UNSEEN]

    def _fold(self, spec: FeatureSpec) -> FeatureSpec:
        """Forcing variables with their window: n[-1], n[0], n[+1]."""
        size = self.forcing_past + 1 + self.forcing_future
        names = window_names(spec.names, self.forcing_past, self.forcing_future)
        units = tuple(unit for unit in spec.units for _ in range(size))
        return FeatureSpec(names, units, np.repeat(spec.mean, size), np.repeat(spec.std, size))

    def _pooled(self) -> dict[str, Statistics]:
        """Our statistics over the training split of the training runs."""
        first = self._first

        def frames(run: str, category: str) -> Iterator[np.ndarray]:
            store = self._stores[run]
            start, stop = store.split("train")
            step = store.frames_per_chunk(category)
            for begin in range(start, stop, step):
                yield from self.cache.read(store, category, begin, min(begin + step, stop))

        def compute() -> dict[str, Statistics]:
            total = sum(self.num_frames(run, "train") for run in self.train_runs)
            result = {}
            for category, names in first.names.items():
                if category != "static":
                    each = {run: frames(run, category) for run in self.train_runs}
                    result[category] = stream(each, names, total, self._progress, ranges=category == "state")
            values = first.static_values.astype(np.float64)
            zero = np.zeros(values.shape[1])
            return result | {"static": Statistics(values.mean(axis=0), values.std(axis=0), zero, zero)}

        for run in self.train_runs:
            self.split_range(run, "train")
        return cached(self.root / CACHE, [self._stores[run].content_hash for run in self.train_runs], compute)


def choose_runs(
    found: Sequence[str], runs: Sequence[int | str] | None, holdout: Sequence[int | str], root: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and held-out runs by name.

    Args:
        found: names of the runs in `root`.
        runs, holdout: as in `RunDatastore`.
        root: folder, for messages.

    Raises:
        UserError: none is left to train on, or a run is named twice.

    """
    held_out = tuple(str(run) for run in holdout)
    if UNSEEN in found and UNSEEN not in (*held_out, *map(str, runs or ())):
        held_out = (*held_out, UNSEEN)
    if runs is None:
        chosen = tuple(run for run in found if run not in held_out)
        if not chosen:
            raise UserError(
                f"{root} holds no prepared run to train on, found {', '.join(found) or 'none'}, "
                f"held out {', '.join(held_out) or 'none'}; run spacecast-data prepare"
            )
    else:
        chosen = tuple(str(run) for run in runs)
    if not chosen:
        raise UserError("datastore.runs is empty; name at least one run to train on")
    for name, group in (("runs", chosen), ("holdout", held_out)):
        if len(set(group)) < len(group):
            raise UserError(f"datastore.{name} names a run twice: {', '.join(group)}")
    both = sorted(set(chosen) & set(held_out))
    if both:
        raise UserError(
            f"run {', '.join(both)} is both trained on and held out; take it out of datastore.runs or datastore.holdout"
        )
    return chosen, held_out


def _stored(store: RunStore, category: str) -> Statistics:
    """The statistics that the data preparation stored; only the state has increments."""
    mean, std = store.statistic(category, "mean"), store.statistic(category, "std")
    if category != "state":
        return Statistics(mean, std, np.zeros_like(mean), np.zeros_like(std))
    return Statistics(mean, std, store.statistic(category, "diff_mean"), store.statistic(category, "diff_std"))
