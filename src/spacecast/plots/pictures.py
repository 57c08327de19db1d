"""The pictures of a scored run, each a function of a file of its own, and those of metrics."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from spacecast.evaluation import metrics
from spacecast.plots import curves, maps
from spacecast.plots.canvas import ScoredRun

log = logging.getLogger(__name__)

# By the name of their file. A picture writes what it is to draw and returns the paths, none where there is nothing.
PICTURES: dict[str, Callable[[ScoredRun, Path], list[Path]]] = {
    "rmse.png": curves.draw_rmse,
    "skill.png": curves.draw_skill,
    "divergence.png": curves.draw_divergence,
    "spread_skill.png": curves.draw_spread_skill,
    "ranks.png": curves.draw_ranks,
    "examples": maps.draw_examples,
}


def draw_pictures(run: ScoredRun, folder: Path) -> list[Path]:
    """Draw all pictures that there is something for; one that fails costs a warning.

    Args:
        run: what is drawn.
        folder: where the pictures go.

    Returns:
        Their paths.

    """
    paths: list[Path] = []
    own = {f"{each.name}.png": partial(curves.draw_metric, metric=each) for each in metrics.METRICS if each.picture}
    for name, draw in (PICTURES | own).items():
        try:
            paths += draw(run, folder / name)
        except (ValueError, RuntimeError, OSError) as error:
            log.warning("picture %s was not drawn: %s", name, error)
    return paths
