"""Starts commands again and again, in processes that share one import, and hits them at chosen moments.

A process of its own: orders come as JSON lines on stdin, answers go out as JSON lines. An order holds `words` for
spacecast-train, `log` for the output, `direct` to leave out the command line, and `hits`: each an event to wait for,
the seconds to wait after it and the signal to send, to the last of several processes. Events are lines that the first
process writes into a pipe: `batch N`, `save`, `validate`, `data`, `score`. An order with `together`, a list of words
for several commands, has them run at the same time.
"""

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGURATIONS: dict[tuple[str, ...], dict[str, Any]] = {}


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


def composed(words: tuple[str, ...]) -> dict[str, Any]:
    """The configuration that the words mean."""
    from spacecast.app.cli import completed
    from spacecast.app.compose import compose, conf_dir
    from spacecast.app.train import COMMAND

    return completed(COMMAND, compose(COMMAND.config, words, conf_dir()))


def child(order: dict[str, Any], plain: dict[str, Any] | None, pipe: int) -> None:
    """Run the command, or its work for a configuration; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 99
    try:
        from spacecast.app.cli import interruptible, run_command
        from spacecast.app.train import COMMAND

        spy(lambda event: os.write(pipe, f"{event}\n".encode()) and None)
        if plain is None:
            run_command(COMMAND, order["words"])
        logging.basicConfig(level=logging.INFO)
        folder = Path(plain["paths"]["run_dir"])
        folder.mkdir(exist_ok=True)
        with interruptible(folder):
            COMMAND.task(plain)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(order: dict[str, Any]) -> dict[str, Any]:
    """Run one command, in as many processes as it has devices, hit it, wait for its end."""
    words = tuple(order["words"])
    if order.get("direct") and words not in CONFIGURATIONS:
        CONFIGURATIONS[words] = composed(words)
    plain = CONFIGURATIONS[words] if order.get("direct") else None
    devices = plain["trainer"]["devices"] if plain else 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reader, writer = os.pipe()
    pids = []
    for rank in range(devices):
        pids.append(os.fork())
        if pids[-1] == 0:
            os.close(reader)
            if devices > 1:
                join(rank, devices, port)
            child(order, plain, writer if rank == 0 else os.open(os.devnull, os.O_WRONLY))
    os.close(writer)
    hits, events = list(order.get("hits", [])), []
    with os.fdopen(reader) as lines:
        for line in lines:
            events.append(line.strip())
            if hits and events[-1] == hits[0][0]:
                time.sleep(hits[0][1])
                os.kill(pids[-1], signal.Signals[hits[0][2]])
                hits.pop(0)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return {"code": codes[0], "codes": codes, "events": events}


def together(order: dict[str, Any]) -> dict[str, Any]:
    """Run several commands at the same time and wait for their ends."""
    plains, pids = [composed(tuple(words)) for words in order["together"]], []
    for plain in plains:
        pids.append(os.fork())
        if pids[-1] == 0:
            child(order, plain, os.open(os.devnull, os.O_WRONLY))
    return {"codes": [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]}


def join(rank: int, devices: int, port: int) -> None:
    """Be one of several processes, as a launcher would have it."""
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(devices)}
    os.environ |= {**place, "LOCAL_RANK": str(rank)}
    rank_zero_only.rank = rank


def main() -> None:
    """Import everything once, then serve."""
    import torch

    import spacecast.app.datacheck
    import spacecast.app.evaluate
    import spacecast.models.graph_efm
    import spacecast.training.keeper  # noqa: F401 - all four are imported before the forks
    from spacecast.tracking.store import ensure_store

    torch.set_num_threads(1)
    ensure_store(f"sqlite:///{Path.cwd()}/mlflow.db")
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.write(json.dumps(together(order) if "together" in order else start(order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]))
    main()
