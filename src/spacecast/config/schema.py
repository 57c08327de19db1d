"""Sections of the configuration that no constructor stands behind: names, types and ranges of their keys.

What is annotated as a `Path` is text here as well, and made absolute by `config/paths.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from spacecast.config.binding import Range

Section = Mapping[str, Any]  # built by its `_target_`, whose signature says what it takes


@dataclass
class Paths:
    """Where files go."""

    project_dir: Path
    data_dir: Path
    run_dir: Path


@dataclass
class OwnTrainer:
    """Keys of the section `trainer` that are not Lightning's."""

    checkpoint_minutes: Annotated[float, Range(0)] | None = 15.0
    global_batch: Annotated[int, Range(1)] | None = None
    max_nonfinite_steps: Annotated[int, Range(1)] | None = 3


@dataclass
class OwnDatastore:
    """Keys of the section `datastore` that are not the reader's."""

    repository: str | None = None


@dataclass
class Train:
    """Top level of `train.yaml`, in the order of the check: what others refer to comes first."""

    paths: Paths
    trainer: Section
    datastore: Section
    graph: Section
    model: Section
    loss: Section
    schedule: Section
    optimizer: Section
    data: Section
    logger: Section
    evaluation: Section
    seed: Annotated[int, Range(0, 2**32 - 1)]
    dry_run: bool
    resume: Path | None = None
    init_from: Path | None = None
    trust: str | Sequence[str] | None = None
    simulation: Section | None = None
    launcher: Section | None = None


@dataclass
class Evaluate(Train):
    """Top level of `evaluate.yaml`: what training had, and the checkpoint."""

    checkpoint: Path = Path()
    same_data: bool = False


@dataclass
class Graph:
    """Top level of `graph.yaml`."""

    paths: Paths
    datastore: Section
    graph: Section
    picture: Path | None
    simulation: Section | None = None
    logger: Mapping[str, Any] | None = None
    trust: str | Sequence[str] | None = None


@dataclass
class Data:
    """Top level of `data.yaml`."""

    command: Literal["simulate", "prepare", "inspect", "download", "import-checkpoint"]
    paths: Paths
    datastore: Section
    overwrite: bool
    picture: Path | None
    checkpoint: Path | None = None
    output: Path | None = None
    graph: Section | None = None
    simulation: Section | None = None
    logger: Mapping[str, Any] | None = None
    trust: str | Sequence[str] | None = None


# Parameters of constructors that are facts of the data or of the run, which no configuration holds, by section.
GIVEN = {
    "datastore": ("progress",),
    "simulation": ("progress", "overwrite"),
    "model": ("spec", "graph"),
    "loss": ("spec",),
    "optimizer": ("params",),
    "data": ("datastore", "rollout_steps"),
    "trainer": ("logger", "callbacks", "plugins", "default_root_dir"),
    "evaluation": ("model", "datastore", "spec", "device", "out_dir", "progress"),
}
OWN_KEYS = {"trainer": OwnTrainer, "datastore": OwnDatastore}  # of sections that are otherwise a constructor's keywords


def own_part(section: Section, name: str) -> dict[str, Any]:
    """Keys of a section that its constructor does not take, with defaults."""
    owner = OWN_KEYS.get(name)
    return {} if owner is None else {field.name: section.get(field.name, field.default) for field in fields(owner)}
