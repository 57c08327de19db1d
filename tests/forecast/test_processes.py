"""Processes that share work: all of it is dealt, the first one gets all results, and none waits for what has ended."""

import importlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from spacecast.core.errors import UserError
from spacecast.forecast import processes as processes_module
from spacecast.forecast.processes import Processes, started

LARGE = 3 << 20  # numbers, 24 MiB: more than the store takes at a time
LAUNCHERS = ("LOCAL_RANK", "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def unlaunched(monkeypatch):
    for name in (*LAUNCHERS, *(name for name in os.environ if name.startswith("SLURM_"))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def work(monkeypatch):
    """`processes_at_work.work`, which further processes find as well."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("processes_at_work").work


@pytest.fixture
def pair():
    """Two that meet within this process, each in a thread of its own."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    other = TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False)
    return Processes(0, 2, store=store), Processes(1, 2, store=other)


def both(pair, call):
    """What each of the two returns."""
    results = {}
    second = threading.Thread(target=lambda: results.update(second=call(pair[1])))
    second.start()
    results["first"] = call(pair[0])
    second.join()
    return results["first"], results["second"]


@pytest.mark.parametrize("world", [1, 2, 5, 9])
def test_every_unit_is_somebodys_once(world):
    shares = [Processes(rank, world).share(range(7)) for rank in range(world)]
    assert sorted(unit for share in shares for unit in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_has_nobody_to_wait_for():
    alone, value = Processes(), object()
    alone.barrier()
    assert (alone.first, alone.device, alone.gather(value)) == (True, torch.device("cpu"), [value])


def test_the_first_gets_all_values_in_the_order_of_ranks(pair):
    def call(processes):
        values = torch.arange(LARGE, dtype=torch.float64) * (1 + processes.rank)
        one = processes.gather({"values": values, ("a", 1): [processes.rank, None, "text"]})
        two = processes.gather(processes.rank)
        processes.barrier()
        return one, two

    (one, two), nothing = both(pair, call)
    assert (two, nothing) == ([0, 1], (None, None))
    for rank, found in enumerate(one):
        assert found["a", 1] == [rank, None, "text"]
        assert torch.equal(found["values"], torch.arange(LARGE, dtype=torch.float64) * (1 + rank))


def test_the_first_leaves_last(pair, monkeypatch):
    """Whoever has met the others may be slow to hear so: the store must be there until all have."""
    monkeypatch.setattr(processes_module, "LEAVING_SECONDS", 600.0)  # however busy the machine is
    order = []

    class SlowToHear:
        def __getattr__(self, name):
            return getattr(store, name)

        def add(self, key, value):
            if value == 0:
                heard.wait(60)
            return store.add(key, value)

    first, second = pair
    store, heard = second.store, threading.Event()
    second = replace(second, store=SlowToHear())

    def leave(processes):
        with processes_module._left_last(processes):
            processes.barrier()
        order.append(processes.rank)

    each = [threading.Thread(target=leave, args=(processes,)) for processes in (first, second)]
    for thread in each:
        thread.start()
    each[0].join(0.5)
    assert order == []
    heard.set()
    for thread in each:
        thread.join(60)
    assert sorted(order) == [0, 1]


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_nothing_that_is_received_is_executed(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(processes):
        if not processes.first:
            return processes.gather(Bomb())
        with pytest.raises(Exception, match=r"[Ww]eights"):
            processes.gather(None)
        return None

    both(pair, call)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_share_work_and_the_cores(work, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    found = work(str(tmp_path), 2, "")
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert [each["rank"] for each in found] == [0, 1]
    assert [each["share"] for each in found] == [[0, 2, 4], [1, 3]]
    assert [each["threads"] for each in found] == [threads, threads]
    assert [each["sum"].tolist() for each in found] == [[0, 0], [1, 1]]
    assert torch.get_num_threads() == before
    assert int(Path(tmp_path, "pid-0").read_text()) == os.getpid() != int(Path(tmp_path, "pid-1").read_text())


def test_a_mistake_in_one_is_one_of_all(work, tmp_path):
    with pytest.raises(UserError, match=r"^this file is damaged$"):
        work(str(tmp_path), 2, "mistake")


def test_one_device_starts_nothing():
    with started("auto", 1, work="nothing:there", arguments=[]) as processes:
        assert (processes.rank, processes.world) == (0, 1)
        assert processes.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
        assert processes.gather("value") == ["value"]


def test_a_command_of_a_batch_job_that_srun_has_not_started_is_alone(monkeypatch):
    """Whatever the job has room for: none of its tasks are waited for."""
    for name, value in {"JOB_ID": 7, "JOB_NAME": "night", "NTASKS": 4, "NTASKS_PER_NODE": 4, "PROCID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    with started("cpu", 1, work="nothing:there", arguments=[]) as processes:
        assert processes.world == 1


@pytest.mark.parametrize(
    ("accelerator", "devices", "nodes", "environment", "text"),
    [
        ("cpu", 1, 2, {}, "trainer.num_nodes=2: several machines take a scheduler"),
        ("cpu", "many", 1, {}, "^trainer: "),
        ("quantum", 1, 1, {}, "^trainer: .*quantum"),
        ("cpu", 1, 1, {"LOCAL_RANK": "1"}, "ask for 1 in all, but several processes were"),
        ("cpu", 2, 1, {"LOCAL_RANK": "1", "WORLD_SIZE": "3"}, "ask for 2 in all, but 3 processes were started"),
    ],
)
def test_what_cannot_be_started_is_refused(monkeypatch, accelerator, devices, nodes, environment, text):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=text), started(accelerator, devices, nodes, work="no:thing", arguments=[]):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"^trainer: .*gpu"), started("gpu", 1, work="no:thing", arguments=[]):
        pass
