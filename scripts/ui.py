"""Serve the MLflow pages of a store until Ctrl-C; prints the address where runs are compared once it can be opened."""

import argparse
import signal
import sys
import time

from spacecast.core.errors import UserError
from spacecast.tracking.pages import answers, charts_address, check_port, newest_experiment, served, store_address


def main() -> int:
    """Exit code: 0 when it is told to end, 1 when the server ends by itself, 2 for a mistake, told in one line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # the server ends with this, however it is ended
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", default="mlflow.db", help="file, or address as of logger.tracking_uri")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    try:
        return serve(options.store, options.port)
    except UserError as error:
        print(f"ui: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def serve(store: str, port: int) -> int:
    """Until the server ends."""
    uri, base = store_address(store), f"http://127.0.0.1:{port}"
    check_port(port)
    experiment = newest_experiment(uri)
    with served(uri, port) as server:
        while server.poll() is None and not answers(base):
            time.sleep(0.2)
        if server.poll() is None:
            print(f"\n{charts_address(base, experiment)}\n\nCtrl-C ends it", flush=True)
        return 1 if server.wait() else 0


if __name__ == "__main__":
    sys.exit(main())
