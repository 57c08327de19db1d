"""The end of a run whose process can no longer say so."""

import logging

from spacecast.tracking.store import ensure_store, load_mlflow

log = logging.getLogger(__name__)


def mark_killed(tracking_uri: str, run_id: str) -> None:
    """Close a run that is still RUNNING as KILLED. A store that does not answer costs a warning."""
    try:
        client = load_mlflow().MlflowClient(ensure_store(tracking_uri))
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "KILLED")
    except Exception as error:  # noqa: BLE001 - whatever the store does, the command goes on
        log.warning("tracking: run %s could not be closed: %s", run_id, error)
