"""What each of the processes in tests/forecast/test_processes.py does: the same as the others."""

import os
from pathlib import Path
from typing import Any

import torch

from spacecast.core.errors import UserError
from spacecast.forecast.processes import started


def work(folder: str, devices: int, what: str) -> list[Any] | None:
    """Meet, and hand over who one is; what the others do meanwhile is up to `what`."""
    arguments = [folder, devices, what]
    with started("cpu", devices, work="processes_at_work:work", arguments=arguments) as processes:
        processes.barrier()
        Path(folder, f"pid-{processes.rank}").write_text(str(os.getpid()))
        if what == "mistake" and not processes.first:
            raise UserError("this file is damaged")
        mine = {"rank": processes.rank, "share": processes.share(range(5)), "threads": torch.get_num_threads()}
        return processes.gather(mine | {"sum": torch.full((2,), processes.rank)})
    raise AssertionError
