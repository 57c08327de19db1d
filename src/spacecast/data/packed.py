"""Decoded frames on disk: contiguous copies of prepared runs beside them, mapped into memory."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacecast.core.errors import UserError
from spacecast.data.cache import gigabytes
from spacecast.data.store import RunStore
from spacecast.process.files import atomic_write, remove_leftovers, sync_file
from spacecast.process.lock import exclusive
from spacecast.storage.fingerprint import CACHE
from spacecast.storage.folder import writable

log = logging.getLogger(__name__)
FOLDER = "packed"  # in the folder of caches beside the data
VERSION = 1  # of the files
LOCK = ".lock"
LARGEST = 15  # scaled values are less than 2 ** 15; float16 ends at 65504
Pack = Callable[[np.ndarray], np.ndarray]


class PackedFrames:
    """Frames of prepared runs out of files of decoded ones, which are written first where they are not there.

    A file holds all frames of a category of one run, nodes only, frame after frame. Its name has the hash of the data:
    one of data that have changed since is removed. It appears as a whole, and of several processes one writes it.

    Args:
        root: data folder.
        number: `float32`, or `float16`: half of the space, each value within 2^-11 of itself (0.05 %) or, if that is
            more, 2^-39 of the largest of its variable in its frame.

    Raises:
        UserError: the folder cannot be written to, or the disk has not enough space.

    """

    def __init__(self, root: Path, number: str = "float32") -> None:
        self.root, self.folder, self.number = root, root / CACHE / FOLDER, number
        self._maps: dict[tuple[str, str], np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # a mapped array would be copied

    def path(self, store: RunStore, category: str) -> Path:
        """The file of a run."""
        return self.folder / f"{store.path.name}-{category}-{self.number}-{VERSION}-{store.content_hash}.npy"

    def has(self, stores: Sequence[RunStore]) -> bool:
        """Whether all files of some runs are there."""
        return all(self._open(store, category) is not None for store in stores for category in categories(store))

    def size(self, stores: Sequence[RunStore]) -> int:
        """Bytes of the files of some runs."""
        return sum(self._size(store, category) for store in stores for category in categories(store))

    def write(self, stores: Sequence[RunStore]) -> None:
        """Write what is not there yet, and remove what is of data that have changed."""
        if self.has(stores):
            return
        if not writable(self.root):
            raise UserError(
                f"data.cache=packed: data folder {self.root} cannot be written to; change its permissions or take "
                "data.cache=memory"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with exclusive(self.folder / LOCK, f"the folder of packed frames {self.folder}") as alone:
                if alone:
                    remove_leftovers(self.folder, "*.npy")
                    self._remove_stale(stores)
                todo = [(s, c) for s in stores for c in categories(s) if self._open(s, c) is None]
                self._check_space(sum(self._size(store, category) for store, category in todo))
                for store, category in todo:
                    self._write(store, category)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            way = "free some space or take data.cache=memory" if full else "take data.cache=memory"
            raise UserError(f"data.cache=packed: cannot write {self.folder}: {error.strerror}; {way}") from error

    def read(self, store: RunStore, category: str, start: int, stop: int) -> np.ndarray:
        """Frames [start, stop) of a run that is packed, as a fresh array, shape (frame, node, variable), float32."""
        frames = self._open(store, category)
        if frames is None:
            raise UserError(f"data.cache=packed: {self.path(store, category)} is gone; start again")
        copied = np.array(frames[start:stop])
        return unpack_half(copied) if self.number == "float16" else copied

    def _open(self, store: RunStore, category: str) -> np.ndarray | None:
        """A file as an array in memory that is read as it is used; None where it is not there or not whole."""
        key = (store.name, category)
        if key not in self._maps:
            try:
                frames = np.load(self.path(store, category), mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                return None
            if frames.dtype != self._type(store, category) or frames.shape != self._shape(store, category):
                return None
            self._maps[key] = frames
        return self._maps[key]

    def _type(self, store: RunStore, category: str) -> np.dtype:
        """Of the elements of a file: numbers, or frames with the scales of their variables."""
        if self.number == "float32":
            return np.dtype("<f4")
        width = len(store.names[category])
        return np.dtype([("scale", "<f4", (width,)), ("values", "<f2", (store.order.size, width))])

    def _shape(self, store: RunStore, category: str) -> tuple[int, ...]:
        width = (store.order.size, len(store.names[category]))
        return (store.num_frames, *width) if self.number == "float32" else (store.num_frames,)

    def _size(self, store: RunStore, category: str) -> int:
        return int(np.prod(self._shape(store, category))) * self._type(store, category).itemsize

    def _write(self, store: RunStore, category: str) -> None:
        """Write one file, on all cores, in memory for one chunk of frames each."""
        path, kind = self.path(store, category), self._type(store, category)
        size, step = self._size(store, category), store.frames_per_chunk(category)
        log.info("data.cache=packed: writing %s of %s of %s to %s", gigabytes(size), category, store.label, self.folder)
        with atomic_write(path) as partial_path:
            with partial_path.open("wb") as file:
                facts = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False}
                np.lib.format.write_array_header_2_0(file, {**facts, "shape": self._shape(store, category)})
                offset = file.tell()
            pack: Pack = partial(pack_half, kind=kind) if self.number == "float16" else np.ascontiguousarray
            place = partial(_place, partial_path, store, category, pack=pack, offset=offset, step=step)
            pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
            try:
                for _ in pool.map(place, range(0, store.num_frames, step)):
                    pass
            finally:
                pool.shutdown(cancel_futures=True)
            sync_file(partial_path)

    def _remove_stale(self, stores: Sequence[RunStore]) -> None:
        """Remove files of these runs that are of other data."""
        for store in stores:
            for path in self.folder.glob(f"{store.path.name}-*.npy"):
                if not path.stem.endswith(f"-{VERSION}-{store.content_hash}"):
                    log.info("data.cache=packed: removing %s, the data have changed since", path)
                    path.unlink(missing_ok=True)

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            half = " or data.packed=float16" if self.number == "float32" else ""
            raise UserError(
                f"data.cache=packed: {gigabytes(needed)} are needed in {self.folder}, {gigabytes(free)} are free; "
                f"free some space, or take data.cache=memory{half}"
            )


def categories(store: RunStore) -> list[str]:
    """Categories of a run that have frames."""
    return [category for category in ("state", "forcing") if store.names.get(category)]


def _place(path: Path, store: RunStore, category: str, start: int, *, pack: Pack, offset: int, step: int) -> None:
    """Write a chunk of frames where it belongs in a file; `offset` is where its first frame does."""
    frames = pack(store.read(category, start, min(start + step, store.num_frames)))
    with path.open("r+b") as file:
        file.seek(offset + start * (frames.nbytes // len(frames)))
        file.write(frames.data if frames.dtype.names is None else frames.tobytes())


def pack_half(frames: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Frames (frame, node, variable) in half precision: values over a power of two, one for each frame and variable."""
    packed = np.empty(len(frames), dtype=kind)
    _, exponent = np.frexp(np.abs(frames).max(axis=1))
    packed["scale"] = np.ldexp(np.float32(1), np.maximum(exponent - LARGEST, -126))
    packed["values"] = frames / packed["scale"][:, None, :]
    return packed


def unpack_half(packed: np.ndarray) -> np.ndarray:
    """The inverse of `pack_half`, float32."""
    frames = np.empty(packed["values"].shape, dtype=np.float32)
    torch.from_numpy(frames).copy_(torch.from_numpy(packed["values"]))  # several times as fast as numpy
    frames *= packed["scale"][:, None, :]
    return frames
