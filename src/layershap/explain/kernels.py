"""What kernels compiled by numba have in common: when they serve, their threads, tensors as arrays."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile by numba and keep the result on disk; in memory alone where no folder for it can be written."""

    def compile_function(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)

    return compile_function


def usable(*tensors: Tensor) -> bool:
    """Return whether the kernels take these tensors."""
    return all(
        tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) and tensor.numel() > 0
        for tensor in tensors
    )


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def in_parallel(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call kernel(start, stop, *arguments) on as many parts of range(count) as torch has threads."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        kernel(0, count, *arguments)
        return
    edges = [count * part // threads for part in range(threads + 1)]
    waiting = [_pool(threads).submit(kernel, start, stop, *arguments) for start, stop in pairwise(edges)]
    for part in waiting:
        part.result()


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """Return channels_last for maps that lie so in memory, else contiguous_format."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format


def by_row(tensor: Tensor, layout: torch.memory_format) -> np.ndarray:
    """Return [rows, features] in the order of memory."""
    if layout is torch.channels_last:
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(len(tensor), -1).numpy()
