"""What Lightning's checkpoints hold besides, and how they are written: whole or not at all."""

import io
import logging
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO

from spacecast.checkpoint.content import KEY, describe
from spacecast.checkpoint.files import write_whole
from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec

log = logging.getLogger(__name__)


class SelfDescription(Callback):
    """Adds to each checkpoint what is needed to use it: configuration, facts of the data, graph, versions, parent.

    Args:
        config: the resolved configuration, plain types.
        spec: facts of the data.
        graph: the mesh graph.
        parent: run id of the run that this one started from, if any.
    """

    def __init__(self, config: dict[str, Any], spec: DataSpec, graph: MeshGraph, parent: str | None = None) -> None:
        self.content = describe(config, spec, graph, parent)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Add the description."""
        checkpoint[KEY] = self.content


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint as a temporary sibling, to the disk, and renames it.

    A checkpoint that cannot be written costs a warning, not the training; `written` tells. The options of
    `Trainer.save_checkpoint` may name `keep`, a path that the file replaced goes to, and `also`, a second name of the
    new one. What could not be written under a second name waits in memory for `write_waiting`, for training goes on
    and cannot make it again.

    Args:
        opened: content of files that have been read already; a file is taken out when it is loaded.

    """

    def __init__(self, opened: MutableMapping[Path, dict[str, Any]] | None = None) -> None:
        super().__init__()
        self._opened = {} if opened is None else opened
        self.written = True
        self._waiting: dict[Path, bytes] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: dict[str, Path] | None = None
    ) -> None:
        """Write a checkpoint whole or not at all."""
        options = storage_options or {}
        self.written = _attempt(checkpoint, Path(path), **options)
        if "also" in options:
            self._waiting.pop(options["also"], None)  # the new one takes its place
            if not self.written:
                self._waiting[options["also"]] = _in_memory(checkpoint)

    def load_checkpoint(self, path: str | os.PathLike[str], *rest: Any, **more: Any) -> dict[str, Any]:
        """The content of a checkpoint."""
        content = self._opened.pop(Path(path), None)
        return super().load_checkpoint(path, *rest, **more) if content is None else content

    def write_waiting(self, path: Path) -> bool:
        """Try again what waits for a name; False while it waits."""
        if path in self._waiting and _attempt(self._waiting[path], path):
            del self._waiting[path]
        return path not in self._waiting


def _attempt(content: Any, path: Path, **options: Path) -> bool:
    """Write a checkpoint, or warn that it cannot be written."""
    try:
        write_whole(content, path, **options)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        log.warning("checkpoint %s was not written (%s); the one before stays, training goes on", path, reason)
        return False
    return True


def _in_memory(content: Any) -> bytes:
    """The file that `torch.save` would write."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()
