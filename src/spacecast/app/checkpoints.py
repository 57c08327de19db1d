"""Several checkpoints of one command line: what lists and folders of sweeps stand for, each with a short name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacecast.config.paths import absolute_path
from spacecast.core.errors import UserError
from spacecast.core.names import REGISTERED
from spacecast.core.text import several
from spacecast.process.status import FINISHED, UNSTARTED, read_status
from spacecast.sweep.folder import FILE, Sweep

LONGEST = 40  # of the name that a run has in its sweep; runs with a longer one go by their number
CHECKPOINTS, BEST = "checkpoints", "best"


@dataclass(frozen=True)
class Checkpoint:
    """One of them.

    Args:
        text: as typed, or the folder of a run of a sweep.
        name: which no other has, fit for a folder.

    """

    text: str
    name: str


def listed(words: Sequence[Any]) -> tuple[list[Checkpoint], list[str]]:
    """The checkpoints that are meant, and the runs of sweeps that have not finished, a line for each sweep.

    Args:
        words: files, folders of runs and of sweeps, and addresses, as of a registry.

    Raises:
        UserError: there is none, or one is named twice.

    """
    found: list[tuple[str, tuple[str, ...]]] = []
    left_out = []
    for word in map(str, words):
        if "://" in word or word.startswith(REGISTERED):
            found.append((word, tuple(re.split(r"[/:]+", word)[1:])))
            continue
        path = Path(absolute_path(word, "checkpoint"))
        if (path / FILE).is_file():
            runs, missing = _finished(Sweep.read(path))
            found += runs
            left_out += missing
        else:
            found.append((str(path), _parts(path)))
    if not found:
        raise UserError("checkpoint=[]: there is nothing to score; name checkpoints, or folders of runs")
    for number, (text, parts) in enumerate(found):
        if parts in [other for _, other in found[:number]]:
            raise UserError(f"checkpoint: {text} is named twice; name it once")
    names = _short([parts for _, parts in found])
    return [Checkpoint(text, name) for (text, _), name in zip(found, names, strict=True)], left_out


def _finished(sweep: Sweep) -> tuple[list[tuple[str, tuple[str, ...]]], list[str]]:
    """Folders of the runs of a sweep that have finished, with the parts of their names; a line on the others.

    Raises:
        UserError: none has.

    """
    states = [(run, read_status(sweep.run_dir(run)).get("state", UNSTARTED)) for run in sweep.runs]
    done = [run for run, state in states if state == FINISHED]
    if not done:
        raise UserError(f"{sweep.folder}: no run of this sweep has finished; there is nothing to score yet")
    short = all(run.name and len(run.name) <= LONGEST for run in sweep.runs)
    above = _parts(sweep.folder)
    runs = [(str(sweep.run_dir(run)), (*above, run.name if short else str(run.number))) for run in done]
    rest = [f"{run.number} ({state})" for run, state in states if state != FINISHED]
    line = f"left out of {sweep.name}, {several(len(rest), 'run')} that did not finish: {', '.join(rest)}"
    return runs, [line] if rest else []


def _parts(path: Path) -> tuple[str, ...]:
    """What may stand in the name of a checkpoint, the most telling part last: its run, and its file unless the best."""
    if not path.is_file():
        return path.parts[1:]
    folder, stem = path.parent, path.stem
    if folder.name == CHECKPOINTS:
        *above, run = folder.parent.parts[1:]
        return (*above, run if stem == BEST else f"{run}-{stem}")
    return (*folder.parts[1:], stem)


def _short(parts: Sequence[tuple[str, ...]]) -> list[str]:
    """Names of as few parts as tell them from each other."""
    for depth in range(1, max(map(len, parts)) + 1):
        names = [_plain("-".join(each[-depth:])) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(names)]


def _plain(text: str) -> str:
    """A name for a folder in letters, digits and a few signs; no folder of ours is called like it."""
    name = re.sub(r"[^\w.=+@-]+", "_", text).lstrip(".-")
    return f"{name}_" if not name or name in (CHECKPOINTS, "figures") else name
