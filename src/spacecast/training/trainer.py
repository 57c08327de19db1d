"""The Lightning trainer of a run."""

from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from spacecast.core.errors import UserError


def make_trainer(
    build: Callable[..., pl.Trainer], run_dir: Path, logger: Logger | None, callbacks: list[Callback]
) -> pl.Trainer:
    """Make the trainer with what every run needs; loaders are made anew each epoch, samplers are our own.

    Args:
        build: the trainer with everything that the configuration says.
        run_dir: folder of the run.
        logger: of the tracking; None: none.
        callbacks: what happens beside training.

    Raises:
        UserError: the machine does not have what the configuration asks for, or values contradict each other.

    """
    try:
        return build(
            logger=logger or False,
            callbacks=callbacks,
            default_root_dir=run_dir,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            enable_checkpointing=bool(callbacks),
            enable_progress_bar=any("ProgressBar" in type(callback).__name__ for callback in callbacks),
        )
    except (MisconfigurationException, ImportError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
