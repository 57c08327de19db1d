"""The configurations of `spacecast-plot` and `spacecast-plot paper`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from spacecast.config.schema import Paths
from spacecast.core.ranges import Range


@dataclass(frozen=True)
class Plot:
    """Top level of `plot.yaml`."""

    paths: Paths
    run: str | Sequence[str]
    what: str | Sequence[str] | None
    format: str | Sequence[str]
    size: Literal["page", "column", "slide"]
    variables: str | Sequence[str] | None
    leads: Annotated[int, Range(1)] | Sequence[int] | None
    region: str
    field_lines: bool
    fps: Annotated[float, Range(0.1, 50)]
    output: Path | None = None
    logger: Mapping[str, Any] | None = None
    trust: str | Sequence[str] | None = None


@dataclass(frozen=True)
class PlotPaper:
    """Top level of `plot_paper.yaml`."""

    output: Path
    formats: Sequence[str]
    size: Literal["page", "column", "slide"]
    member_rmse: bool
    models: Path | Mapping[str, Any]
    metrics_dir: Path | None = None
    forecasts_dir: Path | None = None
    paths: Paths | None = None
    logger: Mapping[str, Any] | None = None
    trust: str | Sequence[str] | None = None
