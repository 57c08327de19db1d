"""Mutes what the libraries say and a user cannot act on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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


def quiet() -> None:
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
def hushed() -> Iterator[None]:
    """No line of information from within, for a rehearsal."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
