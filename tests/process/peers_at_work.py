"""What further processes do in tests/process/test_peers.py. Each says in a file that it has begun, with its number."""

import os
import sys
import time
import warnings
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.process.peers import PeerLostError


def _begin(folder: str) -> None:
    place = Path(folder) / f"begun-{os.environ['NUMBER']}"
    place.with_suffix(".new").write_text(str(os.getpid()))
    place.with_suffix(".new").rename(place)


def end(folder: str) -> None:
    sys.stdout.write("noise on stdout\n")
    warnings.warn("noise on stderr", stacklevel=1)
    _begin(folder)


def stay(folder: str) -> None:
    _begin(folder)
    while True:
        time.sleep(0.05)


def fail(folder: str) -> None:
    _begin(folder)
    raise ValueError("this is broken")


def mistake(folder: str) -> None:
    _begin(folder)
    raise UserError("a mistake of the user")


def lost(folder: str) -> None:
    _begin(folder)
    raise PeerLostError("alone")


def second_fails(folder: str) -> None:
    """The first to fail is the cause; the other one notices."""
    (fail if os.environ["NUMBER"] == "2" else lost)(folder)
