"""The secant rules that touch most memory, each in one pass over it, for float32 and float64 on a CPU.

They compute what the plain torch versions in secant.py compute. Rows are divided among torch.get_num_threads() threads.
Compiled by numba at first use and kept on disk by it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor


def usable(*tensors: Tensor) -> bool:
    """Return whether the kernels take these tensors."""
    return all(
        tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) and tensor.numel() > 0
        for tensor in tensors
    )


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _in_parallel(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call kernel(start, stop, *arguments) on as many parts of range(count) as torch has threads."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        kernel(0, count, *arguments)
        return
    edges = [count * part // threads for part in range(threads + 1)]
    waiting = [_pool(threads).submit(kernel, start, stop, *arguments) for start, stop in pairwise(edges)]
    for part in waiting:
        part.result()


def _memory_format(tensor: Tensor) -> torch.memory_format:
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not tensor.is_contiguous() else torch.contiguous_format


def _flat(tensor: Tensor) -> np.ndarray:
    """Return [rows, features] in the order of memory."""
    if _memory_format(tensor) is torch.channels_last:
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(len(tensor), -1).numpy()


def clamp_backward(inputs: Tensor, given: Tensor, following: np.ndarray, low: float, high: float) -> Tensor:
    """Return m (r(b) - r(a)) / (b - a) for r = clamp(low, high), for every row a and the row b following it."""
    layout = torch.channels_last if _memory_format(inputs) is torch.channels_last else torch.contiguous_format
    inputs = inputs.contiguous(memory_format=layout)
    given = given.contiguous(memory_format=layout)
    result = torch.empty_like(inputs, memory_format=layout)
    arrays = _flat(inputs), _flat(given), _flat(result)
    kind = arrays[0].dtype.type
    _in_parallel(_clamp, arrays[0].shape[1], *arrays, following, kind(low), kind(high))
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _clamp(start, stop, inputs, given, result, following, low, high):  # type: ignore[no-untyped-def]
    one, zero = inputs.dtype.type(1), inputs.dtype.type(0)
    block = 2048  # stays in the first cache while its rows are gone through
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for row in range(inputs.shape[0]):
            a_row, b_row = inputs[row], inputs[following[row]]
            g_row, out_row = given[row], result[row]
            for i in range(first, last):
                a, b = a_row[i], b_row[i]
                step = b - a
                change = min(max(b, low), high) - min(max(a, low), high)
                inside = one if (a > low) & (a < high) else zero
                still = step == zero
                out_row[i] = g_row[i] * (inside if still else change / step)


def max_pool_backward(
    inputs: Tensor,
    given: Tensor,
    following: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Return the multipliers of max_pool2d (dilation 1) by the rule of secant._MaxPool."""
    channels = inputs.shape[1]
    if _memory_format(inputs) is torch.channels_last:
        given = given.contiguous(memory_format=torch.channels_last)
        result = torch.zeros_like(inputs)
        arrays = [tensor.permute(0, 2, 3, 1).numpy() for tensor in (inputs, given, result)]
        planes = following
    else:
        inputs, given = inputs.contiguous(), given.contiguous()
        result = torch.zeros_like(inputs)
        arrays = [tensor.flatten(0, 1)[..., None].numpy() for tensor in (inputs, given, result)]
        planes = (following[:, None] * channels + np.arange(channels)).ravel()
    _in_parallel(_max_pool, len(arrays[0]), *arrays, planes, kernel, stride, padding)
    return result


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _max_pool(start, stop, inputs, given, result, following, kernel, stride, padding):  # type: ignore[no-untyped-def]
    _, height, width, depth = inputs.shape
    for plane in range(start, stop):
        a, b = inputs[plane], inputs[following[plane]]
        for i in range(given.shape[1]):
            top, bottom = max(i * stride[0] - padding[0], 0), min(i * stride[0] - padding[0] + kernel[0], height)
            for j in range(given.shape[2]):
                left, right = max(j * stride[1] - padding[1], 0), min(j * stride[1] - padding[1] + kernel[1], width)
                for d in range(depth):
                    given_here = given[plane, i, j, d]
                    if given_here == 0:
                        continue
                    h_a, w_a, h_b, w_b = top, left, top, left
                    for h in range(top, bottom):
                        for w in range(left, right):
                            if a[h, w, d] > a[h_a, w_a, d]:
                                h_a, w_a = h, w
                            if b[h, w, d] > b[h_b, w_b, d]:
                                h_b, w_b = h, w
                    change = b[h_b, w_b, d] - a[h_a, w_a, d]
                    if change < 0:
                        h_b, w_b = h_a, w_a
                    step = b[h_b, w_b, d] - a[h_b, w_b, d]
                    result[plane, h_b, w_b, d] += given_here if step == 0 else given_here * (change / step)


def heatmaps(multipliers: Tensor, features: Tensor, following: np.ndarray, owner: np.ndarray, paths: int) -> Tensor:
    """Return sum over segments and maps of m (z_b - z_a), [paths, H, W]; `owner`: the path of each row."""
    _, _, height, width = features.shape
    last = _memory_format(features) is torch.channels_last
    layout = torch.channels_last if last else torch.contiguous_format
    multipliers, features = multipliers.contiguous(memory_format=layout), features.contiguous(memory_format=layout)
    result = torch.zeros(paths, height * width, dtype=torch.float64)
    if last:
        arrays = [tensor.permute(0, 2, 3, 1).flatten(1, 2).numpy() for tensor in (multipliers, features)]
        _in_parallel(_sum_last, height * width, *arrays, result.numpy(), following, owner)
    else:
        arrays = [tensor.flatten(2).numpy() for tensor in (multipliers, features)]
        _in_parallel(_sum_first, height * width, *arrays, result.numpy(), following, owner)
    return result.view(paths, height, width).to(features.dtype)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc"})
def _sum_last(start, stop, multipliers, features, result, following, owner):  # type: ignore[no-untyped-def]
    for place in range(start, stop):
        for row in range(multipliers.shape[0]):
            if following[row] == row:
                continue
            m, a, b = multipliers[row, place], features[row, place], features[following[row], place]
            total = m.dtype.type(0)
            for channel in range(m.shape[0]):
                total += m[channel] * (b[channel] - a[channel])
            result[owner[row], place] += total


@numba.njit(nogil=True, cache=True)
def _sum_first(start, stop, multipliers, features, result, following, owner):  # type: ignore[no-untyped-def]
    block = 4096
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for row in range(multipliers.shape[0]):
            if following[row] == row:
                continue
            for channel in range(multipliers.shape[1]):
                m, a, b = multipliers[row, channel], features[row, channel], features[following[row], channel]
                out = result[owner[row]]
                for place in range(first, last):
                    out[place] += m[place] * (b[place] - a[place])
