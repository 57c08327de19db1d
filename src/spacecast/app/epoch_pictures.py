"""Pictures of a training that goes on: a forecast, and the scores so far."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.core.text import several
from spacecast.tracking.logger import log_artifact

if TYPE_CHECKING:
    from spacecast.core.spec import DataSpec
    from spacecast.training.pictures import Sample
    from spacecast.training.schedule import Schedule

FOLDER = "figures/training"  # of the run folder, and of the artifacts


class EpochPictures:
    """Draws a forecast of the validation, `epoch_<number>.png`, and the history so far, and records both.

    Args:
        run_dir: folder of the run.
        spec: facts of the data.
        schedule: of the training, which has so many epochs.
        epochs: None: it is not known.
        logger: of the tracking; None: none.

    """

    def __init__(
        self, run_dir: Path, spec: "DataSpec", schedule: "Schedule", epochs: int | None, logger: Any
    ) -> None:
        self.run_dir, self.spec, self.schedule, self.epochs, self.logger = run_dir, spec, schedule, epochs, logger

    def __call__(self, sample: "Sample") -> None:
        """Draw and record."""
        from spacecast.plots.history import draw_history, records_of
        from spacecast.plots.maps import draw_comparison
        from spacecast.plots.picture import ScoredRun
        from spacecast.plots.plane import Plane
        from spacecast.training.schedule import changes

        plane, folder = Plane.of(self.spec), self.run_dir / FOLDER
        fields = {"truth": sample.truth, "forecast": sample.forecast, "error": sample.forecast - sample.truth}
        title = f"validation after {several(sample.epochs, 'epoch')}, lead time {sample.seconds:g} s"
        path = folder / f"epoch_{sample.epochs:04d}.png"
        paths = [draw_comparison(plane, fields, path, variables=plane.chosen(None), title=title)]
        if self.logger is not None:
            self.logger.save()  # or a table lacks the latest records
        run = ScoredRun(records=records_of(self.run_dir), stages=changes(self.schedule, self.epochs))
        paths += draw_history(run, path.with_stem(f"{path.stem}_history"))
        for each in paths:
            log_artifact(self.logger, each, FOLDER)
