"""`spacecast-sweep`: what became of the runs of a sweep, again what is missing, tables, its end, its tracking."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spacecast.config.binding import check_target
from spacecast.config.command import command_of
from spacecast.config.trust import trusted_words
from spacecast.core.errors import UserError
from spacecast.core.text import several
from spacecast.process.exit_codes import AT_ONCE, DONE, GOES_ON, INTERNAL_ERROR, USER_ERROR, run_to_end
from spacecast.process.logs import print_line
from spacecast.process.status import FINISHED
from spacecast.sweep.cancel import cancel as end_sweep
from spacecast.sweep.folder import Sweep
from spacecast.sweep.progress import progress, tally
from spacecast.sweep.saved import check_saved, read_config
from spacecast.sweep.starting import resume
from spacecast.tracking.sync import close_abandoned

NAME = "spacecast-sweep"
MORE = f"""Examples
  spacecast-train -m launcher=slurm seed=1,2,3        makes a sweep; its last line names the folder
  spacecast-sweep status runs/DATE/TIME_sweep         state, restarts, job and error of each run
  spacecast-sweep resume DIR launcher.hours=24        the rest once more, with more time
  spacecast-sweep cancel DIR                          no more of it
  spacecast-sweep report DIR --score rmse/Bx@last     runs by the error of Bx at the last lead, least first
  spacecast-sweep sync runs --to http://HOST:5000     into another MLflow store

Exit codes: {DONE} done; {INTERNAL_ERROR} an error inside spacecast, runs that did not finish, \
or records that were not delivered;
{USER_ERROR} a mistake of the user; {GOES_ON} interrupted or cancelled, resume goes on; \
{AT_ONCE} ended at once by the keyboard
"""
FIXED = ("nodes", "gpus_per_node", "cluster")  # part of the runs themselves


def status(folder: Path) -> None:
    """Print state, restarts, job and error of each run; runs that died without a word are closed in MLflow as well."""
    sweep = Sweep.read(folder)
    states = progress(sweep)
    print_line(f"{sweep.folder}: {several(len(states), 'run')}, {tally(states)}")
    rows = [("run", "state", "restarts", "job", "what", "why")]
    for each in states:
        if not each.active and each.state != FINISHED:
            close_abandoned(sweep.run_dir(each.run))
        restarts = str(each.status.get("restarts", 0) or "")
        rows.append((str(each.run.number), each.state, restarts, each.job, each.run.name, each.why))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)]
        print_line("  ".join([*cells, row[5]]).rstrip())


def again(folder: Path, words: Sequence[str]) -> None:
    """Submit what neither has finished nor is under way, with changed keys of the launcher if so asked."""
    changes = _changes([word for word in words if not word.startswith("trust=")])
    trusted = trusted_words(_read([word for word in words if word.startswith("trust=")]).get("trust"))
    sweep = Sweep.read(folder)
    command = command_of(sweep.command)
    check_saved(sweep, sweep.runs[:1], trusted, changes, {})
    section = read_config(sweep.run_dir(sweep.runs[0])).get("launcher")
    if changes and not section:
        raise UserError("these runs have no launcher: resume without launcher.KEY=VALUE")
    if section:
        check_target({**section, **changes}, "launcher")
    resume(sweep, command, changes, trusted)


def _changes(words: Sequence[str]) -> dict[str, Any]:
    """Keys of the launcher from `launcher.KEY=VALUE`."""
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or not key.startswith("launcher."):
            raise UserError(f"cannot use {word!r}: only launcher.KEY=VALUE may change, and trust=MODULE may be given")
        if key.removeprefix("launcher.") in FIXED:
            raise UserError(f"{key} is part of the runs, which are as they were recorded; start a new sweep")
    return dict(_read(words).get("launcher", {}))


def _read(words: Sequence[str]) -> dict[str, Any]:
    """Values of `key=value`."""
    try:
        found = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)))
    except OmegaConfBaseException as error:
        raise UserError(f"cannot read {' '.join(words)}: {str(error).splitlines()[0]}") from error
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def cancel(folder: Path) -> None:
    """End what is queued, runs or waits. What is done is kept, and `resume` goes on from there."""
    sweep = Sweep.read(folder)
    ended = end_sweep(sweep)
    for run in ended:
        close_abandoned(sweep.run_dir(run))
    print_line(f"{several(len(ended), 'run')} cancelled")


def report(folder: Path, scores: Sequence[str]) -> None:
    """Write `report.md`, `report.csv` and `report.png` into the folder and print the table."""
    from spacecast.sweep.report import write_report

    print_line(write_report(folder, scores))


def parser() -> argparse.ArgumentParser:
    """Verbs and their words."""
    made = argparse.ArgumentParser(
        NAME,
        description="The runs of a sweep: what became of them, again what is missing, tables, an early end, tracking.",
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    texts = {
        "status": "what runs, what has ended and why",
        "resume": "submit again what neither has finished nor is under way; launcher.KEY=VALUE changes the request, "
        "trust=MODULE allows code of your own that the runs name",
        "report": "a table (report.md, report.csv) and a picture (report.png) of parameters against scores",
        "cancel": "end what is queued, runs or waits for its turn; what is done is kept",
        "sync": "bring what runs have recorded into their MLflow store, or another one; nothing arrives twice",
    }
    for verb, text in texts.items():
        words = verbs.add_parser(
            verb, help=text, description=text, epilog=MORE, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if verb == "sync":
            words.add_argument("folders", metavar="DIR", type=Path, nargs="+", help="of runs, sweeps or days")
            words.add_argument("--to", metavar="URI", help="the store; default: the one that each run was told to use")
            continue
        words.add_argument("folder", metavar="DIR", type=Path, help="folder of the sweep")
        if verb == "resume":
            words.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="launcher.hours=12, trust=mymodel")
        if verb == "report":
            words.add_argument("--score", action="append", metavar="METRIC/VARIABLE[@LEAD]", help="default: skill/mean")
    return made


def run(arguments: Sequence[str]) -> None:
    """Do what the words say.

    Raises:
        UserError: a mistake of the user.
        SystemExit: code 1 when not everything was delivered.

    """
    words = parser().parse_args(list(arguments))
    if words.verb == "sync":
        from spacecast.sweep.sync import sync

        if not sync([folder.expanduser().absolute() for folder in words.folders], words.to):
            raise SystemExit(INTERNAL_ERROR)
        return
    folder = words.folder.expanduser().absolute()
    match words.verb:
        case "status":
            status(folder)
        case "resume":
            again(folder, words.changes)
        case "report":
            report(folder, words.score or [])
        case _:
            cancel(folder)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script; it ends like the other commands."""
    run_to_end(NAME, lambda: run(sys.argv[1:] if arguments is None else arguments), unforeseen="")


if __name__ == "__main__":
    main()
