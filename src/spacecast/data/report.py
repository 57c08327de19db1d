"""The result of an inspection."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from spacecast.core.errors import UserError
from spacecast.data.view import Inspected


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
        stores: the runs that could be opened, by name; `fields` reads frames of them.

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

    def fields(self, run: str, frame: int = 0) -> dict[str, np.ndarray]:
        """One frame of a run laid out on the plane, by variable, each of shape (x, z), NaN inside Earth."""
        store = self.stores[run]
        nodes = store.read("state", frame, frame + 1, check=False)[0]
        return {name: store.grid.to_field(nodes[:, i]) for i, name in enumerate(store.names["state"])}
