"""From a model to its scores: the table on the terminal, files in the run folder, records in the tracking store."""

import logging
from typing import TYPE_CHECKING, Any

from torch import nn

from spacecast.app.assemble import device_of
from spacecast.config.schema import Train
from spacecast.core.protocols import Datastore
from spacecast.core.spec import DataSpec
from spacecast.forecast.processes import Processes
from spacecast.process.progress import ProgressBar
from spacecast.tracking.logger import log_artifact, log_scores

if TYPE_CHECKING:
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)


def score(
    config: Train,
    model: nn.Module,
    datastore: Datastore,
    spec: DataSpec,
    logger: Any,
    processes: Processes | None = None,
) -> "Scores | None":
    """Evaluate a model as `evaluation` says; print, write and record the scores.

    Args:
        config: of the training or the evaluation.
        model: with its weights.
        datastore: what to forecast.
        spec: what the model was trained on.
        logger: of `tracking`, or anything else that is then left alone.
        processes: those that share the work; None: this one, where the configuration says.

    Returns:
        The scores, in the first process; None in others, which write nothing.

    """
    from spacecast.plots.history import records_of
    from spacecast.plots.picture import ScoredRun
    from spacecast.plots.pictures import draw_pictures
    from spacecast.plots.plane import Plane
    from spacecast.training.schedule import changes

    run_dir, split = config.paths.run_dir, config.evaluation.label
    processes = processes or Processes(device=device_of(config))
    with ProgressBar("evaluating") as progress:
        scores: Scores | None = config.evaluation.build()(
            model,
            datastore,
            spec=spec,
            device=processes.device,
            out_dir=run_dir,
            progress=(lambda done, total: progress("forecasts", done, total)) if processes.first else None,
            processes=processes,
        )
    if scores is None:
        return None
    if scores.dataset is not None:
        facts = {"checkpoint": str(getattr(config, "checkpoint", run_dir)), "model": config.model.target}
        scores.dataset.attrs |= facts
        log_artifact(logger, scores.write_netcdf(run_dir / "scores.nc"), "scores")
    table = scores.write_csv(run_dir / "scores.csv")
    log.info("%s", scores.table())
    examples = run_dir / "examples.zarr"
    shown = examples if examples.exists() else None
    stages = changes(config.schedule.build(), config.trainer.max_epochs) if isinstance(config, Train) else []
    scored = ScoredRun(scores, Plane.of(spec), shown, run_dir.name, records_of(run_dir), stages=stages)
    pictures = draw_pictures(scored, run_dir / "figures")
    log_scores(logger, scores, split)
    for path in (table, *pictures):
        log_artifact(logger, path, "scores" if path.suffix == ".csv" else "")
    log.info("run folder: %s", run_dir)
    return scores
