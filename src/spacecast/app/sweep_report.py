"""The report of a sweep: parameters against scores, one row a run, and the spread over seeds."""

import csv
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacecast.core.errors import UserError
from spacecast.evaluation.scores import Scores
from spacecast.launch.folder import Run, Sweep
from spacecast.launch.progress import Progress, progress
from spacecast.launch.status import FINISHED

DEFAULT = ("skill/mean@1", "skill/mean@last", "skill/mean")
LESS_IS_BETTER = ("rmse", "mae", "mse", "crps", "nll", "bias", "div_b")
SEED = "seed"


@dataclass(frozen=True)
class Row:
    """A finished run or the runs of a group that differ in their seed.

    Args:
        values: of the keys that differ, as typed; empty where a run has none.
        scores: means over the runs, one for each column.
        spread: standard deviations over the runs; NaN for a single one.
        runs: how many.

    """

    values: tuple[str, ...]
    scores: tuple[float, ...]
    spread: tuple[float, ...]
    runs: int


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
        raise UserError(f"{folder}: no run has scores yet; see spacecast-sweep status {folder}")
    keys = sweep.varied
    rows = [_row(sweep, run, keys, names) for run in done]
    groups = _over_seeds(rows, keys)
    pieces = [f"# {sweep.name}", _state_lines(states), "## Runs", _table(["run", *keys], names, rows, done)]
    if groups and len(groups) < len(rows):
        others = [key for key in keys if key != SEED]
        pieces += ["## Over seeds, mean ± standard deviation", _table([*others, "runs"], names, groups, None)]
        pieces.append(_verdict(groups, others, names))
    text = "\n\n".join(pieces) + "\n"
    _write_csv(folder / "report.csv", keys, names, done, rows)
    _write(folder / "report.md", text)
    _draw(folder / "report.png", keys, names, rows)
    return text


def _row(sweep: Sweep, run: Run, keys: Sequence[str], names: Sequence[str]) -> Row:
    """Parameters and scores of a run."""
    table = Scores.read_csv(sweep.run_dir(run) / "scores.csv")
    values = tuple(run.values.get(key, "") for key in keys)
    return Row(values, tuple(pick(table, name) for name in names), (float("nan"),) * len(names), 1)


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
        columns = list(zip(*(member.scores for member in members), strict=True))
        means = tuple(statistics.fmean(column) for column in columns)
        spread = tuple(statistics.stdev(column) if len(column) > 1 else float("nan") for column in columns)
        found.append(Row(values, means, spread, len(members)))
    return found


def _state_lines(states: Sequence[Progress]) -> str:
    """How many runs there are in each state, and what went wrong."""
    counts = {state: sum(each.state == state for each in states) for state in dict.fromkeys(s.state for s in states)}
    lines = [f"{len(states)} runs: " + ", ".join(f"{count} {state}" for state, count in counts.items())]
    lines += [f"- run {s.run.number} ({s.run.name}): {s.state}, {s.why}" for s in states if s.state != FINISHED]
    return "\n".join(lines)


def _table(left: Sequence[str], names: Sequence[str], rows: Sequence[Row], runs: Sequence[Run] | None) -> str:
    """A table in Markdown, best first by the last score."""
    order = sorted(range(len(rows)), key=lambda index: _badness(names[-1], rows[index].scores[-1]))
    lines = [_line([*left, *names]), _line(["---"] * len(left) + ["---:"] * len(names))]
    for index in order:
        row = rows[index]
        head = [str(runs[index].number), *row.values] if runs is not None else [*row.values, str(row.runs)]
        lines.append(_line([*head, *map(_cell, row.scores, row.spread)]))
    return "\n".join(lines)


def _verdict(groups: Sequence[Row], keys: Sequence[str], names: Sequence[str]) -> str:
    """Whether the best is better than the second best by more than the seeds make."""
    ranked = sorted(groups, key=lambda row: _badness(names[-1], row.scores[-1]))
    if len(ranked) < 2 or min(ranked[0].runs, ranked[1].runs) < 2:
        return "Too few seeds to tell a difference from chance."
    best, second = ranked[:2]
    gap = abs(best.scores[-1] - second.scores[-1])
    noise = float(np.hypot(best.spread[-1] / best.runs**0.5, second.spread[-1] / second.runs**0.5))
    name = ", ".join(f"{key}={value}" for key, value in zip(keys, best.values, strict=True))
    clear = "is more than" if gap > 2 * noise else "is not more than"
    return f"Best by {names[-1]}: {name}. Its lead of {gap:.3g} {clear} twice the standard error of {noise:.2g}."


def _badness(name: str, value: float) -> float:
    """For sorting, best first; what is not a number comes last."""
    if not np.isfinite(value):
        return float("inf")
    metric = name.partition("/")[0]
    return abs(value) if metric.removeprefix("persistence_") in LESS_IS_BETTER else -value


def _cell(value: float, spread: float) -> str:
    """A score, with its spread where there is one."""
    return f"{value:.4g}" if np.isnan(spread) else f"{value:.4g} ± {spread:.2g}"


def _line(cells: Sequence[str]) -> str:
    """A row of Markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _write_csv(path: Path, keys: Sequence[str], names: Sequence[str], runs: Sequence[Run], rows: Sequence[Row]) -> None:
    """One line a run: number, parameters, scores."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["run", *keys, *names])
        for run, row in zip(runs, rows, strict=True):
            writer.writerow([run.number, *row.values, *(f"{score:.9g}" for score in row.scores)])
    partial.replace(path)


def _write(path: Path, text: str) -> None:
    """A text file, as a whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _draw(path: Path, keys: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> None:
    """Parallel coordinates: one line a configuration, with the spread of its seeds at the scores."""
    from spacecast.plots.parallel import Axis, draw_parallel

    kept = [index for index, key in enumerate(keys) if key != SEED]
    parameters = [Axis(keys[index], [row.values[index] for row in rows]) for index in kept]
    draw_parallel(parameters, [Axis(name, [row.scores[n] for row in rows]) for n, name in enumerate(names)], path)
