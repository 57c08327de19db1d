"""Serve the MLflow pages of a store until Ctrl-C; prints the address where runs are compared once it can be opened."""

import argparse
import signal
import sys
import time

from spacecast.core.errors import UserError
from spacecast.tracking.pages import answers, charts_address, newest_experiment, served, sqlite_file


def main() -> int:
    """Exit code: 0 after Ctrl-C, 1 when the server ends by itself, 2 for a store that cannot be opened."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server ends with this, however it is ended
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", default="mlflow.db", help="file, or address as of logger.tracking_uri")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    base = f"http://127.0.0.1:{options.port}"
    if answers(base):
        print(f"ui: something is served at {base} already; choose another port: make ui PORT=5001", file=sys.stderr)
        return 2
    try:
        uri = sqlite_file(options.store)
        experiment = newest_experiment(uri)
    except UserError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 2
    try:
        with served(uri, options.port) as server:
            while server.poll() is None and not answers(base):
                time.sleep(0.2)
            if server.poll() is None:
                print(f"\n{charts_address(base, experiment)}\n\nCtrl-C ends it", flush=True)
            return 1 if server.wait() else 0
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
