"""Memory of tensors stays with the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from spacecast.app.memory import keep_memory

if sys.argv[1] == "kept" and not keep_memory():
    sys.exit(3)
for _ in range(24):  # the C library finds blocks that fit after some
    torch.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    torch.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind: str) -> int:
    """Page faults of eight tensors of 32 MB, one after the other, in a process that had some of them before."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_large_tensors_are_not_mapped_anew_each_time():
    assert page_faults("kept") < page_faults("as it is") / 20
