"""The runs that an inspection looks at, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore
from spacecast.data.contract import offers
from spacecast.data.splits import SPLITS
from spacecast.data.store import RunStore

Inspected: TypeAlias = "RunStore | RunView"


class RunView:
    """The splits of a run of any datastore one after the other, read like the frames of a `RunStore`.

    Args:
        datastore: where to read.
        name: name of the run.

    Attributes: as of `RunStore`.

    Raises:
        UserError: the run has no frame.

    """

    def __init__(self, datastore: Datastore, name: str) -> None:
        self._datastore, self.name, self.label = datastore, name, f"run {name}"
        spec = datastore.spec
        self.grid, self.step_seconds, self.static_values = spec.grid, spec.step_seconds, spec.static_values
        categories = {"state": spec.state, "static": spec.static, "forcing": spec.forcing}
        self.names = {category: each.names for category, each in categories.items()}
        self.units = {category: each.units for category, each in categories.items()}
        times = {split: datastore.times(name, split) for split in SPLITS if offers(datastore, name, split)}
        if not times:
            raise UserError(f"{self.label} has no frame in {', '.join(SPLITS)}")
        ordered = sorted(times, key=lambda split: times[split][0])
        self.times = np.concatenate([times[split] for split in ordered])
        self.num_frames, self.splits = len(self.times), {}
        start = 0
        for split in ordered:
            self.splits[split] = (start, start + len(times[split]))
            start += len(times[split])

    def frames_per_chunk(self, _: str) -> int:
        """How a datastore keeps its frames is its own affair."""
        return 1

    def read(self, category: str, start: int, stop: int, *, check: bool = True) -> np.ndarray:
        """Frames [start, stop) of all splits, shape (frame, node, variable).

        Raises:
            UserError: with `check`, a value is not finite.

        """
        read = getattr(self._datastore, f"read_{category}")
        parts = []
        for split, (first, last) in self.splits.items():
            low, high = max(start, first), min(stop, last)
            if low < high:
                parts.append(read(self.name, split, low - first, high - first))
        values = np.concatenate(parts)
        if check and not np.isfinite(values).all():
            raise UserError(f"{self.label}: frames {start} to {stop - 1} of {category} are not finite everywhere")
        return values


@dataclass(frozen=True)
class Finding:
    """Something a user should know: an `error` forbids training, a `warning` does not."""

    severity: str
    text: str


@dataclass
class Report:
    """Result of `inspect`.

    Attributes:
        findings: errors and warnings.
        lines: the description as text lines, tables included.
        stores: the runs that could be opened, by name.

    """

    findings: list[Finding] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stores: dict[str, Inspected] = field(default_factory=dict)

    def gather(self, names: Sequence[str], open_run: Callable[[str], Inspected]) -> None:
        """Open runs by name; one that cannot be is an error in the findings."""
        for name in names:
            try:
                self.stores[name] = open_run(name)
            except UserError as error:
                self.findings.append(Finding("error", str(error)))

    @property
    def errors(self) -> list[str]:
        """Faults that forbid training."""
        return [finding.text for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[str]:
        """Oddities that do not."""
        return [finding.text for finding in self.findings if finding.severity == "warning"]

    @property
    def ok(self) -> bool:
        """True when the data can be trained on."""
        return not self.errors

    def raise_errors(self) -> None:
        """Raise the first error as a UserError, with the number of the others."""
        if self.errors:
            more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
            raise UserError(self.errors[0] + more)
