"""Frames in memory: each is decoded at most once while the budget lasts."""

from collections import OrderedDict
from typing import Any

import numpy as np

from spacecast.data.store import RunStore


class FrameCache:
    """Keeps decoded frames of any number of runs; the least recently used go first.

    Args:
        gigabytes: memory budget. Data that fit are decoded exactly once, 0 keeps nothing.

    """

    def __init__(self, gigabytes: float) -> None:
        self.budget = int(gigabytes * 1e9)
        self.used = 0
        self._frames: OrderedDict[tuple[str, str, int], np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"budget": self.budget, "used": 0, "_frames": OrderedDict()}

    def read(self, store: RunStore, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a run as a fresh array, shape (frame, node, variable)."""
        found: dict[int, np.ndarray] = {}
        for number in range(start, stop):
            key = (store.name, category, number)
            if key in self._frames:
                found[number] = self._frames[key]
                self._frames.move_to_end(key)
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
        frame_bytes = 4 * store.order.size * len(store.names[category])
        first, last = start // chunk * chunk, min(-(-stop // chunk) * chunk, store.num_frames)
        if (last - first) * frame_bytes <= self.budget // 2:
            start, stop = first, last
        loaded = dict(zip(range(start, stop), store.read(category, start, stop), strict=True))
        if frame_bytes <= self.budget:
            for number, frame in loaded.items():
                self._keep((store.name, category, number), frame.copy())
        return loaded

    def _keep(self, key: tuple[str, str, int], frame: np.ndarray) -> None:
        """Store a frame and drop the oldest ones beyond the budget."""
        if key in self._frames:
            return
        self._frames[key] = frame
        self.used += frame.nbytes
        while self.used > self.budget:
            _, old = self._frames.popitem(last=False)
            self.used -= old.nbytes
