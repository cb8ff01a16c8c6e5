"""What every stage that computes does first."""

import ctypes

import torch

from layershap.workspace.params import Params
from layershap.workspace.quiet import quiet_libraries


def prepare(params: Params) -> None:
    """Fix the number of threads and torch's generator, and quiet other libraries' advertisements."""
    keep_freed_memory()
    torch.set_num_threads(params.runtime.threads)
    torch.manual_seed(params.train.seed)
    quiet_libraries()


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
