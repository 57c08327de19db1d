"""Many processes that import once and then log to one fresh store at the same time: `writers.py STORE NUMBER STEPS`."""

import json
import os
import sys
import time
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - imported before the forks

from spacecast.tracking.logger import RunLogger, tracked


def write(uri: str, number: int, steps: int) -> None:
    """One run."""
    folder = Path(f"run{number}")
    folder.mkdir()
    (folder / "config.yaml").write_text(f"seed: {number}\n")
    logger = RunLogger(uri, "race", f"run-{number}", journal=folder / "tracking.jsonl", system_metrics_seconds=0.5)
    with tracked(logger):
        logger.log_hyperparams({"seed": number})
        logger.log_file(folder / "config.yaml", "config")
        for step in range(steps):
            logger.log_metrics({"train/loss": number + step, "train/lr": 0.1}, step)
            time.sleep(0.002)


def main() -> None:
    """Fork, wait, tell the exit codes."""
    uri, count, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    children = []
    for number in range(count):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                write(uri, number, steps)
                code = 0
            finally:
                os._exit(code)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(json.dumps(codes))


if __name__ == "__main__":
    main()
