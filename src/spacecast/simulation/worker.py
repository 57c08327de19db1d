"""Simulates one run in a process of its own: `python -m spacecast.simulation.worker` reads one JSON line from stdin.

A plain process rather than a pool: nothing of the parent's main module or of torch is imported, it works from unguarded
scripts and notebooks, and when the parent dies the next report of progress ends the worker (broken pipe).
"""

import json
import os
import sys
from pathlib import Path

from spacecast.core.errors import UserError
from spacecast.simulation.parameters import Parameters
from spacecast.simulation.storage import write_run


def main() -> int:
    """Write a run; lines `done total` go to stdout, the reason of a failure is the last line of stderr."""
    order = json.loads(sys.stdin.readline())

    def report(done: int, total: int) -> None:
        sys.stdout.write(f"{done} {total}\n")
        sys.stdout.flush()

    try:
        write_run(Path(order["path"]), Parameters(**order["parameters"]), report)
    except BrokenPipeError:
        os._exit(1)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
