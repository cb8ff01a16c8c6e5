"""How the C library keeps memory."""

import ctypes


def keep_freed_memory() -> None:
    """Let glibc keep large blocks for the next use: page faults cost as much as a pass over a large feature map.

    Elsewhere than on glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    largest = 2**31 - 1
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    mallopt(trim_threshold, largest)
    mallopt(mmap_threshold, largest)
