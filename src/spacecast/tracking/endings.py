"""The end of a run whose process can no longer say so."""

import logging
from pathlib import Path

from spacecast.tracking.delivery import connect, find_run, reason
from spacecast.tracking.journal import PATTERN, read_story
from spacecast.tracking.places import read_place
from spacecast.tracking.store import sqlite_path

log = logging.getLogger(__name__)


def close_dead(run_dir: Path) -> None:
    """Close runs in their stores whose process is gone, without delivering anything; a failure costs a warning."""
    for path in sorted(run_dir.glob(PATTERN)):
        try:
            story = read_story(path)
            known = sqlite_path(story.store)
            if not story.store or (known is not None and not known.exists()):
                continue
            client, uri = connect(story.store)
            run = find_run(client, story.run, [read_place(path, uri)[0]])
            if run is not None and run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, story.ended or "KILLED", story.last)
        except Exception as error:  # noqa: BLE001 - whatever the store does, the command goes on
            log.warning("tracking: the run of %s could not be closed: %s", run_dir, reason(error))
