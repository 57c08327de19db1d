"""The diagnostics: scores that are a number or a table of a whole forecast, rather than a mean over nodes.

To add one, write what is averaged over initial times as a function of a `Sample`, and add a `Diagnostic` to the list.
Like the metrics, they are computed while the forecasts run; none keeps a forecast.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from spacecast.evaluation.metrics import Entries, average
from spacecast.evaluation.sample import Sample, Setting

Axes = Mapping[str, Sequence[str] | Sequence[float]]


@dataclass(frozen=True)
class Diagnostic:
    """A number or a table of each forecast and lead, averaged over the initial times; a variable of `scores.nc`.

    Args:
        name: of the variable in `scores.nc`.
        label: for axes and tables.
        units: of its values; 1 for none.
        axes: from the `Setting` to names and coordinates of its axes besides start and lead; None: these data have no
            such diagnostic.
        entries: functions of a `Sample`, of shape (window, *axes) or with further axes that `score` removes.
        score: from the `Setting` and their averages over initial times, each (..., lead, *axes), to the values.
        best: value of a perfect forecast; None: it does not tell a better forecast from a worse one.
        rows: whether it also makes rows of `scores.csv`, of region `all`; it then has one axis at most, whose
            coordinates stand in the column `variable`.
        ensemble: whether there must be several members.

    """

    name: str
    label: str
    units: str
    axes: Callable[[Setting], Axes | None]
    entries: tuple[Entries, ...]
    score: Callable[..., Tensor] = average
    best: float | None = None
    rows: bool = False
    ensemble: bool = False

    def axes_of(self, setting: Setting) -> Axes | None:
        """Its axes for these data and this number of members, None where there is no such diagnostic."""
        return None if self.ensemble and setting.members == 1 else self.axes(setting)


DIAGNOSTICS = [
    Diagnostic(
        "rank_histogram", "ranks of the truth among the members", "1",
        lambda setting: {"variable": setting.spec.state.names, "rank": range(setting.members + 1)},
        (Sample.rank_counts,), ensemble=True,
    ),
]  # fmt: skip
"""All diagnostics, in the order of `scores.nc`."""
