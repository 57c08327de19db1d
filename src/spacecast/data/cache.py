"""Frames in memory: each is decoded at most once while the budget lasts."""

import mmap
from collections import OrderedDict
from typing import Any, NamedTuple, Protocol

import numpy as np

from spacecast.data.store import RunStore
from spacecast.process.memory import free_memory

SHARE = 0.5  # of the memory that is free when data are opened, at most
Key = tuple[str, str]
"""Run and category."""


def gigabytes(size: float) -> str:
    """A number of bytes in words."""
    return f"{size / 1e9:.3g} GB"


class FrameSource(Protocol):
    """Where the frames of prepared runs come from."""

    def read(self, store: RunStore, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a run as a fresh array, shape (frame, node, variable), float32."""


class Kept(NamedTuple):
    """A whole run in memory that forked processes share: its frames, and which of them have been decoded."""

    frames: np.ndarray
    there: np.ndarray


class FrameCache:
    """Keeps decoded frames of any number of runs.

    A run of which all frames fit is kept as a whole, in memory that this process shares with those forked from it: each
    frame is decoded once, by whoever asks first. Of other runs each process keeps the frames used last.

    Args:
        gigabytes: memory budget, and at most half of the memory that is free now. 0 keeps nothing.

    """

    def __init__(self, gigabytes: float) -> None:
        self.budget = min(int(gigabytes * 1e9), int(SHARE * free_memory()))
        self.used = 0
        self._runs: dict[Key, Kept] = {}
        self._frames: OrderedDict[tuple[str, str, int], np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"budget": self.budget, "used": 0, "_runs": {}, "_frames": OrderedDict()}

    def clear(self) -> None:
        """Keep nothing of what was read so far."""
        self.used = 0
        self._runs.clear()
        self._frames.clear()

    def reserve(self, store: RunStore, category: str) -> bool:
        """Whether a whole run is or can be kept; its memory is then shared with processes that are forked later."""
        key = (store.name, category)
        if key not in self._runs:
            size = store.num_bytes(category)
            if not 0 < size <= self.budget - self.used:
                return False
            shape = (store.num_frames, store.order.size, len(store.names[category]))
            try:
                frames = np.frombuffer(mmap.mmap(-1, size), np.float32).reshape(shape)
            except OSError:  # the system promises no more than it has
                return False
            self._runs[key] = Kept(frames, np.frombuffer(mmap.mmap(-1, store.num_frames), np.bool_))
            self.used += size
        return True

    def read(self, store: RunStore, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a run as a fresh array, shape (frame, node, variable)."""
        if not self.reserve(store, category):
            return self._read_last(store, category, start, stop)
        kept = self._runs[store.name, category]
        if not kept.there[start:stop].all():
            chunk = store.frames_per_chunk(category)
            for first in range(start // chunk * chunk, stop, chunk):
                last = min(first + chunk, store.num_frames)
                if not kept.there[first:last].all():
                    kept.frames[first:last] = store.read(category, first, last)
                    kept.there[first:last] = True
        return kept.frames[start:stop].copy()

    def _read_last(self, store: RunStore, category: str, start: int, stop: int) -> np.ndarray:
        """Frames of a run that does not fit as a whole."""
        found: dict[int, np.ndarray] = {}
        for number in range(start, stop):
            key = (store.name, category, number)
            if key in self._frames:
                found[number] = self._frames[key]
                self._frames.move_to_end(key)
        if not self.budget and not found:
            return store.read(category, start, stop)
        number = start
        while number < stop:
            if number in found:
                number += 1
                continue
            end = next((n for n in range(number, stop) if n in found), stop)
            found |= self._load(store, category, number, end)
            number = end
        return np.stack([found[number] for number in range(start, stop)])

    def _load(self, store: RunStore, category: str, start: int, stop: int) -> dict[int, np.ndarray]:
        """Decode a gap, widened to whole chunks where they fit: a chunk is decoded as a whole anyway."""
        chunk = store.frames_per_chunk(category)
        frame_bytes, left = store.num_bytes(category) // store.num_frames, self.budget - self._kept
        first, last = start // chunk * chunk, min(-(-stop // chunk) * chunk, store.num_frames)
        if (last - first) * frame_bytes <= left // 2:
            start, stop = first, last
        loaded = dict(zip(range(start, stop), store.read(category, start, stop), strict=True))
        if frame_bytes <= left:
            for number, frame in loaded.items():
                self._keep((store.name, category, number), frame.copy())
        return loaded

    @property
    def _kept(self) -> int:
        """Bytes of the runs that are kept as a whole."""
        return sum(kept.frames.nbytes for kept in self._runs.values())

    def _keep(self, key: tuple[str, str, int], frame: np.ndarray) -> None:
        """Store a frame and drop the oldest ones beyond the budget."""
        if key in self._frames:
            return
        self._frames[key] = frame
        self.used += frame.nbytes
        while self.used > self.budget:
            _, old = self._frames.popitem(last=False)
            self.used -= old.nbytes
