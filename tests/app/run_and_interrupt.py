"""Runs commands again and again, in processes that share one import, and hits them at chosen moments.

A process of its own: orders come as JSON lines on stdin, answers go out as JSON lines. An order holds `words` for
spacecast-train, `log` for the output, `direct` to leave out the command line, and `hits`: each a list of events to wait
for, one after the other, and the signal that comes at the last of them. The last of several processes hits itself
there, before it does anything else, so that the moment does not depend on the machine. Events are lines as well, which
the first process writes into a pipe: `batch N`, `stepped N`, `save`, `half` (of a checkpoint is in its file), `written`
(but not in place), `in place`, `saved`, `validate`, `data`, `score`. An order with `together`, a list of words for
several commands, has them run at the same time.
"""

import io
import json
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGURATIONS: dict[tuple[str, ...], dict[str, Any]] = {}


def spy(report: Callable[[str], None]) -> None:
    """Let the command tell where it is."""
    import spacecast.app.assemble as assemble
    import spacecast.app.report as scoring
    import spacecast.checkpoint.files as files
    import spacecast.plots.pictures as pictures
    import spacecast.training.checkpoint_io as checkpoint_io
    from spacecast.training.checkpointing import CheckpointWriter

    def around(owner: Any, name: str, before: Callable[..., str] | None, after: Callable[..., str] | None) -> None:
        original = getattr(owner, name)

        def told(*arguments: Any, **keywords: Any) -> Any:
            if before is not None:
                report(before(*arguments))
            result = original(*arguments, **keywords)
            if after is not None:
                report(after(*arguments))
            return result

        setattr(owner, name, told)

    def before(owner: Any, name: str, event: Callable[..., str]) -> None:
        around(owner, name, event, None)

    def number(_: CheckpointWriter, trainer: Any, *__: Any) -> int:
        return trainer.fit_loop.total_batch_idx

    before(CheckpointWriter, "on_train_batch_start", lambda *words: f"batch {number(*words)}")
    around(CheckpointWriter, "on_train_batch_end", lambda *words: f"stepped {number(*words)}", None)
    before(CheckpointWriter, "on_validation_start", lambda *_: "validate")
    around(checkpoint_io, "write_whole", lambda *_: "save", lambda *_: "saved")
    before(files, "sync_folder", lambda *_: "in place")
    around(os, "fsync", None, lambda *_: "written")
    files.torch = HalfWritten(lambda: report("half"))
    before(assemble, "open_data", lambda *_: "data")
    before(scoring, "score", lambda *_: "score")
    pictures.draw_pictures = lambda *_: []


class HalfWritten:
    """`torch`, whose `save` tells when half of the bytes are in the file."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        import torch

        return getattr(torch, name)

    def save(self, content: Any, stream: Any) -> None:
        """Write in two parts."""
        import torch

        whole = io.BytesIO()
        torch.save(content, whole)
        data = whole.getvalue()
        stream.write(data[: len(data) // 2])
        stream.flush()
        self._tell()
        stream.write(data[len(data) // 2 :])


def hitting(hits: list[Any], tell: Callable[[str], None]) -> Callable[[str], None]:
    """A report of events that also sends the signals of `hits` to this process."""
    left = [(list(events), signal.Signals[name]) for events, name in hits]

    def report(event: str) -> None:
        tell(event)
        if left and event == left[0][0][0]:
            left[0][0].pop(0)
            if not left[0][0]:
                os.kill(os.getpid(), left.pop(0)[1])

    return report


def composed(words: tuple[str, ...]) -> dict[str, Any]:
    """The configuration that the words mean."""
    from spacecast.app.train import COMMAND
    from spacecast.config.complete import completed
    from spacecast.config.compose import compose, conf_dir

    return completed(COMMAND, compose(COMMAND.config, words, conf_dir()), {})


def child(order: dict[str, Any], plain: dict[str, Any] | None, pipe: int, hits: list[Any]) -> None:
    """Run the command, or its work for a configuration; never returns."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 99
    try:
        from spacecast.app.cli import run_command
        from spacecast.app.train import COMMAND
        from spacecast.config.command import Inputs
        from spacecast.process.signals import interruptible

        spy(hitting(hits, lambda event: os.write(pipe, f"{event}\n".encode()) and None))
        if plain is None:
            run_command(COMMAND, order["words"])
        logging.basicConfig(level=logging.INFO)
        folder = Path(plain["paths"]["run_dir"])
        folder.mkdir(exist_ok=True)
        with interruptible(folder):
            COMMAND.task(Inputs.of(plain, COMMAND.schema))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except Exception:  # noqa: BLE001 - what broke is all that there is to see of this process
        traceback.print_exc()
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
            hits = order.get("hits", []) if rank == devices - 1 else []
            child(order, plain, writer if rank == 0 else os.open(os.devnull, os.O_WRONLY), hits)
    os.close(writer)
    with os.fdopen(reader) as lines:
        events = [line.strip() for line in lines]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return {"code": codes[0], "codes": codes, "events": events}


def together(order: dict[str, Any]) -> dict[str, Any]:
    """Run several commands at the same time and wait for their ends."""
    plains, pids = [composed(tuple(words)) for words in order["together"]], []
    for plain in plains:
        pids.append(os.fork())
        if pids[-1] == 0:
            child(order, plain, os.open(os.devnull, os.O_WRONLY), [])
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
    import spacecast.training.checkpointing  # noqa: F401 - all four are imported before the forks
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
