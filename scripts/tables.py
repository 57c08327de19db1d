"""What the scripts that make tables of runs share: finished runs of a sweep, Markdown, a part of a page."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.text import as_typed
from spacecast.process.files import write_text
from spacecast.process.status import FINISHED
from spacecast.sweep.folder import Run, Sweep
from spacecast.sweep.progress import progress

SCORES = "scores.nc"
LEADS = (1, 2, 5, 10, 20, 50, 100)


def finished_runs(folder: Path) -> Iterator[tuple[Run, Path]]:
    """Runs of a sweep with their folders.

    Raises:
        UserError: it is no sweep, or some of its runs have no scores yet.

    """
    sweep = Sweep.read(folder.expanduser().absolute())
    for each in progress(sweep):
        run_dir = sweep.run_dir(each.run)
        if each.state != FINISHED or not (run_dir / SCORES).is_file():
            again = as_typed("spacecast-sweep", "resume", sweep.folder)
            raise UserError(f"run {each.run.number} ({each.run.name}) has no scores; {again} does what is missing")
        yield each.run, run_dir


def read_scores(run_dir: Path) -> xr.Dataset:
    """The scores of a run with those by simulation run.

    Raises:
        UserError: the file cannot be read.

    """
    try:
        return xr.load_dataset(run_dir / SCORES)
    except (OSError, ValueError) as error:
        name = run_dir / SCORES
        raise UserError(f"{name} cannot be read ({type(error).__name__}); evaluate that run again") from error


def chosen_leads(last: int) -> list[int]:
    """Numbers of the leads that a table shows: some in equal ratios, and the last one."""
    return sorted({lead for lead in LEADS if lead < last} | {last})


def plain(values: np.ndarray) -> list[float | None]:
    """Numbers as JSON has them: None for what is no finite one."""
    return [float(value) if np.isfinite(value) else None for value in values]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def replace_part(page: Path, name: str, text: str) -> None:
    """Put a text between the two markers `<!-- NAME -->` and `<!-- end of NAME -->` of a page.

    Raises:
        UserError: the page lacks them.

    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise UserError(f"{page} has no place for the table: it needs the lines {begin.strip()} and {end}")
    write_text(page, f"{head}{begin}{text}\n{end}{tail}")
