"""`status.json` in a run folder: what became of the run, whatever a scheduler makes of it."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from spacecast.process.files import read_json, write_json

FILE = "status.json"
# The only words for states, in files, tables and messages; `queue.py` translates those of Slurm.
UNSTARTED, WAITING, QUEUED = "unstarted", "waiting", "queued"
RUNNING, FINISHED, FAILED, INTERRUPTED, CANCELLED, LOST = (
    "running", "finished", "failed", "interrupted", "cancelled", "lost",
)  # fmt: skip


def read_status(run_dir: Path) -> dict[str, Any]:
    """What `write_status` wrote, the state in small letters; nothing where no run has started."""
    found = read_json(run_dir / FILE)
    return found | ({"state": str(found["state"]).lower()} if "state" in found else {})


def write_status(run_dir: Path, **facts: Any) -> None:
    """Add to what `status.json` says of a run; None takes a fact back. The file is replaced as a whole.

    `state` is running, finished, failed, interrupted (the same command goes on), cancelled by the user or lost (gone
    without a word); `error` says why; `starts` counts processes and `restarts` those that a scheduler started again;
    `job` is the number there; `host` and `pid` are those of the process; `mlflow_run_id` and `tracking_uri` say where
    the run is tracked.
    """
    status = read_status(run_dir) | {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | facts
    write_json(run_dir / FILE, {name: value for name, value in status.items() if value is not None})


def here() -> dict[str, Any]:
    """This process, for `write_status`."""
    return {"host": socket.gethostname(), "pid": os.getpid()}
