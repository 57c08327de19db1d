"""What each ingredient brings: the table of a sweep of experiment=ablation.

Usage: python scripts/ablation_table.py SWEEP [--page PAGE]

Writes ablation.md into the folder of the sweep and prints it; with --page, the table also takes the place of the one in
that page. Runs that differ in their seed are one line, mean ± standard deviation. Scores are those of scores.csv.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from spacecast.config.compose import conf_dir
from spacecast.core.errors import UserError
from spacecast.evaluation.scores import Scores
from spacecast.process.exit_codes import run_to_end
from spacecast.process.files import write_text
from spacecast.process.run_folder import read_facts
from spacecast.sweep.folder import Run
from tables import chosen_leads, finished_runs, markdown, replace_part

PART, MIDDLE = "ablation", 10  # the lead at which single numbers are given
FOLDER = "ablation/"


class Line(NamedTuple):
    """The scores of a run.

    Args:
        ratio: RMSE over that of persistence, mean over the variables, shape (lead,).
        numbers: further ones by the head of their column, at the middle lead; NaN for what was not scored.
        references: scores of other references than persistence by label, each of shape (lead,).

    """

    ratio: np.ndarray
    numbers: dict[str, float]
    references: dict[str, np.ndarray]


def read_line(run_dir: Path) -> Line:
    """Scores and time of a run."""
    scores = Scores.read_csv(run_dir / "scores.csv")
    ratio = scores.ratio()
    lead = min(MIDDLE, len(ratio)) - 1

    def at(metric: str, *variables: str) -> float:
        known = {row.variable for row in scores if row.metric == metric}
        values = [scores.series(metric, name)[1][lead] for name in variables if name in known]
        return float(np.mean([value for value in values if np.isfinite(value)] or [np.nan]))

    numbers = {
        f"T, lead {lead + 1}": 1 - at("skill", "T"),
        f"abs div B, lead {lead + 1}": at("div_b", "B"),
        f"roughness, lead {lead + 1}": at("roughness", *scores.variables),
        "training [s]": float(read_facts(run_dir).get("training_seconds", np.nan)),
    }
    return Line(ratio, numbers, scores.references())


def member(run: Run) -> str:
    """The member of conf/experiment/ablation that a run is.

    Raises:
        UserError: it is none of them.

    """
    name = dict(word.lstrip("+").partition("=")[::2] for word in run.overrides).get("experiment", "")
    if not name.startswith(FOLDER):
        raise UserError(f"run {run.number} ({run.name}) is no ablation; give the folder of -m experiment=ablation")
    return name.removeprefix(FOLDER)


def meaning(name: str) -> str:
    """What a member says of itself on top."""
    file = conf_dir() / "experiment" / FOLDER / f"{name}.yaml"
    comments = [line.lstrip("# ") for line in file.read_text().splitlines() if line.startswith("#")]
    return " ".join(line for line in comments if not line.startswith("@"))


def render(lines: dict[str, list[Line]]) -> str:
    """The table in Markdown; a line for each member in the order of the sweep."""
    leads = chosen_leads(min(len(line.ratio) for group in lines.values() for line in group))
    heads = list(next(iter(lines.values()))[0].numbers)
    rows = []
    for name, group in lines.items():
        ratios = [_cell([line.ratio[lead - 1] for line in group], 3) for lead in leads]
        rows.append([meaning(name), *ratios, *(_cell([line.numbers[head] for line in group]) for head in heads)])
    for label, curve in next(iter(lines.values()))[0].references.items():  # the same for all
        rows.append([label, *(f"{curve[lead - 1]:.3f}" for lead in leads), *([""] * len(heads))])
    return markdown(["", *(f"lead {lead}" for lead in leads), *heads], rows)


def _cell(values: Sequence[float], digits: int | None = None) -> str:
    """A mean, with the standard deviation of several."""
    mean = float(np.mean(values))
    if np.isnan(mean):
        return ""
    text = f"{mean:.{digits}f}" if digits else f"{mean:.3g}"
    return f"{text} ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else text


def run(arguments: Sequence[str] | None = None) -> None:
    """Do what the words say.

    Raises:
        UserError: runs are missing, or are none of such a sweep.

    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="its folder")
    parser.add_argument("--page", type=Path, help=f"a page with the markers <!-- {PART} --> and <!-- end of {PART} -->")
    words = parser.parse_args(arguments)
    lines: dict[str, list[Line]] = {}
    for each, run_dir in finished_runs(words.sweep):
        lines.setdefault(member(each), []).append(read_line(run_dir))
    text = render(lines)
    write_text(words.sweep / "ablation.md", f"{text}\n")
    if words.page:
        replace_part(words.page, PART, text)
    print(text)


if __name__ == "__main__":
    run_to_end("ablation_table.py", run, unforeseen="")
