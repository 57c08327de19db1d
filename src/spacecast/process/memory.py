"""How this process handles the memory of tensors."""

import ctypes
from pathlib import Path

import psutil

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 2**31 - 1
CGROUPS = (  # of a container or a job: limit and use, by version
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def keep_memory() -> bool:
    """Keep freed memory in the process instead of handing it back to the system, where the C library can.

    By default glibc maps every tensor of more than 32 MB anew, and the kernel fills it with zeros page by page: half of
    the time of an ensemble forecast on a processor. True where the setting took.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, LARGEST))


def free_memory() -> int:
    """Bytes that this process can still take: what the system has, and what the limit of its container leaves."""
    free = int(psutil.virtual_memory().available)
    for limit, use in CGROUPS:
        try:
            most, used = (int(Path(file).read_text()) for file in (limit, use))
        except (OSError, ValueError):  # no such file, or `max`
            continue
        free = min(free, max(most - used, 0))
    return free
