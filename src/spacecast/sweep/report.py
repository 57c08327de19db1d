"""The report of a sweep: parameters against scores, one row a run, and the spread over seeds."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.text import as_typed, several
from spacecast.evaluation.metrics import distance_to_best
from spacecast.evaluation.scores import Scores
from spacecast.evaluation.significance import verdict
from spacecast.process.files import atomic_write, write_text
from spacecast.process.status import FINISHED
from spacecast.sweep.folder import Run, Sweep
from spacecast.sweep.progress import RunProgress, progress, tally

DEFAULT = ("skill/mean@1", "skill/mean@last", "skill/mean")
SEED = "seed"


@dataclass(frozen=True)
class Row:
    """A finished run or the runs of a group that differ in their seed.

    Args:
        values: of the keys that differ, as typed; empty where a run has none.
        scores: means over the runs, one for each column.
        spread: standard deviations over the runs; NaN for a single one.
        each: the last of the scores of each run, by which the rows are ranked.

    """

    values: tuple[str, ...]
    scores: tuple[float, ...]
    spread: tuple[float, ...]
    each: tuple[float, ...]


def write_report(folder: Path, wanted: Sequence[str]) -> str:
    """Write `report.md`, `report.csv` and `report.png` of a sweep, each as a whole, and return the text.

    Args:
        folder: of the sweep.
        wanted: scores, `METRIC/VARIABLE`, the mean over the leads, or `METRIC/VARIABLE@LEAD` with the number of a lead
            or `last`; none: the skill.

    Raises:
        UserError: no run has finished, or there is no such score.

    """
    sweep = Sweep.read(folder)
    states = progress(sweep)
    names = list(wanted) or list(DEFAULT)
    done = [each.run for each in states if each.state == FINISHED and (sweep.run_dir(each.run) / "scores.csv").exists()]
    if not done:
        raise UserError(f"{folder}: no run has scores yet; see {as_typed('spacecast-sweep', 'status', folder)}")
    keys = sweep.varied
    rows = [_row(sweep, run, keys, names) for run in done]
    groups = _over_seeds(rows, keys)
    pieces = [f"# {sweep.name}", _state_lines(states), "## Runs", _table(["run", *keys], names, rows, done)]
    if groups and len(groups) < len(rows):
        others = [key for key in keys if key != SEED]
        pieces += ["## Over seeds, mean ± standard deviation", _table([*others, "runs"], names, groups, None)]
        pieces.append(_verdict(groups, others, names[-1]))
    text = "\n\n".join(pieces) + "\n"
    _write_csv(folder / "report.csv", keys, names, done, rows)
    write_text(folder / "report.md", text)
    _draw(folder / "report.png", keys, names, rows)
    return text


def _row(sweep: Sweep, run: Run, keys: Sequence[str], names: Sequence[str]) -> Row:
    """Parameters and scores of a run."""
    table = Scores.read_csv(sweep.run_dir(run) / "scores.csv")
    values = tuple(run.values.get(key, "") for key in keys)
    scores = tuple(pick(table, name) for name in names)
    return Row(values, scores, (float("nan"),) * len(names), scores[-1:])


def pick(table: Scores, name: str) -> float:
    """One number of a table of scores, by `METRIC/VARIABLE[@LEAD]`.

    Raises:
        UserError: there is no such score or lead.

    """
    curve_name, _, lead = name.partition("@")
    metric, _, variable = curve_name.partition("/")
    curve = table.series(metric, variable or "mean")[1]
    if not lead:
        return float(np.mean(curve))
    if lead != "last" and not (lead.isdigit() and 1 <= int(lead) <= len(curve)):
        raise UserError(f"--score {name}: leads are 1 to {len(curve)}, or last")
    return float(curve[-1 if lead == "last" else int(lead) - 1])


def _over_seeds(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Rows that differ in their seed alone, taken together; nothing when the seed is not varied."""
    if SEED not in keys:
        return []
    place = list(keys).index(SEED)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.values[:place] + row.values[place + 1 :], []).append(row)
    found = []
    for values, members in groups.items():
        columns = np.array([member.scores for member in members])
        with np.errstate(invalid="ignore"):  # of scores that are infinite
            spread = columns.std(axis=0, ddof=1) if len(members) > 1 else np.full(columns.shape[1], np.nan)
            means = columns.mean(axis=0)
        found.append(Row(values, tuple(means.tolist()), tuple(spread.tolist()), tuple(columns[:, -1].tolist())))
    return found


def _state_lines(states: Sequence[RunProgress]) -> str:
    """How many runs there are in each state, and what went wrong."""
    lines = [f"{several(len(states), 'run')}: {tally(states)}"]
    left = [(each.run, ", ".join(filter(None, [each.state, each.why]))) for each in states if each.state != FINISHED]
    lines += [f"- run {run.number} ({run.name}): {what}" for run, what in left]
    return "\n".join(lines)


def _table(left: Sequence[str], names: Sequence[str], rows: Sequence[Row], runs: Sequence[Run] | None) -> str:
    """A table in Markdown, best first by the last score; what is no number, or has no best value, comes last."""
    order = sorted(range(len(rows)), key=lambda index: distance_to_best(metric_of(names[-1]), rows[index].scores[-1]))
    lines = [_line([*left, *names]), _line(["---"] * len(left) + ["---:"] * len(names))]
    for index in order:
        row = rows[index]
        head = [str(runs[index].number), *row.values] if runs is not None else [*row.values, str(len(row.each))]
        lines.append(_line([*head, *map(_cell, row.scores, row.spread)]))
    return "\n".join(lines)


def metric_of(name: str) -> str:
    """The metric in `METRIC/VARIABLE[@LEAD]`."""
    return name.partition("@")[0].partition("/")[0]


def _verdict(groups: Sequence[Row], keys: Sequence[str], name: str) -> str:
    """Which row is the best, and whether its lead is more than chance."""
    ranked = sorted(groups, key=lambda row: distance_to_best(metric_of(name), row.scores[-1]))
    known = [row for row in ranked if np.isfinite(distance_to_best(metric_of(name), row.scores[-1]))]
    if not known:
        return f"{name} ranks none of them."
    best = ", ".join(f"{key}={value}" for key, value in zip(keys, known[0].values, strict=True))
    start = f"Best by {name}: {best}."
    return f"{start} {verdict(known[0].each, known[1].each)}" if len(known) > 1 else start


def _cell(value: float, spread: float) -> str:
    """A score, with its spread where there is one."""
    return f"{value:.4g}" if np.isnan(spread) else f"{value:.4g} ± {spread:.2g}"


def _line(cells: Sequence[str]) -> str:
    """A row of Markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _write_csv(path: Path, keys: Sequence[str], names: Sequence[str], runs: Sequence[Run], rows: Sequence[Row]) -> None:
    """One line a run: number, parameters, scores."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["run", *keys, *names])
        for run, row in zip(runs, rows, strict=True):
            writer.writerow([run.number, *row.values, *(f"{score:.9g}" for score in row.scores)])


def _draw(path: Path, keys: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> None:
    """Parallel coordinates: one line a configuration, with the spread of its seeds at the scores."""
    from spacecast.plots.parallel import Coordinate, draw_parallel

    kept = [index for index, key in enumerate(keys) if key != SEED]
    parameters = [Coordinate(keys[index], [row.values[index] for row in rows]) for index in kept]
    draw_parallel(parameters, [Coordinate(name, [row.scores[n] for row in rows]) for n, name in enumerate(names)], path)
