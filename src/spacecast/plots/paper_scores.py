"""The published figures of scores, from published tables or from runs of this project."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, cycle
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.text import several
from spacecast.plots.canvas import SERIES, TRUTH, unit_text
from spacecast.plots.paper_curves import Line, Look, Panel, change_panel, draw_panels, looks, metric_panel
from spacecast.plots.paper_figure import ROWS, Figure, Notes, is_turned, numbered, parts_of, variables_across
from spacecast.plots.paper_names import Family, PaperNames
from spacecast.plots.paper_tables import DIVERGENCE, Table, Tables

SCORES = {"rmse": "RMSE", "crps": "CRPS", "spread_skill_ratio": "spread / skill"}
OF_ENSEMBLES = ("crps", "spread_skill_ratio")
TRUTH_LOOK = Look("truth", TRUTH, ":")


class ScoreFigures:
    """Figures of scores.

    Args:
        names: of the folders.
        folder: of the folders of scores.
        notes: receives what could not be drawn and why.
        member_rmse: draw the RMSE of a single member of ensembles, as the published grids do, not that of their mean.

    """

    def __init__(self, names: PaperNames, folder: Path, notes: Notes, *, member_rmse: bool = False) -> None:
        self.names, self.folder, self.notes, self.member_rmse = names, folder, notes, member_rmse

    def figures(self) -> list[Figure]:
        """All figures that there is something for; the tables are read.

        Raises:
            UserError: a file is odd.

        """
        kinds = (self._grids(), self._divergence(), self._crps(), self._members(), self._steps())
        return list(chain.from_iterable(kinds))

    def _read(
        self, figure: str, folders: Sequence[str], metric: str, steps: Mapping[str, float] | None = None
    ) -> dict[str, Table]:
        """A metric of several models, by folder; what is missing is noted."""
        tables = Tables(self.folder, self.names.variables)
        found = {}
        for folder in folders:
            if metric in OF_ENSEMBLES and tables.is_single(folder):
                continue
            own = "member_rmse" if metric == "rmse" and self.member_rmse and figure.startswith("metrics") else metric
            step = (steps or {}).get(folder, self.names.step_seconds)
            table = tables.read(folder, own, step) or (tables.read(folder, metric, step) if own != metric else None)
            if table is not None:
                found[folder] = table
        for line in tables.absent.values():
            self.notes.add(f"{figure}: {line}")
        return found

    def _figure(self, name: str, panels: Sequence[Panel], columns: int) -> list[Figure]:
        """A figure of panels, unless all are empty."""
        if any(panel.lines for panel in panels):
            return [Figure(name, partial(draw_panels, panels, columns))]
        self.notes.add(f"{name} is not drawn: none of its scores is there")
        return []

    def _scored(self, figure: str, families: Family, variables: Sequence[str]) -> list[list[Panel]]:
        """A row of panels for each variable: RMSE, CRPS, spread over skill, as far as any model has them."""
        looked = looks(families)
        read = {metric: self._read(figure, list(looked), metric) for metric in SCORES}
        for name in variables:
            without = sorted({str(t.path) for each in read.values() for t in each.values() if name not in t.curves})
            for path in without:
                self.notes.add(f"{figure}: {path} has no {name}")
        there = {metric: text for metric, text in SCORES.items() if read[metric]}
        return [[metric_panel(name, text, read[m], looked) for m, text in there.items()] for name in variables]

    def _rows(self, name: str, rows: Sequence[Sequence[Panel]]) -> Iterator[Figure]:
        """Rows of panels, those of a single metric beside each other; turned and in parts where a page has no room."""
        turned = is_turned() and len(rows[0]) > 1
        parts = parts_of(rows, variables_across()) if turned else [list(rows)]
        for number, part in enumerate(parts, start=1):
            lines = list(zip(*part, strict=True)) if turned else part
            columns = len(lines[0]) if len(rows[0]) > 1 else len(SCORES)
            yield from self._figure(numbered(name, number, len(parts)), list(chain.from_iterable(lines)), columns)

    def _grids(self) -> Iterator[Figure]:
        """Scores of all variables and models, six variables in a figure."""
        variables = list(self.names.variables)
        if not self.names.grid:
            return
        rows = self._scored("metrics_grid", self.names.grid, variables)
        most = variables_across() if is_turned() and rows and len(rows[0]) > 1 else ROWS
        for number, first in enumerate(range(0, len(rows), most), start=1):
            yield from self._rows(f"metrics_grid_{number}", rows[first : first + most])

    def _crps(self) -> Iterator[Figure]:
        """Before and after training with CRPS."""
        if self.names.crps:
            name = "crps_loss_comparison"
            yield from self._rows(name, self._scored(name, self.names.crps, self.names.few))

    def _divergence(self) -> Iterator[Figure]:
        """RMSE of the field in the plane and mean |div B|, by the weight of the penalty."""
        if not self.names.divergence:
            return
        name, looked = "div_loss_comparison", looks(self.names.divergence)
        rmse = self._read(name, list(looked), "rmse")
        panels = [metric_panel(each, "RMSE", rmse, looked, title=False) for each in ("Bx", "Bz")]
        yield from self._figure(name, [*panels, self._divergence_panel(name, looked)], 3)

    def _divergence_panel(self, figure: str, looked: Mapping[str, Look]) -> Panel:
        """Mean |div B| of models and truth.

        Raises:
            UserError: published tables stand beside our own, which are in other units.

        """
        tables = self._read(figure, list(looked), "div_b")
        published = [table for table in tables.values() if table.published]
        own = {folder: table for folder, table in tables.items() if not table.published}
        if published and own:
            raise UserError(
                f"{figure}: {published[0].path} and {next(iter(own.values())).path} are in different units, published "
                "div B is that of standardised fields; give one kind"
            )
        same = [np.array_equal(each.curves[DIVERGENCE], published[0].curves[DIVERGENCE]) for each in published[1:]]
        if same and all(same):
            self.notes.add(
                f"{figure}: div B is the same in all {several(len(published), 'table')}: it is that of the truth"
            )
        folder, metric = next(iter(own), None), "div_b_truth"
        if folder is None and self.names.divergence_truth is not None:
            folder, metric = self.names.divergence_truth, "div_b"
        truth = self._read(figure, [folder], metric) if folder is not None else {}
        lines = [Line(looked[folder], each.leads, each.curves[DIVERGENCE]) for folder, each in tables.items()]
        lines += [Line(TRUTH_LOOK, each.leads, each.curves[DIVERGENCE]) for each in truth.values()]
        units = f" [{unit_text(next(iter(own.values())).units[DIVERGENCE])}]" if own else ""
        return Panel("" if own else "as in the files", rf"mean $|\nabla\cdot B|${units}", lines)

    def _members(self) -> Iterator[Figure]:
        """Change of the scores with the size of the ensemble."""
        sizes = self.names.members
        if not sizes:
            return
        name, smallest = "ens_norm_diff", next(iter(sizes))
        looked = {
            folder: Look(f"{size} members", colour)
            for (size, folder), colour in zip(sizes.items(), cycle(SERIES), strict=False)
        }
        read = {metric: self._read(name, list(looked), metric) for metric in SCORES}
        for metric, tables in read.items():
            if tables and sizes[smallest] not in tables:
                self.notes.add(f"{name}: no change of {metric} without the ensemble of {smallest} members")
                tables.clear()
        there = {metric: text for metric, text in SCORES.items() if read[metric]}
        rows = [
            [change_panel(variable, text, read[metric], looked) for metric, text in there.items()]
            for variable in self.names.few
        ]
        yield from self._rows(name, rows)

    def _steps(self) -> Iterator[Figure]:
        """RMSE of models of several time steps."""
        steps = self.names.steps
        if not steps:
            return
        name = f"rmse_{'_'.join(f'{step:g}s' for step in steps)}"
        pairs = zip(steps.items(), cycle(SERIES), strict=False)
        looked = {folder: Look(rf"$\Delta t$ = {step:g} s", colour) for (step, folder), colour in pairs}
        own = {folder: step for step, folder in steps.items()}
        tables = self._read(name, list(looked), "rmse", own)
        for folder, table in tables.items():
            if not table.published and not np.isclose(table.leads[0], own[folder]):
                self.notes.add(f"{name}: the first lead of {table.path} is {table.leads[0]:g} s, not {own[folder]:g} s")
        panels = [metric_panel(each, "RMSE", tables, looked) for each in self.names.variables]
        parts = parts_of(panels, ROWS if is_turned() else max(len(panels), 1))
        for number, part in enumerate(parts, start=1):
            yield from self._figure(numbered(name, number, len(parts)), part, 3)
