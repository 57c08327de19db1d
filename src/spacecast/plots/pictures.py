"""All pictures that there are: those that the modules of `plots` list, and those of metrics."""

import importlib
import logging
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import spacecast.plots
from spacecast.core.errors import UserError, nearest
from spacecast.core.text import as_words
from spacecast.evaluation import metrics
from spacecast.plots import curves
from spacecast.plots.canvas import SIZES, sized
from spacecast.plots.picture import Picture, ScoredRun

log = logging.getLogger(__name__)

ALL = "all"


@cache
def pictures_of_modules() -> tuple[Picture, ...]:
    """What the modules of this package list as their `PICTURES`."""
    found: list[Picture] = []
    for module in sorted(entry.name for entry in pkgutil.iter_modules(spacecast.plots.__path__)):
        if module != __name__.rpartition(".")[2]:
            found += getattr(importlib.import_module(f"spacecast.plots.{module}"), "PICTURES", ())
    return tuple(found)


def known_pictures() -> Mapping[str, Picture]:
    """Every picture by its name: those of the modules, and one of each metric that is drawn, as there are by now."""
    found = list(pictures_of_modules())
    own = [each for each in metrics.METRICS if each.picture]
    found += [Picture(each.name, each.label, partial(curves.draw_metric, metric=each), together=True) for each in own]
    return {picture.name: picture for picture in found}


def chosen_pictures(what: str | Sequence[str] | None) -> list[Picture]:
    """The pictures that are asked for.

    Args:
        what: names, or `all`; None: those that are drawn after each evaluation.

    Raises:
        UserError: there is none of that name.

    """
    known = known_pictures()
    if what is None:
        return [picture for picture in known.values() if picture.always]
    names = as_words(what)
    if ALL in names:
        return list(known.values())
    for name in names:
        if name not in known:
            raise UserError(f"what={name}: there is no such picture; {nearest(name, [*known, ALL])}")
    if not names:
        raise UserError(f"what=[] names no picture; give one of {', '.join(known)}, or {ALL}")
    return [known[name] for name in dict.fromkeys(names)]


def draw_pictures(run: ScoredRun, folder: Path) -> list[Path]:
    """Draw what is drawn after each evaluation; a picture that fails costs a warning.

    Args:
        run: what is drawn.
        folder: where the pictures go.

    Returns:
        Their paths.

    """
    paths: list[Path] = []
    for picture in chosen_pictures(None):
        try:
            paths += picture.draw(run, folder / f"{picture.name}{picture.suffix or '.png'}")
        except (ValueError, RuntimeError, OSError) as error:
            log.warning("picture %s was not drawn: %s", picture.name, error)
    return paths


def draw_chosen(
    pictures: Sequence[Picture], runs: Sequence[ScoredRun], folder: Path, formats: Sequence[str], size: str
) -> list[Path]:
    """Draw pictures of one or several runs.

    Args:
        pictures: which.
        runs: with names that differ. Pictures that show several at once do; of others there is a folder for each run.
        folder: where the pictures go.
        formats: png, pdf and what else matplotlib writes.
        size: page, column or slide.

    Returns:
        Their paths.

    """
    assert size in SIZES
    paths: list[Path] = []
    with sized(size):
        for picture in pictures:
            places = {folder: replace(runs[0], others=runs[1:])}
            if len(runs) > 1 and not picture.together:
                places = {folder / run.name: run for run in runs}
            for place, run in places.items():
                for suffix in [picture.suffix] if picture.suffix else [f".{each}" for each in formats]:
                    paths += picture.draw(run, place / f"{picture.name}{suffix}")
    return paths
