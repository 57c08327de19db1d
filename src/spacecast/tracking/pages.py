"""MLflow's pages: the server that shows a store, and the address that lands where runs are compared."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from spacecast.core.errors import UserError
from spacecast.tracking.store import ensure_experiment, ensure_store, load_mlflow, sqlite_path

# Without these MLflow starts its jobs for language models: eight more processes, which nothing here needs.
ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONWARNINGS": "ignore",  # those of MLflow itself, which nobody here can mend
}
QUIETLY = ("--workers", "1", "--uvicorn-opts", "--log-level=warning")
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


def run_address(base: str, experiment: str, run_id: str) -> str:
    """Address of the charts of one run."""
    return f"{base}/#/experiments/{experiment}/runs/{run_id}/model-metrics?workflowType=machine_learning"


def comparison_address(base: str, experiment: str, run_ids: list[str]) -> str:
    """Address of the comparison of some runs."""
    quoted = "[" + ",".join(f"%22{run_id}%22" for run_id in run_ids) + "]"
    return f"{base}/#/compare-runs?runs={quoted}&experiments=[%22{experiment}%22]&workflowType=machine_learning"


@contextmanager
def served(uri: str, port: int, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The server of a store, a process with children of its own, all of which have ended when the block has.

    It tells warnings and errors only, not every page that is opened.

    Args:
        uri: the store.
        port: of this machine, on which nobody else is served.
        environment: variables; None: those of this process.

    """
    words = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    variables = {**(os.environ if environment is None else environment), **ENVIRONMENT}
    server = subprocess.Popen([sys.executable, *words, *QUIETLY], env=variables, start_new_session=True)
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


def store_address(text: str) -> str:
    """Address of a store that was typed as a file or as an address.

    Raises:
        UserError: there is no such file.

    """
    uri = text if "://" in text else f"sqlite:///{Path(text).absolute()}"
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise UserError(f"there is no {path}: the first run that is tracked makes it; or name another store")
    return uri


def check_port(port: int) -> None:
    """Find out whether a port of this machine is free.

    Raises:
        UserError: it is not.

    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left is free
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"port {port}: {reason}; type another one, as in: make ui PORT=5001") from error
