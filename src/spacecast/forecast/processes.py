"""The processes of one forecast or evaluation: who does which part of the work, and how the first gets all of it.

Work is shared by dealing it out; nothing is computed together. So the processes need only meet and hand over results,
for which the key-value store of torch.distributed is enough: unlike its collective operations it never keeps a process
from hearing a signal, has no part in the GPU and leaves nothing behind that waits for processes that are gone.
"""

import io
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

from spacecast.core.errors import UserError
from spacecast.forecast.launched import HERE, launched, variables
from spacecast.process.exit_codes import GOES_ON, INTERNAL_ERROR, USER_ERROR, Interrupted
from spacecast.process.peers import PeerLostError, beside, failure

Unit = TypeVar("Unit")

POLL_SECONDS = 0.02
JOINING = timedelta(minutes=30)  # until the first process is there to be joined
ENDED = "ended"  # key in the store: how the first process to fail did
LEFT = "left"  # key in the store, with a rank: that process asks for nothing more
LEAVING_SECONDS = 5.0  # for which the first process waits for others, which may be gone
PIECE = 4 << 20  # bytes; the store takes no value of more than 8 MiB


@dataclass(frozen=True)
class Processes:
    """One of several processes that share work; by itself the only one, on the CPU.

    Args:
        rank: number of this process.
        world: how many there are.
        device: where this one computes.
        store: in which they meet; None: there are no others.
        check: raises what the end of a process that this one has started means to it.

    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: Any = None
    check: Callable[[], None] = lambda: None
    _meetings: Iterator[int] = field(default_factory=itertools.count)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes what belongs to all."""
        return self.rank == 0

    def share(self, units: Sequence[Unit]) -> list[Unit]:
        """The units of work that are this process's, dealt in turn."""
        return list(units[self.rank :: self.world])

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all processes in the order of their ranks, in the first one; None in the others.

        Args:
            value: tensors, which arrive on the CPU, and plain values, in dictionaries, lists and tuples; nothing that
                is received is executed.

        Raises:
            PeerLostError: another process is gone.
            UserError, RuntimeError, Interrupted: it said why.

        """
        if self.store is None:
            return [value]
        key = f"value {next(self._meetings)}"
        with _reached():
            if not self.first:
                _send(self.store, f"{key} of {self.rank}", value)
            self.barrier()
            if not self.first:
                return None
            return [value, *(_receive(self.store, f"{key} of {rank}") for rank in range(1, self.world))]

    def barrier(self) -> None:
        """Wait until all processes are here, however long that takes; signals are heard meanwhile.

        Raises:
            PeerLostError: another process is gone.
            UserError, RuntimeError, Interrupted: it said why.

        """
        if self.store is None:
            return
        key = f"meeting {next(self._meetings)}"
        with _reached():
            self.store.add(key, 1)
            while self.store.add(key, 0) < self.world:
                self.check()
                if self.store.check([ENDED]):
                    rank, code, said = self.store.get(ENDED).decode().split(" ", 2)
                    raise failure(f"process {int(rank) + 1} of {self.world}", int(code), said)
                time.sleep(POLL_SECONDS)


ALONE = Processes()


@contextmanager
def _reached() -> Iterator[None]:
    """Within the block, a store that does not answer means that the first process is gone."""
    try:
        yield
    except DistError as error:
        raise PeerLostError("the first process is gone") from error


def _send(store: Any, key: str, value: Any) -> None:
    """Put a value into the store, in pieces."""
    stream = io.BytesIO()
    torch.save(value, stream)
    content = stream.getbuffer()
    pieces = range(0, len(content), PIECE)
    for number, start in enumerate(pieces):
        store.set(f"{key}, {number}", bytes(content[start : start + PIECE]))
    store.set(key, str(len(pieces)))


def _receive(store: Any, key: str) -> Any:
    """Take a value out of the store."""
    stream = io.BytesIO()
    for number in range(int(store.get(key))):
        stream.write(store.get(f"{key}, {number}"))
        store.delete_key(f"{key}, {number}")
    stream.seek(0)
    return torch.load(stream, map_location="cpu", weights_only=True)


@contextmanager
def started(
    accelerator: str = "auto",
    devices: int | str | Sequence[int] = 1,
    num_nodes: int = 1,
    *,
    work: str,
    arguments: Sequence[Any],
) -> Iterator[Processes]:
    """The processes that the section `trainer` asks for, started where nobody has yet, until all have left the block.

    On one machine the first process starts the others, which call `work` and come here as well; under Slurm's srun, or
    another launcher that tells each process its rank, all are there already. Where there is one, nothing is started.

    Args:
        accelerator, devices, num_nodes: Lightning's.
        work: function of a module, `module:name`, that does the same as this process.
        arguments: of the function, plain values.

    Raises:
        UserError: the machine does not have these devices, or other processes were started than are asked for.
        UserError, RuntimeError, Interrupted: another process ended with one.

    """
    place = launched(accelerator, devices, num_nodes)
    if place.world == 1:
        yield Processes(device=place.device)
        return
    with ExitStack() as stack:
        check: Callable[[], None] = lambda: None  # noqa: E731
        stack.enter_context(_threads(place.threads))
        if place.alone:
            store = TCPStore(HERE, 0, is_master=True, wait_for_workers=False)
            each = [variables(place, rank, store.port) for rank in range(1, place.world)]
            check = stack.enter_context(beside(work, arguments, each))
        else:
            with _reached():
                host, port, first = place.address, place.port, place.rank == 0
                store = TCPStore(host, port, is_master=first, wait_for_workers=False, timeout=JOINING)
        processes = Processes(place.rank, place.world, place.device, store, check)
        with _left_last(processes), _told(processes):
            yield processes
            processes.barrier()


@contextmanager
def _left_last(processes: Processes) -> Iterator[None]:
    """Hold the store, which ends with the first process, until the others need nothing more of it.

    Who has met the others may still have to hear so: without this, the first would leave and they would find it gone.
    """
    try:
        yield
    finally:
        with suppress(DistError):
            if not processes.first:
                processes.store.set(f"{LEFT} {processes.rank}", "")  # the one request that awaits no answer
            others = [f"{LEFT} {rank}" for rank in range(1, processes.world)] if processes.first else []
            end = time.monotonic() + LEAVING_SECONDS
            while others and not processes.store.check(others) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)


@contextmanager
def _told(processes: Processes) -> Iterator[None]:
    """Tell the others why this process ends, where it does not do so well."""
    try:
        yield
    except PeerLostError:
        raise
    except BaseException as error:
        code, said = INTERNAL_ERROR, f"{type(error).__name__}: {error}"
        if isinstance(error, UserError):
            code, said = USER_ERROR, str(error)
        elif isinstance(error, Interrupted):
            code, said = GOES_ON, error.name
        with suppress(DistError):
            processes.store.compare_set(ENDED, "", f"{processes.rank} {code} {said}")
        raise


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with so many threads within the block, unless the user has said how many."""
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
