"""Serve the MLflow pages of a store until Ctrl-C; prints the address where runs are compared once it can be opened."""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from spacecast.core.errors import UserError
from spacecast.tracking.pages import answers, charts_address, check_port, newest_experiment, served, store_address

PAUSE = 0.2  # seconds between two looks at the server


def main() -> int:
    """Exit code: 0 when it is told to end, 1 when the server ends by itself, 2 for a mistake, told in one line."""
    told: list[int] = []  # not an exception, which may come before anybody knows of the server that was just started
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: told.append(number))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", default="mlflow.db", help="file, or address as of logger.tracking_uri")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    try:
        return serve(options.store, options.port, told)
    except UserError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 2


def serve(store: str, port: int, told: Sequence[int]) -> int:
    """Until the server ends, or a signal has been told."""
    uri, base = store_address(store), f"http://127.0.0.1:{port}"
    check_port(port)
    experiment = newest_experiment(uri)
    with served(uri, port) as server:
        while _runs(server, told) and not answers(base):
            time.sleep(PAUSE)
        if _runs(server, told):
            print(f"\n{charts_address(base, experiment)}\n\nCtrl-C ends it", flush=True)
        while _runs(server, told):
            time.sleep(PAUSE)
        return 1 if server.poll() else 0


def _runs(server: subprocess.Popen[bytes], told: Sequence[int]) -> bool:
    """Whether there is something to wait for."""
    return not told and server.poll() is None


if __name__ == "__main__":
    sys.exit(main())
