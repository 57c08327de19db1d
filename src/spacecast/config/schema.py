"""The configuration of each command: names, types and ranges of its keys, and the typed object that commands work with.

What is annotated as a `Path` is text in plain types, and made absolute by `config/paths.py`. A `Section` is built by
its `_target_`, whose signature says what it takes; the sections below name what commands read of one as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

from spacecast.config.binding import defaults_of
from spacecast.config.build import build
from spacecast.config.targets import locate
from spacecast.core.errors import UserError
from spacecast.core.ranges import Range

Schema = TypeVar("Schema")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section that is built by its `_target_`.

    A field of a subclass has the value of the configuration; where that has none, the default of the constructor; what
    the constructor of a user's own does not take, the default here.

    Args:
        content: the section in plain types.

    """

    own: ClassVar[tuple[str, ...]] = ()  # fields that are not the constructor's
    words: ClassVar[Mapping[str, str]] = {}  # what a field of the constructor's may be besides: a word of our own
    content: Mapping[str, Any]

    @property
    def target(self) -> str:
        """What builds it, as a dotted name."""
        return str(self.content["_target_"])

    @property
    def keywords(self) -> dict[str, Any]:
        """The section for its constructor: without what is our own."""
        return {name: value for name, value in self.content.items() if name not in self.own}

    @property
    def defaults(self) -> dict[str, Any]:
        """Of the keywords of what builds it."""
        return defaults_of(locate(self.target, "_target_"))

    def build(self, **more: Any) -> Any:
        """What the section describes, see `config.build`; `more` replaces keys of it."""
        return build(self.keywords | more)


@dataclass(frozen=True, kw_only=True)
class TrainerSection(Section):
    """Section `trainer`: Lightning's keywords, and how this project counts and saves steps."""

    own = ("checkpoint_minutes", "ema", "global_batch", "max_nonfinite_steps", "memory", "pictures", "shards")
    words: ClassVar[Mapping[str, str]] = {"precision": "auto"}
    checkpoint_minutes: Annotated[float, Range(0)] | None = 15.0
    ema: Annotated[float, Range(0, 1)] | None = None
    global_batch: Annotated[int, Range(1)] | None = None
    max_nonfinite_steps: Annotated[int, Range(1)] | None = 3
    memory: Literal["fast", "balanced", "lean"] = "fast"
    pictures: Annotated[int, Range(0)] = 0
    shards: Annotated[int, Range(1)] = 1
    accelerator: str = "auto"
    devices: int | str | Sequence[int] = 1
    num_nodes: int = 1
    precision: str | int | None = None
    max_epochs: int | None = None
    max_steps: int = -1

    @property
    def keywords(self) -> dict[str, Any]:
        """Lightning's: `max_steps` is `CheckpointWriter`'s; a training that only it limits has no limit of epochs."""
        kept = {name: value for name, value in super().keywords.items() if name != "max_steps"}
        unlimited = kept.get("max_epochs") is None and self.max_steps >= 0
        return {**kept, "max_epochs": -1} if unlimited else kept


@dataclass(frozen=True, kw_only=True)
class DatastoreSection(Section):
    """Section `datastore`; one of a user's own may have no folder."""

    own = ("repository",)
    repository: str | None = None
    root: Path | None = None
    runs: Sequence[int | str] | None = None
    holdout: Sequence[int | str] | None = None
    boundary: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class DataSection(Section):
    """Section `data`."""

    batch_size: int = 1
    val_steps: int = 1


@dataclass(frozen=True, kw_only=True)
class LoggerSection(Section):
    """Section `logger`; null of what is tracked nowhere."""

    tracking_uri: str | None = None
    journal: Path | None = None
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationSection(Section):
    """Section `evaluation`."""

    split: str | None = "test"
    runs: str | Sequence[str | int] | None = None
    steps: int | None = 1
    windows: int | None = None
    members: int = 1
    regions: Mapping[str, Mapping[str, float]] | None = None
    surfaces: Mapping[str, float] | None = None
    plasma_regions: bool = False
    convert_units: bool = False

    @property
    def label(self) -> str:
        """What its scores are called where they are tracked: `test`, and of another split `scores_SPLIT`.

        `train` and `val` alone are the names of what a training records as it goes, by optimiser step.
        """
        return "test" if self.split in (None, "test") else f"scores_{self.split}"


@dataclass(frozen=True)
class Paths:
    """Where files go."""

    project_dir: Path
    data_dir: Path
    run_dir: Path


