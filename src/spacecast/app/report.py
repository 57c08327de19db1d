"""From a model to its scores: the table on the terminal, files in the run folder, records in the tracking store."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from spacecast.app.assemble import device_of
from spacecast.config.build import build
from spacecast.config.command import Plain
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.process.progress import Progress
from spacecast.tracking.logger import log_artifact, log_scores

if TYPE_CHECKING:
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)


def score(plain: Plain, model: nn.Module, datastore: Datastore, spec: DataSpec, logger: Any) -> "Scores":
    """Evaluate a model as `evaluation` says; print, write and record the scores.

    Args:
        plain: configuration of the run.
        model: with its weights.
        datastore: what to forecast.
        spec: what the model was trained on.
        logger: of `tracking`, or anything else that is then left alone.

    """
    run_dir = Path(plain["paths"]["run_dir"])
    split = plain["evaluation"]["split"]
    with Progress("evaluating") as progress:
        scores: Scores = build(plain["evaluation"])(
            model,
            datastore,
            spec=spec,
            device=device_of(plain),
            out_dir=run_dir,
            progress=lambda done, total: progress(f"split {split}", done, total),
        )
    table = scores.write_csv(run_dir / "scores.csv")
    log.info("%s", scores.table())
    pictures = draw(scores, spec, run_dir)
    log_scores(logger, scores, split)
    for path in (table, *pictures):
        log_artifact(logger, path, "scores" if path.suffix == ".csv" else "figures")
    log.info("run folder: %s", run_dir)
    return scores


def draw(scores: "Scores", spec: DataSpec, run_dir: Path) -> list[Path]:
    """Pictures of the scores and of the examples, where there are any; a picture that fails costs a warning."""
    from spacecast.plots.curves import draw_curves, draw_divergence, draw_ranks, draw_skill, draw_spread_skill
    from spacecast.plots.examples import draw_examples

    folder, examples = run_dir / "figures", run_dir / "examples.zarr"
    wanted: dict[str, Callable[[Path], Path | list[Path]]] = {
        "rmse.png": lambda path: draw_curves(scores, path),
        "skill.png": lambda path: draw_skill(scores, path),
    }
    if "div_b" in scores.metrics:
        wanted["divergence.png"] = lambda path: draw_divergence(scores, path)
    if "spread_skill_ratio" in scores.metrics:
        wanted["spread_skill.png"] = lambda path: draw_spread_skill(scores, path)
    if scores.ranks is not None:
        wanted["ranks.png"] = lambda path: draw_ranks(np.asarray(scores.ranks), scores, path)
    if examples.exists():
        wanted["examples"] = lambda path: draw_examples(examples, spec, path.parent)
    pictures: list[Path] = []
    for name, picture in wanted.items():
        try:
            made = picture(folder / name)
        except (ValueError, RuntimeError, OSError) as error:
            log.warning("picture %s was not drawn: %s", name, error)
        else:
            pictures += made if isinstance(made, list) else [made]
    return pictures
