"""Time of reading windows of frames in random order: each way of keeping them, beside a copy of as much memory.

Usage: python scripts/bench/windows.py DATA_FOLDER [--steps 4] [--windows 40]

DATA_FOLDER holds prepared runs. What counts is the time of a processor, all threads of this process together. `epoch 1`
has nothing decoded yet, `epoch 2` what the way has kept; `packed` writes its files before, if they are not there.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spacecast.core.types import Batch
from spacecast.data.datamodule import as_batch
from spacecast.data.datastore import RunDatastore
from spacecast.data.store import RunStore
from spacecast.data.windows import WindowDataset
from spacecast.process.memory import keep_memory

WAYS = (("none", "float32"), ("memory", "float32"), ("packed", "float32"), ("packed", "float16"))


class Reader(NamedTuple):
    """Reads batches of one window of the training split, the next of a random order at each call.

    read: reads one.
    size: bytes of a batch.
    windows: of an epoch.
    """

    read: Callable[[], Batch]
    size: int
    windows: int


def reader(folder: Path, cache: str, number: str = "float32", steps: int = 4, windows: int | None = None) -> Reader:
    """Windows of the first run of a folder of prepared data, frames kept as `data.cache` and `data.packed` say."""
    opened = RunDatastore(folder, statistics="stored")
    data = WindowDataset(opened.keeping(cache, number), opened.train_runs[:1], "train", steps, windows)
    order = itertools.cycle(np.random.default_rng(0).permutation(len(data)).tolist())
    size = 4 * opened.grid.num_nodes * len(opened.spec.state) * (2 + steps)
    return Reader(lambda: as_batch([data[next(order)]]), size, len(data))


def milliseconds(action: Callable[[], object], times: int) -> float:
    """Time of a processor for one action [ms], the mean over some."""
    start = time.process_time()
    for _ in range(times):
        action()
    return 1e3 * (time.process_time() - start) / times


class Counted:
    """Counts the frames that are decoded."""

    def __init__(self) -> None:
        self.frames, self._read = 0, RunStore.read
        counted = self

        def read(store: RunStore, category: str, start: int, stop: int, *, check: bool = True) -> np.ndarray:
            counted.frames += stop - start
            return counted._read(store, category, start, stop, check=check)

        RunStore.read = read  # type: ignore[method-assign]


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--windows", type=int, default=None, help="of the run; all unless it is given")
    options = parser.parse_args()
    keep_memory()
    decoded = Counted()
    print("data.cache  numbers   ms in epoch 1  ms in epoch 2  ms of a copy  over it  decoded in epochs 1, 2")
    for cache, number in WAYS:
        made = reader(options.folder, cache, number, options.steps, options.windows)
        source = np.ones(made.size // 4, dtype=np.float32)
        copies = [milliseconds(source.copy, 5) for _ in range(5)]
        found, counts = [], []
        for _ in range(2):
            decoded.frames = 0
            found.append(milliseconds(made.read, made.windows))
            counts.append(decoded.frames)
        copy = statistics.median(copies)
        ratio = f"{found[0]:13.1f}  {found[1]:13.1f}  {copy:12.1f}  {found[1] / copy:7.1f}"
        print(f"{cache:10}  {number:8}  {ratio}  {counts[0]}, {counts[1]} of {made.windows} windows", flush=True)


if __name__ == "__main__":
    main()
