"""Memory of tensors stays with the process."""

import json
import subprocess
import sys
from typing import Any

import pytest

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
