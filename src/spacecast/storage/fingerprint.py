"""What a zarr store on disk holds, as a hash of all its bytes, remembered beside the data until a file changes."""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from spacecast.core.errors import UserError
from spacecast.storage.folder import writable, write_text

CACHE = ".spacecast"  # folder beside the stores
KIND = "v2:"  # of the hash of a data set; those of different kinds cannot be compared
METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata")  # of format 2; other hidden files belong to nobody
SETTLED = 2.0  # seconds after which a further write changes the time of a file, on any file system
THREADS = 8


def content_hash(store: Path, root: Path | None = None) -> str:
    """Hash of every file of a store, names and bytes: any edit changes it, a copy elsewhere has the same.

    Left out are the attributes of the group, which say when and from what it was made, and hidden files. Reading all
    bytes takes one to three seconds per gigabyte, so the result is kept in `.spacecast` with names, sizes and times of
    all files, and computed again when one of them differs, or where that folder cannot be written to.

    Args:
        store: folder of the zarr store.
        root: data folder with `.spacecast`; None: the folder that the store lies in.

    """
    files, root = store_files(store), root or store.parent
    memory, now = root / CACHE / f"{store.name}.json", time.time()
    signature, newest = _signature(store, files)
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(memory.read_text(encoding="utf-8"))
        if stored["signature"] == signature:
            return str(stored["hash"])
    result = _hash(store, files)
    unchanged = _signature(store, store_files(store))[0] == signature
    if unchanged and now - newest > SETTLED and writable(root):
        with suppress(OSError, UserError):
            memory.parent.mkdir(exist_ok=True)
            write_text(memory, json.dumps({"signature": signature, "hash": result}))
    return result


def combined(kind: str, parts: Sequence[tuple[str, str]]) -> str:
    """One hash of several named ones; `kind` stands before it."""
    return kind + hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:16]


def same_kind(one: str, other: str) -> bool:
    """Whether two hashes of data can be compared: both are there and of one kind."""
    kinds = [text.rpartition(":")[0] if text else None for text in (one, other)]
    return None not in kinds and kinds[0] == kinds[1]


def store_files(store: Path) -> list[Path]:
    """Files of a store in a fixed order, links followed."""
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(store, followlinks=True)
        for name in names
        if name in METADATA or not name.startswith(".")
    ]
    return sorted(found)


def _signature(store: Path, files: Sequence[Path]) -> tuple[str, float]:
    """Hash of names, sizes and times of all files; when the last of them was changed."""
    digest, newest = hashlib.sha256(), 0.0
    for file in files:
        with suppress(FileNotFoundError):
            status = file.stat()
            facts = (str(file.relative_to(store)), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(repr(facts).encode())
            newest = max(newest, status.st_mtime, status.st_ctime)
    return digest.hexdigest(), newest


def _hash(store: Path, files: Sequence[Path]) -> str:
    """Hash of names and contents; files are read side by side."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(THREADS, len(os.sched_getaffinity(0)))) as pool:
        for file, content in zip(files, pool.map(lambda file: _file_hash(store, file), files), strict=True):
            digest.update(repr((str(file.relative_to(store)), content)).encode())
    return digest.hexdigest()[:16]


def _file_hash(store: Path, file: Path) -> str:
    """Hash of one file; of the metadata of the group without its attributes."""
    if file.parent == store and file.name in ("zarr.json", ".zattrs", ".zmetadata"):
        with suppress(ValueError):
            document = _without_attributes(file.name, json.loads(file.read_bytes()))
            return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _without_attributes(name: str, document: Any) -> Any:
    """A metadata document of the group, without what it says of the group as a whole."""
    if name == ".zattrs":
        return {}
    if name == ".zmetadata" and isinstance(document.get("metadata"), Mapping):
        return {**document, "metadata": {key: each for key, each in document["metadata"].items() if key != ".zattrs"}}
    return {key: each for key, each in document.items() if key != "attributes"}
