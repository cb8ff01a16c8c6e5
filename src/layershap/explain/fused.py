"""The secant rules that touch most memory, each in one pass over it, for float32 and float64 on a CPU.

They compute what the plain torch versions in rules.py and sums.py compute. Rows are divided among
torch.get_num_threads() threads. Compiled by numba at first use and kept on disk by it.
"""

import numpy as np
import torch
from torch import Tensor

from layershap.explain.kernels import by_row, compiled, in_parallel, memory_format_of, usable

__all__ = ["clamp_backward", "heatmaps", "max_pool_backward", "usable"]


def clamp_backward(
    inputs: Tensor, end: Tensor, given: Tensor, following: np.ndarray, low: float, high: float
) -> Tensor:
    """Return m (r(b) - r(a)) / (b - a) for r = clamp(low, high), for every row a and the row b following it."""
    layout = memory_format_of(inputs)
    tensors = [tensor.contiguous(memory_format=layout) for tensor in (inputs, end, given)]
    result = torch.empty_like(inputs, memory_format=layout)
    arrays = [by_row(tensor, layout) for tensor in (*tensors, result)]
    kind = arrays[0].dtype.type
    in_parallel(_clamp, arrays[0].shape[1], *arrays, following, kind(low), kind(high))
    return result


@compiled(error_model="numpy")
def _clamp(start, stop, inputs, end, given, result, following, low, high):  # type: ignore[no-untyped-def]
    one, zero = inputs.dtype.type(1), inputs.dtype.type(0)
    block = 2048  # stays in the first cache while its rows are gone through
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for row in range(inputs.shape[0]):
            # slices: their indices are never negative, which lets the loop be vectorised
            a_row, after = inputs[row, first:last], following[row]
            b_row = inputs[after, first:last] if after < inputs.shape[0] else end[0, first:last]
            g_row, out_row = given[row, first:last], result[row, first:last]
            for i in range(out_row.shape[0]):
                a, b = a_row[i], b_row[i]
                step = b - a
                change = min(max(b, low), high) - min(max(a, low), high)
                inside = one if (a > low) & (a < high) else zero
                still = step == zero
                out_row[i] = g_row[i] * (inside if still else change / step)


