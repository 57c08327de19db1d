"""Memory of tensors stays with the process, and how much is left for more."""

import json
import subprocess
import sys
from typing import Any

import pytest

from spacecast.process import memory as process_memory

SCRIPT = """
import ctypes, json, sys, torch
from spacecast.process.memory import keep_memory

NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

class Info(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]

library = ctypes.CDLL(None)
if not hasattr(library, "mallinfo2") or (sys.argv[1] == "kept" and not keep_memory()):
    sys.exit(3)
library.mallinfo2.restype = Info
before = library.mallinfo2()
tensor = torch.ones(2**24)
with_it = library.mallinfo2()
del tensor
after = library.mallinfo2()
print(json.dumps({"mapped": with_it.hblkhd - before.hblkhd, "kept": after.fordblks - before.fordblks}))
"""
SIZE = 4 * 2**24


def memory(kind: str) -> Any:
    """Bytes that a tensor of 64 MB maps anew, and bytes that are free in the process once it has gone."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt or mallinfo2")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_large_tensors_are_not_mapped_anew_each_time():
    usual, ours = memory("as it is"), memory("kept")
    assert usual["mapped"] >= SIZE
    assert usual["kept"] < SIZE / 10
    assert ours["mapped"] == 0
    assert ours["kept"] > 0.9 * SIZE


@pytest.mark.parametrize(
    ("limit", "use", "free"),
    [("5000", "2000", 3000), ("5000", "6000", 0), ("max", "2000", None), ("9223372036854771712", "2000", None)],
)
def test_a_container_may_leave_less_than_the_machine(monkeypatch, tmp_path, limit, use, free):
    (tmp_path / "limit").write_text(f"{limit}\n")
    (tmp_path / "use").write_text(f"{use}\n")
    places = [(tmp_path / "limit", tmp_path / "use"), (tmp_path / "absent", tmp_path / "absent")]
    monkeypatch.setattr(process_memory, "CGROUPS", places)
    monkeypatch.setattr(process_memory.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**12}))
    assert process_memory.free_memory() == (10**12 if free is None else free)