@dataclass(frozen=True)
class Train:
    """Top level of `train.yaml`, in the order of the check: what others refer to comes first."""

    paths: Paths
    trainer: TrainerSection
    datastore: DatastoreSection
    graph: Section
    model: Section
    loss: Section
    schedule: Section
    optimizer: Section
    data: DataSection
    logger: LoggerSection
    evaluation: EvaluationSection
    seed: Annotated[int, Range(0, 2**32 - 1)]
    dry_run: bool
    resume: Path | None = None
    init_from: Path | None = None
    trust: str | Sequence[str] | None = None
    simulation: Section | None = None
    launcher: Section | None = None


@dataclass(frozen=True)
class Evaluate(Train):
    """Top level of `evaluate.yaml`: what training had, and the checkpoint; `baseline` only where there are several."""

    checkpoint: Path = Path()
    same_data: bool = False
    baseline: str | None = None


@dataclass(frozen=True)
class Forecast:
    """Top level of `forecast.yaml`."""

    paths: Paths
    trainer: TrainerSection
    datastore: DatastoreSection
    graph: Section
    model: Section
    checkpoint: Path
    seed: Annotated[int, Range(0, 2**32 - 1)]
    steps: Annotated[int, Range(1)]
    members: Annotated[int, Range(1)]
    statistics: bool | Literal["only"]
    boundary: Literal["data", "persist"]
    member_chunk: Annotated[int, Range(1)]
    overwrite: bool
    convert_units: bool
    same_data: bool
    dataset: Path | None = None
    run: int | str | None = None
    start: int | str | Sequence[int | str] | None = None
    output: Path | None = None
    format: Literal["zarr", "netcdf"] | None = None
    trust: str | Sequence[str] | None = None
    simulation: Section | None = None
    logger: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Graph:
    """Top level of `graph.yaml`."""

    paths: Paths
    datastore: DatastoreSection
    graph: Section
    picture: Path | None
    simulation: Section | None = None
    logger: Mapping[str, Any] | None = None
    trust: str | Sequence[str] | None = None


@dataclass(frozen=True)
class Data:
    """Top level of `data.yaml`."""

    command: Literal["simulate", "prepare", "inspect", "download", "export", "import-checkpoint"]
    paths: Paths
    datastore: DatastoreSection
    overwrite: bool
    picture: Path | None
    checkpoint: Path | None = None
    output: Path | None = None
    name: str | None = None
    revision: str | None = None
    only: str | Sequence[str] | None = None
    scores: Path | None = None
    license: str | None = None
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
    "data": ("datastore", "rollout_steps", "own_states"),
    "trainer": ("logger", "callbacks", "plugins", "default_root_dir"),
    "evaluation": ("model", "datastore", "spec", "device", "out_dir", "progress", "processes"),
}


def section_kind(annotation: Any) -> type[Section] | None:
    """The kind of section that an annotation of a key asks for; None: the key holds no section."""
    parts = (annotation, *get_args(annotation))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, Section)), None)


def typed(plain: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """A checked configuration as the object that commands work with.

    Args:
        plain: the resolved configuration in plain types.
        schema: one of the dataclasses above.

    Raises:
        UserError: a key or a section is missing, as in a file that something else has written.

    """
    values = {name: _value(plain[name], hint, name) for name, hint in get_type_hints(schema).items() if name in plain}
    for field in fields(schema):  # type: ignore[arg-type]
        if field.default is MISSING and field.name not in values:
            raise UserError(f"{field.name} is missing from the configuration")
    return schema(**values)


def _value(value: Any, annotation: Any, key: str) -> Any:
    """The value of one key: a section, a path, or as it stands."""
    kind = section_kind(annotation)
    if kind is not None and not (value is None and type(None) in get_args(annotation)):
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            raise UserError(f"{key}: expected a section with _target_, found {value!r}")
        return kind(content=value, **_facts(value, kind, key))
    if annotation is Paths:
        return typed(value, Paths)
    is_path = annotation is Path or Path in get_args(annotation)
    return Path(value) if is_path and isinstance(value, str) else value


def _facts(content: Mapping[str, Any], kind: type[Section], key: str) -> dict[str, Any]:
    """What commands read of a section, as far as it or its constructor says it."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in ("own", "words", "content")}
    if not hints:
        return {}
    known = defaults_of(locate(content["_target_"], key)) | dict(content)
    return {name: _value(known[name], hint, name) for name, hint in hints.items() if name in known}
