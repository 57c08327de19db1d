"""How this process handles the memory of tensors."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 2**31 - 1


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
