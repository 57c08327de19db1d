"""How the frames of the training runs are kept, as `data.cache` says."""

import logging
from collections.abc import Sequence
from pathlib import Path

from spacecast.data.cache import FrameCache, FrameSource, gigabytes
from spacecast.data.packed import PackedFrames, categories
from spacecast.data.store import RunStore

log = logging.getLogger(__name__)


def frames_kept(root: Path, stores: Sequence[RunStore], memory: FrameCache, cache: str, number: str) -> FrameSource:
    """Where frames are read from; the log says in one line what was taken.

    Args:
        root: data folder.
        stores: the training runs.
        memory: keeps frames in memory.
        cache: `none`: each frame is decoded whenever it is asked for; `memory`: in memory, as far as it has room;
            `packed`: from decoded copies on disk, which are written now where they are not there; `auto`: `packed`
            where the copies are there, else `memory`: it writes nothing.
        number: of packed copies, `float32` or `float16`.

    Raises:
        UserError: copies cannot be written.

    """
    if cache == "none":
        memory.clear()
        return FrameCache(0)
    packed, size = PackedFrames(root, number), decoded_bytes(stores)
    if cache == "packed" or (cache == "auto" and packed.has(stores)):
        packed.write(stores)
        memory.clear()
        log.info("data.cache=packed: %s mapped from %s", gigabytes(packed.size(stores)), packed.folder)
        return packed
    if size <= memory.budget:
        log.info("data.cache=memory: %s of decoded frames", gigabytes(size))
    else:
        text = "data.cache=memory: %s of the %s of decoded frames; data.cache=packed writes all of them to %s, once"
        log.info(text, gigabytes(memory.budget), gigabytes(size), packed.folder)
    return memory


def decoded_bytes(stores: Sequence[RunStore]) -> int:
    """Bytes of all frames of some runs."""
    return sum(store.num_bytes(category) for store in stores for category in categories(store))
