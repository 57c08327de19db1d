"""What a training has recorded as it went: the terms of its loss, and what validation said."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spacecast.plots.canvas import BASELINE, SERIES, legend_columns, new_figure, save
from spacecast.plots.picture import Picture, ScoredRun

TRAIN, VALIDATION, EPOCH = "train/", "val/", "train/epoch"
TOTAL = f"{TRAIN}loss"
WIDE_RANGE = 5.0  # values that span more than this stand on a logarithmic axis
NO_TERMS = ("train/rollout_steps", "train/lr_factor", EPOCH)
FILES = ("metrics.csv", "tracking.jsonl")  # of a run folder, which hold records


def records_of(folder: Path) -> Path | None:
    """The file of a run folder that holds what was recorded; None: there is none."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_records(path: Path) -> dict[str, np.ndarray]:
    """Steps and values of everything that was recorded, by name, shape (record, 2); a CSV file or a journal."""
    found: dict[str, list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for step, values in _lines(stream, journal=path.suffix == ".jsonl"):
            for name, value in values.items():
                found.setdefault(name, []).append((step, value))
    return {name: np.array(sorted(dict(values).items())) for name, values in found.items()}


def _lines(stream: Iterator[str], *, journal: bool) -> Iterator[tuple[float, Mapping[str, float]]]:
    """Step and values of each record."""
    if not journal:
        for row in csv.DictReader(stream):
            named = {EPOCH if name == "epoch" else name: value for name, value in row.items() if name != "step"}
            yield float(row["step"]), {name: float(value) for name, value in named.items() if value}
        return
    for line in stream:
        record = json.loads(line) if line.endswith("\n") else {}  # the last one may be half written
        for name, value, step in record.get("metrics", ()):
            yield float(step), {name: np.nan if value is None else float(value)}


def draw_history(run: ScoredRun, path: Path) -> list[Path]:
    """Draw the terms of the loss and the score of the validation against the optimiser step, stages marked."""
    if run.records is None:
        return []
    records = read_records(run.records)
    terms = {name: values for name, values in records.items() if name.startswith(TRAIN) and name not in NO_TERMS}
    ratios = {name: values for name, values in records.items() if name.startswith(f"{VALIDATION}rmse_ratio")}
    if not terms:
        return []
    changes = list(_steps_of(run.stages, records.get(EPOCH)))
    with new_figure(5.2, 1.9 * (1 + bool(ratios)) + 0.6) as figure:
        panes = figure.subplots(1 + bool(ratios), 1, squeeze=False, sharex=True)[:, 0]
        for pane, shown, text in zip(panes, (terms, ratios), ("loss", "RMSE / persistence"), strict=False):
            for (name, values), colour in zip(shown.items(), SERIES * len(shown), strict=False):
                marker = "." if len(values) < 20 else ""
                width = 2.5 if name == TOTAL and len(shown) > 1 else 1  # seen behind a term that is nearly all of it
                pane.plot(*values.T, color=colour, marker=marker, label=name, linewidth=width)
            found = np.concatenate([values[:, 1] for values in shown.values()])
            found = found[np.isfinite(found)]
            if found.size and found.min() > 0:
                if found.max() > WIDE_RANGE * found.min():
                    pane.set_yscale("log")
                else:
                    pane.set_ylim(0, 1.1 * found.max())
            for step, _ in changes:
                pane.axvline(step, color=BASELINE, linestyle="--", linewidth=0.8)
            pane.set_ylabel(text)
            pane.spines[["top", "right"]].set_visible(False)
            room = 1.14 if changes and pane is panes[0] else 1.0
            columns = legend_columns(list(shown), 0.85 * figure.get_figwidth())
            pane.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, room), ncols=columns, borderaxespad=0.2)
        for step, words in changes:
            place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            panes[0].annotate(words, (step, 1.0), (0, 2), fontsize="x-small", color="#555555", ha="center", **place)
        panes[-1].set_xlabel("optimiser step")
        return [save(figure, path)]


def _steps_of(stages: Sequence[tuple[float, str]], epochs: np.ndarray | None) -> Iterator[tuple[float, str]]:
    """Steps at which stages begin, of those that the training has come to; `epochs` as recorded, (record, 2)."""
    if epochs is None or not stages:
        return
    numbers = np.unique(epochs[:, 1])
    ends = [0.0, *(1 + epochs[epochs[:, 1] == number, 0].max() for number in numbers)]
    done = [numbers[0], *(numbers + 1)]
    for epoch, words in stages:
        if epoch < done[-1]:
            yield float(np.interp(epoch, done, ends)), words


PICTURES = (Picture("history", "terms of the loss and validation as the training went", draw_history),)