def max_pool_backward(
    inputs: Tensor,
    end: Tensor,
    given: Tensor,
    following: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Return the multipliers of max_pool2d (dilation 1) by the rule of rules.MaxPool."""
    rows, channels = inputs.shape[:2]
    layout = memory_format_of(inputs)
    tensors = [tensor.contiguous(memory_format=layout) for tensor in (inputs, end, given)]
    halves = kernel == stride == (2, 2) and padding == (0, 0) and min(inputs.shape[2:]) >= 2
    covered = halves and not (inputs.shape[2] % 2 or inputs.shape[3] % 2)  # then every place is written
    result = (torch.empty_like if covered else torch.zeros_like)(inputs, memory_format=layout)
    if layout is torch.channels_last:
        arrays = [tensor.permute(0, 2, 3, 1).numpy() for tensor in (*tensors, result)]
        planes = following
    else:
        arrays = [tensor.flatten(0, 1)[..., None].numpy() for tensor in (*tensors, result)]
        planes = (following[:, None] * channels + np.arange(channels)).ravel()
    if halves:
        lines = rows * (1 if layout is torch.channels_last else channels) * (inputs.shape[2] // 2)
        in_parallel(_max_pool_2, lines, *arrays, planes)
    else:
        in_parallel(_max_pool, len(arrays[0]), *arrays, planes, kernel, stride, padding)
    return result


@compiled(error_model="numpy")
def _max_pool_2(start, stop, inputs, end, given, result, following):  # type: ignore[no-untyped-def]
    """2 x 2 windows that do not overlap, by selection alone, so that the innermost loop is vectorised."""
    planes, height, width, depth = inputs.shape
    one, zero = inputs.dtype.type(1), inputs.dtype.type(0)
    for line in range(start, stop):
        plane, i = line // (height // 2), line % (height // 2)
        after = following[plane]
        a = inputs[plane, 2 * i : 2 * i + 2]
        b = inputs[after, 2 * i : 2 * i + 2] if after < planes else end[after - planes, 2 * i : 2 * i + 2]
        g, out = given[plane, i], result[plane, 2 * i : 2 * i + 2]
        for j in range(width // 2):
            for d in range(depth):
                a0, a1, a2, a3 = a[0, 2 * j, d], a[0, 2 * j + 1, d], a[1, 2 * j, d], a[1, 2 * j + 1, d]
                b0, b1, b2, b3 = b[0, 2 * j, d], b[0, 2 * j + 1, d], b[1, 2 * j, d], b[1, 2 * j + 1, d]
                top_a, top_b = max(max(a0, a1), max(a2, a3)), max(max(b0, b1), max(b2, b3))
                change = top_b - top_a
                ends = change >= zero
                top = top_b if ends else top_a
                at0 = (b0 if ends else a0) == top
                at1 = ((b1 if ends else a1) == top) & (not at0)
                at2 = ((b2 if ends else a2) == top) & (not (at0 | at1))
                at3 = not (at0 | at1 | at2)
                step = (b0 - a0) if at0 else ((b1 - a1) if at1 else ((b2 - a2) if at2 else (b3 - a3)))
                value = g[j, d] * (one if step == zero else change / step)
                out[0, 2 * j, d] = value if at0 else zero
                out[0, 2 * j + 1, d] = value if at1 else zero
                out[1, 2 * j, d] = value if at2 else zero
                out[1, 2 * j + 1, d] = value if at3 else zero


@compiled(error_model="numpy")
def _max_pool(start, stop, inputs, end, given, result, following, kernel, stride, padding):  # type: ignore[no-untyped-def]
    planes, height, width, depth = inputs.shape
    for plane in range(start, stop):
        after = following[plane]
        a = inputs[plane]
        b = inputs[after] if after < planes else end[after - planes]
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


def heatmaps(
    multipliers: Tensor, features: Tensor, end: Tensor, following: np.ndarray, owner: np.ndarray, paths: int
) -> Tensor:
    """Return sum over segments and maps of m (z_b - z_a), [paths, H, W]; `owner`: the path of each row."""
    _, _, height, width = features.shape
    layout = memory_format_of(features)
    tensors = [tensor.contiguous(memory_format=layout) for tensor in (multipliers, features, end)]
    result = torch.zeros(paths, height * width, dtype=torch.float64, device="cpu")
    if layout is torch.channels_last:
        arrays = [tensor.permute(0, 2, 3, 1).flatten(1, 2).numpy() for tensor in tensors]
        in_parallel(_sum_last, height * width, *arrays, result.numpy(), following, owner)
    else:
        arrays = [tensor.flatten(2).numpy() for tensor in tensors]
        in_parallel(_sum_first, height * width, *arrays, result.numpy(), following, owner)
    return result.view(paths, height, width).to(features.dtype)


@compiled(fastmath={"reassoc"})
def _sum_last(start, stop, multipliers, features, end, result, following, owner):  # type: ignore[no-untyped-def]
    rows = multipliers.shape[0]
    for place in range(start, stop):
        for row in range(rows):
            m, a = multipliers[row, place], features[row, place]
            b = features[following[row], place] if following[row] < rows else end[0, place]
            total = multipliers.dtype.type(0)
            for channel in range(m.shape[0]):
                total += m[channel] * (b[channel] - a[channel])
            result[owner[row], place] += total


@compiled()
def _sum_first(start, stop, multipliers, features, end, result, following, owner):  # type: ignore[no-untyped-def]
    rows = multipliers.shape[0]
    block = 4096
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for row in range(rows):
            out, after = result[owner[row], first:last], following[row]
            for channel in range(multipliers.shape[1]):
                m, a = multipliers[row, channel, first:last], features[row, channel, first:last]
                b = features[after, channel, first:last] if after < rows else end[0, channel, first:last]
                for place in range(out.shape[0]):
                    out[place] += m[place] * (b[place] - a[place])
