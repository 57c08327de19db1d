"""spacecast-forecast that waits where a second piece of the work is in its file but not yet noted as done.

Words: a file that says that it waits, with the process numbers of those that share the work; then those of the command.
"""

import sys
import time
from pathlib import Path

import psutil

from spacecast.app.forecast import main
from spacecast.forecast.place import Place


def hold(here: Path) -> None:
    """Let the second record wait, for ever."""
    record, records = Place.record, []

    def held(place: Place, unit: int, found: object) -> None:
        records.append(unit)
        if len(records) == 2:
            children = psutil.Process().children()
            here.with_suffix(".new").write_text(" ".join(str(child.pid) for child in children))
            here.with_suffix(".new").rename(here)
            while True:
                time.sleep(0.05)
        record(place, unit, found)

    Place.record = held  # type: ignore[method-assign]


if __name__ == "__main__":
    hold(Path(sys.argv.pop(1)))
    main()
