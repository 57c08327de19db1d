"""What a user is told: records for the terminal and the log file, without what libraries say and nobody can act on."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spacecast.process.signals import first_process

CHATTY = (
    "pytorch_lightning",
    "lightning_fabric",
    "lightning",
    "mlflow",
    "alembic",
    "matplotlib",
    "numcodecs",
    "fsspec",
)


class TerminalFilter(logging.Filter):
    """Keeps off the terminal tracebacks, progress where there is a bar, what the last line tells, and other ranks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True for records to show."""
        if getattr(record, "told_at_end", False) or (getattr(record, "progress", False) and sys.stdout.isatty()):
            return False
        return record.exc_info is None and (record.levelno >= logging.WARNING or first_process())


def mute_libraries() -> None:
    """Mute tips, device tables and deprecation warnings; errors stay."""
    import pytorch_lightning  # noqa: F401 - which sets levels when it is imported

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)
    for pattern in (
        ".*does not have many workers.*",
        ".*Starting from v1.9.0.*",
        ".*is a new feature.*",
        ".*LeafSpec.*",
        ".*your dataloader is not resumable.*",  # the data module is
    ):
        warnings.filterwarnings("ignore", pattern)


@contextmanager
def information_muted() -> Iterator[None]:
    """No line of information from within, for a rehearsal."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def close_logs(run_dir: Path) -> None:
    """Close the log files in a folder."""
    for owner in (logging.getLogger(), logging.getLogger("py.warnings")):
        for handler in list(owner.handlers):
            if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == run_dir:
                owner.removeHandler(handler)
                handler.close()


def print_line(text: str) -> None:
    """Write a line on the terminal at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
