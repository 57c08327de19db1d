"""MLflow's pages: the server that shows a store, and the address that lands where runs are compared."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from spacecast.tracking.store import ensure_experiment, ensure_store, load_mlflow

# Without these MLflow starts its jobs for language models: eight more processes, which nothing here needs.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
STOP_SECONDS = 20.0


def newest_experiment(uri: str) -> str:
    """Number of the experiment with the newest run; of `spacecast`, made if absent, where there is no run yet."""
    uri = ensure_store(uri)
    client = load_mlflow().MlflowClient(uri)
    numbers = [experiment.experiment_id for experiment in client.search_experiments()]
    newest = client.search_runs(numbers, order_by=["attributes.start_time DESC"], max_results=1)
    return str(newest[0].info.experiment_id) if newest else ensure_experiment(client, uri, "spacecast")


def charts_address(base: str, experiment: str) -> str:
    """Address of the charts of all runs of an experiment.

    Without `workflowType` MLflow opens its pages for language models, where none of this is.

    Args:
        base: address of the server, `http://HOST:PORT`.
        experiment: its number.

    """
    return f"{base}/#/experiments/{experiment}/runs?workflowType=machine_learning&compareRunsMode=CHART"


@contextmanager
def served(uri: str, port: int, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The server of a store, a process with children of its own, all of which have ended when the block has.

    Args:
        uri: the store.
        port: of this machine, on which nobody else is served.
        environment: variables; None: those of this process.

    """
    words = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    variables = {**(os.environ if environment is None else environment), **ENVIRONMENT}
    server = subprocess.Popen([sys.executable, *words, "--workers", "1"], env=variables, start_new_session=True)
    try:
        yield server
    finally:
        _stop(server)


def answers(base: str, seconds: float = 5.0) -> bool:
    """Whether a server answers."""
    try:
        with urlopen(f"{base}/health", timeout=seconds) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and its children; those that do not end are killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    server.wait()


def sqlite_file(text: str) -> str:
    """Address of a store that was typed as a file or as an address."""
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"
