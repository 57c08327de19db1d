"""How a model does on a density that it was not trained on, of a sweep of experiment=leave_one_out.

Usage: python scripts/leave_one_out.py SWEEP [--page PAGE]

Writes leave_one_out.md, leave_one_out.json and leave_one_out.png into the folder of the sweep and prints the first;
with --page, the tables also take the place of those in that page. A score is RMSE over that of persistence, mean over
the variables, on the test split. That of the held-out run is divided by

- the mean score of the same model on the runs of its training, and
- the mean score on the same run, so in the same wind, of the models of the sweep that were trained on it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from spacecast.core.errors import UserError
from spacecast.core.names import UNSEEN
from spacecast.plots.canvas import BASELINE, new_figure, save
from spacecast.process.exit_codes import run_to_end
from spacecast.process.files import write_json, write_text
from spacecast.process.run_folder import CONFIG_FILE
from tables import chosen_leads, finished_runs, markdown, plain, read_scores, replace_part

PART = "leave one out"


class Fold(NamedTuple):
    """The scores of one model, each of shape (lead,), by simulation run.

    Args:
        held_out: runs that it was not trained on.
        trained: runs that it was trained on.
        seconds: lead times.
        densities: of the solar wind of each run [1/cm3], where the data were simulated.

    """

    held_out: Mapping[str, np.ndarray]
    trained: Mapping[str, np.ndarray]
    seconds: np.ndarray
    densities: Mapping[str, float]


class Line(NamedTuple):
    """One held-out run: scores of shape (lead,).

    Args:
        name: of the run.
        held_out: by the models that were not trained on it.
        training_runs: of the same models on the runs of their training.
        same_run: by the models that were trained on it; NaN where there is none.

    """

    name: str
    held_out: np.ndarray
    training_runs: np.ndarray
    same_run: np.ndarray


def read_fold(run_dir: Path) -> Fold:
    """The scores of a run of the sweep.

    Raises:
        UserError: it held out nothing, or was not scored on all runs.

    """
    config = yaml.safe_load((run_dir / CONFIG_FILE).read_text())
    held_out = [str(name) for name in config["datastore"].get("holdout") or ()]
    scores = read_scores(run_dir)
    ratio = 1 - scores["skill_by_run"].sel(region="all", variable="mean")
    found = {str(name): ratio.sel(run=name).values for name in ratio["run"].values}
    trained = {name: values for name, values in found.items() if name not in (*held_out, UNSEEN)}
    if not held_out or not trained or not set(held_out) <= found.keys():
        needed = "give datastore.holdout, and evaluation.runs=all"
        raise UserError(f"{run_dir} has no scores of both held-out and training runs; {needed}")
    numbers = enumerate((config.get("simulation") or {}).get("densities") or (), start=1)
    densities = {str(number): float(density) for number, density in numbers}
    return Fold({name: found[name] for name in held_out}, trained, scores["lead_time"].values, densities)


def compare(folds: Sequence[Fold]) -> list[Line]:
    """One line for each held-out run, means over the models (seeds) of the sweep; runs in order of their names."""
    lines = []
    for name in sorted({name for fold in folds for name in fold.held_out}):
        outside = [fold for fold in folds if name in fold.held_out]
        inside = [fold.trained[name] for fold in folds if name in fold.trained]
        training = np.mean([np.mean(list(fold.trained.values()), axis=0) for fold in outside], axis=0)
        held_out = np.mean([fold.held_out[name] for fold in outside], axis=0)
        same = np.mean(inside, axis=0) if inside else np.full_like(held_out, np.nan)
        density = outside[0].densities.get(name)
        lines.append(Line(f"run {name}" + (f", {density:g}/cm³" if density else ""), held_out, training, same))
    return lines


def render(lines: Sequence[Line], seconds: np.ndarray) -> str:
    """Both tables in Markdown."""
    leads = chosen_leads(len(seconds))
    head = ["held out", *(f"lead {lead} ({seconds[lead - 1]:g} s)" for lead in leads)]
    texts = []
    for title, reference in (("the training runs of the same model", 2), ("the same run by models trained on it", 3)):
        rows = []
        for line in lines:
            below = line[reference]
            rows.append([line.name, *(_cell(line.held_out[lead - 1], below[lead - 1]) for lead in leads)])
        texts.append(f"RMSE / persistence of the held-out run over that of {title}:\n\n{markdown(head, rows)}")
    return "\n\n".join(texts)


def _cell(one: float, other: float) -> str:
    """A quotient and what it is of."""
    return f"**{one / other:.2f}** ({one:.3f} / {other:.3f})"


def draw(lines: Sequence[Line], seconds: np.ndarray, path: Path) -> Path:
    """Both quotients against lead time, a line for each held-out run; 1 is no loss."""
    with new_figure(7.4, 2.8) as figure:
        panes = figure.subplots(1, 2, sharey=True)
        titles = ("over the training runs", "over models trained on it")
        for pane, title, reference in zip(panes, titles, (2, 3), strict=True):
            for line in lines:
                marker = "." if len(seconds) < 20 else ""
                pane.plot(seconds, line.held_out / line[reference], marker=marker, label=line.name)
            pane.axhline(1, color=BASELINE, linestyle="--", linewidth=0.8)
            pane.set_title(f"held-out run {title}")
            pane.set_xlabel("lead time [s]")
        panes[0].set_ylabel("quotient of RMSE / persistence")
        figure.legend(*panes[0].get_legend_handles_labels(), frameon=False, loc="outside right upper")
        return save(figure, path)


def run(arguments: Sequence[str] | None = None) -> None:
    """Do what the words say.

    Raises:
        UserError: runs are missing, or are none of such a sweep.

    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="its folder")
    parser.add_argument("--page", type=Path, help=f"a page with the markers <!-- {PART} --> and <!-- end of {PART} -->")
    words = parser.parse_args(arguments)
    folds = [read_fold(run_dir) for _, run_dir in finished_runs(words.sweep)]
    if len({len(fold.seconds) for fold in folds}) > 1:
        raise UserError("the runs were scored at different leads; score them alike")
    lines, seconds = compare(folds), folds[0].seconds
    text = render(lines, seconds)
    numbers = {line.name: {key: plain(getattr(line, key)) for key in Line._fields[1:]} for line in lines}
    write_json(words.sweep / "leave_one_out.json", {"lead_s": plain(seconds), "held_out_runs": numbers})
    write_text(words.sweep / "leave_one_out.md", f"{text}\n")
    draw(lines, seconds, words.sweep / "leave_one_out.png")
    if words.page:
        replace_part(words.page, PART, text)
    print(text)


if __name__ == "__main__":
    run_to_end("leave_one_out.py", run, unforeseen="")
