"""What a prepared run says of the configuration and the raw data that it was made from."""

import hashlib
import json
import logging
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spacecast.storage.fingerprint import content_hash
from spacecast.storage.folder import files_below

logger = logging.getLogger(__name__)
TIMES, CONFIG, CONTENTS = "spacecast_source", "spacecast_config", "spacecast_inputs"  # attributes of a prepared store


class SourceRecord:
    """Configuration and raw data of a run as hashes: by names, sizes and times of files, and by their bytes.

    The first is fast; the others know raw data again that were copied without their times, or are in part absent.

    Args:
        root: data folder.
        config: configuration of mllam-data-prep, plain types.
        raw: where the raw store of each input lies; None where it is absent.

    """

    def __init__(self, root: Path, config: Mapping[str, Any], raw: Mapping[str, Path | None]) -> None:
        self.root, self.complete = root, None not in raw.values()
        self.raw = {name: path for name, path in raw.items() if path is not None}
        self._config = json.dumps(config, sort_keys=True, default=str)
        inputs = {name: {**entry, "path": None} for name, entry in config["inputs"].items()}
        self._recipe = hashlib.sha256(json.dumps({**config, "inputs": inputs}, sort_keys=True, default=str).encode())

    def attributes(self) -> dict[str, Any]:
        """What to note in the prepared store."""
        contents = {name: content_hash(path, self.root) for name, path in self.raw.items()}
        return {TIMES: self._by_times(), CONFIG: self._recipe.hexdigest()[:16], CONTENTS: contents}

    def are_those_of(self, target: Path) -> bool:
        """Whether a prepared store was made with this configuration from those of the raw data that are there.

        One without such a note, a download, is taken as it is, with a warning where the raw data beside it are newer.
        """
        stored = stored_attributes(target)
        if stored is None:
            return False
        if TIMES not in stored:
            self._doubt(target)
            return True
        if self.complete and stored[TIMES] == self._by_times():
            return True
        if CONFIG not in stored:  # the note of an earlier version
            return not self.complete
        return stored[CONFIG] == self._recipe.hexdigest()[:16] and all(
            stored[CONTENTS].get(name) == content_hash(path, self.root) for name, path in self.raw.items()
        )

    def _doubt(self, target: Path) -> None:
        """Warn where the raw data of a download are newer."""
        newest, prepared = (_newest(stores) for stores in (self.raw.values(), [target]))
        if newest > prepared:
            logger.warning(
                "%s does not say what it was prepared from, and its raw data are newer: "
                "spacecast-data prepare overwrite=true datastore.root=%s makes it again",
                *(target.name, shlex.quote(str(self.root))),
            )

    def _by_times(self) -> str:
        """Hash of the configuration and of sizes and times of all raw files."""
        digest = hashlib.sha256(self._config.encode())
        for path in sorted(set(self.raw.values())):
            for file in files_below(path):
                status = file.stat()
                digest.update(f"{file.relative_to(path)}:{status.st_size}:{status.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]


def stored_attributes(target: Path) -> dict[str, Any] | None:
    """The attributes of a zarr store of format 2 or 3, None for a damaged one."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
        try:
            values = json.loads((target / name).read_text(encoding="utf-8"))
            return dict(values.get(key, {}) if key else values)
        except OSError:
            continue
        except (ValueError, AttributeError, TypeError):
            return None
    return None


def names_sources(target: Path) -> bool:
    """Whether a prepared store says what it was made from."""
    return TIMES in (stored_attributes(target) or {})


def _newest(stores: Iterable[Path]) -> float:
    """When the last file of some stores was changed."""
    return max((file.stat().st_mtime for path in stores for file in files_below(path)), default=0.0)
