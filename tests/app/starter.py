"""Starts commands again and again, in processes that share one import, and hits them at chosen moments.

A process of its own: orders come as JSON lines on stdin, answers go out as JSON lines. An order holds `words` for
spacecast-train, `log` for the output and, optionally, `hit`: the event to wait for, the seconds to wait after it and
the signals to send. Events are lines that the command writes into a pipe: `batch N`, `save`, `validate`, `data`,
`score`, and `sent` for a signal sent before.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def spy(report: Callable[[str], None]) -> None:
    """Let the command tell where it is."""
    import spacecast.app.assemble as assemble
    import spacecast.app.report as scoring
    import spacecast.training.files as files
    from spacecast.training.keeper import Keeper

    def before(owner: Any, name: str, event: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def told(*arguments: Any, **keywords: Any) -> Any:
            report(event(*arguments))
            return original(*arguments, **keywords)

        setattr(owner, name, told)

    before(Keeper, "on_train_batch_start", lambda _, trainer, *__: f"batch {trainer.fit_loop.total_batch_idx}")
    before(Keeper, "on_validation_start", lambda *_: "validate")
    before(files, "write_whole", lambda *_: "save")
    before(assemble, "open_data", lambda *_: "data")
    before(scoring, "score", lambda *_: "score")
    scoring.draw = lambda *_: []


def child(order: dict[str, Any], pipe: int) -> None:
    """Run the command; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= order.get("environment", {})
    code = 99
    try:
        from spacecast.app.cli import run_command
        from spacecast.app.train import COMMAND

        spy(lambda event: os.write(pipe, f"{event}\n".encode()) and None)
        run_command(COMMAND, order["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(order: dict[str, Any]) -> dict[str, Any]:
    """Run one command, hit it, wait for its end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(order, writer)
    os.close(writer)
    hits, events = list(order.get("hits", [])), []
    with os.fdopen(reader) as lines:
        for line in lines:
            events.append(line.strip())
            if hits and events[-1] == hits[0][0]:
                time.sleep(hits[0][1])
                os.kill(pid, signal.Signals[hits[0][2]])
                hits.pop(0)
    _, status = os.waitpid(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status), "events": events}


def main() -> None:
    """Import everything once, then serve."""
    import torch

    import spacecast.app.datacheck
    import spacecast.app.evaluate
    import spacecast.models.graph_efm
    import spacecast.training.keeper  # noqa: F401 - all four are imported before the forks

    torch.set_num_threads(1)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(start(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]))
    main()
