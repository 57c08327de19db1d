"""How a process of spacecast ends: an exit code for shells and schedulers and, unless it is 0, one line for people."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from spacecast.core.errors import UserError

DONE = 0
INTERNAL_ERROR = 1  # inside spacecast, or runs that did not finish
USER_ERROR = 2
GOES_ON = 75  # EX_TEMPFAIL: a signal came, what is done is kept, and the same command goes on
AT_ONCE = 130  # by the keyboard


class Interrupted(SystemExit):
    """A signal ended the work; what is done is kept. No `Exception`: nothing may take it for a failed run.

    Args:
        name: of the signal.
        code: exit code of the process.

    """

    def __init__(self, name: str, code: int = GOES_ON) -> None:
        super().__init__(code)
        self.name = name
        self._text = f"interrupted by {name}"

    def explain(self, text: str) -> None:
        """Set what a user is told."""
        self._text = text

    def __str__(self) -> str:
        return self._text


def run_to_end(name: str, work: Callable[[], object], unforeseen: str = "internal error, ") -> NoReturn:
    """Do the work of a console script and end the process.

    Args:
        name: of the script.
        work: what it does.
        unforeseen: words before any error that is no mistake of the user; its traceback is in a log, or printed when
            SPACECAST_DEBUG is set.

    """
    code, line = DONE, ""
    try:
        work()
    except UserError as error:
        code, line = USER_ERROR, str(error)
    except KeyboardInterrupt:
        code, line = AT_ONCE, "interrupted"
    except Interrupted as stop:
        code, line = int(stop.code or DONE), str(stop)
    except Exception as error:  # noqa: BLE001 - the last resort
        if os.environ.get("SPACECAST_DEBUG"):
            traceback.print_exc()
        hint = getattr(error, "log_file", None) or "set SPACECAST_DEBUG=1 for the traceback"
        code, line = INTERNAL_ERROR, f"{unforeseen}{type(error).__name__}: {error} ({hint})"
    if line:
        sys.stdout.flush()
        sys.stderr.write(f"{name}: error: {' '.join(line.split())}\n")
    raise SystemExit(code)
