"""Checkpoints that can be used without the data, hold plain types only and are written in one piece."""

import platform
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

import spacecast
from spacecast.core.errors import UserError
from spacecast.core.graph import MeshGraph
from spacecast.core.spec import DataSpec

FORMAT = 1
KEY = "spacecast"


class SelfDescription(Callback):
    """Adds to each checkpoint what is needed to use it: configuration, facts of the data, graph, versions, parent.

    Args:
        config: the resolved configuration, plain types.
        spec: facts of the data.
        graph: the mesh graph.
        parent: run id of the run that this one started from, if any.
    """

    def __init__(self, config: dict[str, Any], spec: DataSpec, graph: MeshGraph, parent: str | None = None) -> None:
        self.content = {
            "format": FORMAT,
            "config": config,
            "data_spec": as_tensors(spec.to_dict()),
            "graph": {"hash": graph.content_hash, "recipe": graph.recipe},
            "versions": {
                "spacecast": spacecast.__version__,
                "torch": str(torch.__version__),
                "lightning": pl.__version__,
                "python": platform.python_version(),
            },
            "parent": parent,
        }

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Add the description."""
        checkpoint[KEY] = self.content


def as_tensors(value: Any) -> Any:
    """Numpy arrays inside dictionaries to tensors, which a checkpoint may hold."""
    if isinstance(value, dict):
        return {key: as_tensors(entry) for key, entry in value.items()}
    return torch.as_tensor(value) if isinstance(value, np.ndarray) else value


def find_checkpoint(path: Path) -> Path:
    """A checkpoint file: the path itself, or the best (else the last) of a run folder."""
    if path.is_file():
        return path
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "last.ckpt"):
        if (path / name).is_file():
            return path / name
    raise UserError(f"no checkpoint at {path}: give a .ckpt file or the folder of a run that has checkpoints/best.ckpt")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Returns:
        The Lightning checkpoint; its entry `spacecast` holds `config`, `data_spec`, `graph`, `versions` and `parent`.

    Raises:
        UserError: when the file is damaged, not a checkpoint of spacecast, or of a newer format.
    """
    path = find_checkpoint(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"checkpoint {path} cannot be read: {_first_line(error)}; use another one") from error
    except Exception as error:
        raise UserError(f"checkpoint {path} holds more than tensors and plain values and is refused") from error
    if not isinstance(content, dict) or KEY not in content or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of spacecast")
    if content[KEY]["format"] > FORMAT:
        written = content[KEY]["versions"]["spacecast"]
        raise UserError(f"checkpoint {path} was written by spacecast {written}, newer than this one: upgrade spacecast")
    return content


def _first_line(error: Exception) -> str:
    """The first line of an error message."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def model_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights of the step model in a checkpoint."""
    prefix = "model."
    return {name[len(prefix) :]: value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)}
