"""Parallel coordinates: parameters of many runs against their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spacecast.plots.canvas import new_figure, save

WIDE_RANGE = 30.0  # numbers that span more than this, all positive, stand on a logarithmic axis

APART = 0.07  # least distance of two labels of numbers, in heights of an axis


class Coordinate(NamedTuple):
    """One upright axis: its name and the value of each run, words or numbers."""

    name: str
    values: Sequence[str] | Sequence[float]


def draw_parallel(parameters: Sequence[Coordinate], scores: Sequence[Coordinate], path: Path) -> Path:
    """One line for each set of parameters, coloured by the last score; runs of the same set are points and a bar.

    Args:
        parameters: may be none.
        scores: at least one.
        path: of the picture.

    """
    import matplotlib as mpl

    columns = [*parameters, *scores]
    places = np.column_stack([heights(axis) for axis in columns])  # (run, axis), 0 at the foot and 1 at the top
    sets = [tuple(axis.values[run] for axis in parameters) for run in range(len(places))]
    groups = {key: [run for run, other in enumerate(sets) if other == key] for key in dict.fromkeys(sets)}
    colours = mpl.colormaps["viridis"]
    with new_figure(1.6 + 1.5 * len(columns), 3.4) as figure:
        axes = figure.add_subplot()
        for number, members in enumerate(groups.values()):
            line = np.array([_known(column).mean() if _known(column).size else np.nan for column in places[members].T])
            colour = colours(0.95 * line[-1]) if np.isfinite(line[-1]) else "#9a9a9a"
            # lines that share a word part a little, so that they can be told from each other
            shift = 0.012 * (number - (len(groups) - 1) / 2) if len(groups) < 20 else 0.0
            where = line + shift * (np.arange(len(columns)) < len(parameters))
            axes.plot(range(len(columns)), where, color=colour, linewidth=1.2, alpha=0.9)
            for column in range(len(parameters), len(columns)):
                found = _known(places[members, column])
                if not found.size:
                    continue
                axes.plot([column] * len(found), found, ".", color=colour, markersize=4)
                axes.plot([column, column], [found.min(), found.max()], color=colour, linewidth=3, alpha=0.4)
        # no line strikes through a label
        paper = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        words: dict[str, Any] = {"fontsize": "small", "bbox": paper, "zorder": 5}
        for column, axis in enumerate(columns):
            axes.axvline(column, color="#222222", linewidth=0.6)
            for height, text in ticks(axis):
                axes.annotate(text, (column, height), (4, 0), textcoords="offset points", va="center", **words)
        names = [axis.name.replace(".", ".\n", 1) for axis in columns]
        axes.set_xticks(range(len(columns)), names)
        axes.set_yticks([])
        axes.set_xlim(-0.15, len(columns) - 0.6)
        axes.set_ylim(-0.1, 1.1)
        for side in axes.spines.values():
            side.set_visible(False)
        return save(figure, path)


def numbers(axis: Coordinate) -> np.ndarray | None:
    """Values as numbers, shape (run,); None when one of them is a word."""
    try:
        return np.array([float(value) for value in axis.values])
    except ValueError:
        return None


def heights(axis: Coordinate) -> np.ndarray:
    """Height of each run on an axis, shape (run,): 0 is the foot, 1 the top; NaN where a score is no finite number."""
    found = numbers(axis)
    if found is None:
        words = list(dict.fromkeys(axis.values))
        return np.array([words.index(value) / (len(words) - 1) if len(words) > 1 else 0.5 for value in axis.values])
    found = np.where(np.isfinite(found), found, np.nan)
    if np.isnan(found).all():
        return found
    if np.nanmin(found) > 0 and np.nanmax(found) > WIDE_RANGE * np.nanmin(found):
        found = np.log(found)
    low, high = np.nanmin(found), np.nanmax(found)
    return np.full(found.shape, 0.5) if low == high else np.asarray((found - low) / (high - low))


def ticks(axis: Coordinate) -> list[tuple[float, str]]:
    """Heights and labels: every word, or at most six numbers that leave each other room, the least and the largest."""
    where = heights(axis)
    labels = {round(float(height), 6): value for height, value in zip(where, axis.values, strict=True)}
    known = sorted((height, value) for height, value in labels.items() if np.isfinite(height))
    if numbers(axis) is not None and len(known) > 6:
        known = [known[index] for index in np.linspace(0, len(known) - 1, 4).round().astype(int)]
    if numbers(axis) is not None and len(known) > 2:
        first, *inner, last = known
        known = [first]
        for each in inner:
            if known[-1][0] + APART <= each[0] <= last[0] - APART:
                known.append(each)
        known.append(last)
    return [(height, value if isinstance(value, str) else f"{value:.4g}") for height, value in known]


def _known(values: np.ndarray) -> np.ndarray:
    """Those that are numbers."""
    return values[~np.isnan(values)]
