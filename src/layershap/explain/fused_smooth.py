"""The secant rules of smooth functions, softmax, norms and products, each in one pass over memory; see fused.py.

They compute what the plain torch versions in rules.py, attention.py and norms.py compute.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from layershap.explain.kernels import by_row, compiled, in_parallel, memory_format_of

LEAST_QUOTIENT = 0.125  # of logarithms: below, (1 - e^-d) / d is its series, which there is exact in float64


def slopes(
    inputs: Tensor,
    end: Tensor,
    outputs: Tensor,
    end_outputs: Tensor,
    following: np.ndarray,
    smooth: bool,
    mean_derivative: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Return (r(b) - r(a)) / (b - a) for every row a and the row b following it; see rules.Elementwise.

    `outputs`, `end_outputs`: r of `inputs` and of `end`. Where rounding is much of it, `mean_derivative` is asked, of
    a, b - a, the quotient and the rounding, all [n].
    """
    layout = memory_format_of(inputs)
    tensors = [tensor.contiguous(memory_format=layout) for tensor in (inputs, end, outputs, end_outputs)]
    result = torch.empty_like(tensors[0], memory_format=layout)
    arrays = [by_row(tensor, layout) for tensor in (*tensors, result)]
    unsure = np.empty(arrays[0].shape, bool)
    kind = arrays[0].dtype.type
    eps = torch.finfo(inputs.dtype).eps
    in_parallel(_slopes, arrays[0].shape[1], *arrays, unsure, following, kind(eps), kind(eps ** (2 / 3)), smooth)
    places = np.flatnonzero(unsure)
    if len(places):
        parts = np.empty((4, len(places)), kind)
        in_parallel(_gather, len(places), places, *arrays, parts, following, kind(eps))
        arrays[-1].reshape(-1)[places] = mean_derivative(*torch.from_numpy(parts)).numpy()
    return result


@compiled(error_model="numpy")
def _slopes(start, stop, inputs, end, outputs, end_outputs, result, unsure, following, eps, share, smooth):  # type: ignore[no-untyped-def]
    one, zero = inputs.dtype.type(1), inputs.dtype.type(0)
    block = 2048
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for row in range(inputs.shape[0]):
            after = following[row]
            a, p = inputs[row, first:last], outputs[row, first:last]
            b = inputs[after, first:last] if after < inputs.shape[0] else end[0, first:last]
            q = outputs[after, first:last] if after < inputs.shape[0] else end_outputs[0, first:last]
            out, doubt = result[row, first:last], unsure[row, first:last]
            for i in range(out.shape[0]):
                step, change = b[i] - a[i], q[i] - p[i]
                out[i] = change / (one if step == zero else step)
                rounding = max(abs(p[i]), abs(q[i])) * eps
                doubt[i] = abs(change) * share <= rounding
            if not smooth:
                for i in range(out.shape[0]):
                    doubt[i] = a[i] == b[i]


@compiled()
def _gather(start, stop, places, inputs, end, outputs, end_outputs, result, parts, following, eps):  # type: ignore[no-untyped-def]
    rows, size = inputs.shape
    for at in range(start, stop):
        row, i = places[at] // size, places[at] % size
        after = following[row]
        b = inputs[after, i] if after < rows else end[0, i]
        q = outputs[after, i] if after < rows else end_outputs[0, i]
        parts[0, at], parts[1, at] = inputs[row, i], b - inputs[row, i]
        parts[2, at], parts[3, at] = result[row, i], max(abs(outputs[row, i]), abs(q)) * eps


def middle(rows: Tensor, end: Tensor, following: np.ndarray) -> Tensor:
    """Return (a + b) / 2 for every row a and the row b following it, with the last two axes as in memory."""
    if rows.dim() > 2 and rows.stride(-1) != 1 and rows.stride(-2) == 1:
        return middle(rows.mT, end.mT, following).mT
    rows, end = rows.contiguous(), end.contiguous()
    result = torch.empty_like(rows)
    arrays = [tensor.view(len(tensor), -1).numpy() for tensor in (rows, end, result)]
    in_parallel(_middle, arrays[0].shape[1], *arrays, following, arrays[0].dtype.type(0.5))
    return result


@compiled()
def _middle(start, stop, inputs, end, result, following, half):  # type: ignore[no-untyped-def]
    block = 4096
    for first in range(start, stop, block):
        last = min(first + block, stop)
        for row in range(inputs.shape[0]):
            a, out, after = inputs[row, first:last], result[row, first:last], following[row]
            b = inputs[after, first:last] if after < inputs.shape[0] else end[0, first:last]
            for i in range(out.shape[0]):
                out[i] = (a[i] + b[i]) * half


def softmax_backward(
    inputs: Tensor, end: Tensor, outputs: Tensor, end_outputs: Tensor, given: Tensor, following: np.ndarray
) -> Tensor:
    """Return the multipliers of softmax over the last axis by the rule of attention.Softmax; `outputs`: softmax's."""
    tensors = (inputs, end, outputs, end_outputs, given)
    result = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    arrays = [_in_groups(tensor) for tensor in (*tensors, result)]
    series = np.cumprod(1 / np.arange(1, 12))[::-1] * (-1.0) ** np.arange(10, -1, -1)
    kind = arrays[0].dtype.type
    count = arrays[0].shape[0] * arrays[0].shape[1]
    in_parallel(_softmax, count, *arrays, following, series.astype(kind), kind(LEAST_QUOTIENT))
    return result


@compiled(fastmath={"reassoc", "contract"}, error_model="numpy")
def _softmax(start, stop, inputs, end, outputs, end_outputs, given, result, following, series, least):  # type: ignore[no-untyped-def]
    zero = inputs.dtype.type(0)
    groups = inputs.shape[1]
    c0, c1, c2, c3, c4, c5 = series[0], series[1], series[2], series[3], series[4], series[5]
    c6, c7, c8, c9, c10 = series[6], series[7], series[8], series[9], series[10]
    for at in range(start, stop):
        row, group = at // groups, at % groups
        after = following[row]
        x, p, g, out = inputs[row, group], outputs[row, group], given[row, group], result[row, group]
        y = inputs[after, group] if after < inputs.shape[0] else end[0, group]
        q = outputs[after, group] if after < inputs.shape[0] else end_outputs[0, group]
        # ln p = x - its own normalisation, which the largest of both tells
        shift = (_largest(y) - np.log(_largest(q))) - (_largest(x) - np.log(_largest(p)))
        total, dot = zero, zero
        for i in range(x.shape[0]):
            change = (y[i] - x[i]) - shift
            top, d = max(p[i], q[i]), abs(change)
            near = c0 * d + c1
            near = near * d + c2
            near = near * d + c3
            near = near * d + c4
            near = near * d + c5
            near = near * d + c6
            near = near * d + c7
            near = near * d + c8
            near = near * d + c9
            near = near * d + c10
            mean = top * near if d < least else (q[i] - p[i]) / change
            mean = mean if top > zero else zero
            out[i] = mean
            total += mean
            dot += mean * g[i]
        centre = dot / total
        for i in range(x.shape[0]):
            out[i] *= g[i] - centre


@compiled(fastmath={"reassoc", "nnan", "nsz"})
def _largest(values):  # type: ignore[no-untyped-def]
    found = values[0]
    for i in range(values.shape[0]):
        found = max(found, values[i])
    return found


def standardise_backward(
    inputs: Tensor, end: Tensor, given: Tensor, following: np.ndarray, centred: bool, eps: float
) -> Tensor:
    """Return the multipliers of norms.standardised over the last axis by the rule of norms.Standardise."""
    result = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    arrays = [_in_groups(tensor) for tensor in (inputs, end, given, result)]
    count = arrays[0].shape[0] * arrays[0].shape[1]
    in_parallel(_standardise, count, *arrays, following, centred, arrays[0].dtype.type(eps))
    return result


@compiled(fastmath={"reassoc", "contract"}, error_model="numpy")
def _standardise(start, stop, inputs, end, given, result, following, centred, eps):  # type: ignore[no-untyped-def]
    zero, two = inputs.dtype.type(0), inputs.dtype.type(2)
    groups, size = inputs.shape[1], inputs.dtype.type(inputs.shape[2])
    for at in range(start, stop):
        row, group = at // groups, at % groups
        after = following[row]
        a, g, out = inputs[row, group], given[row, group], result[row, group]
        b = inputs[after, group] if after < inputs.shape[0] else end[0, group]
        mean_a, mean_b = zero, zero
        if centred:
            for i in range(a.shape[0]):
                mean_a += a[i]
                mean_b += b[i]
            mean_a /= size
            mean_b /= size
        square_a, square_b, dot = zero, zero, zero
        for i in range(a.shape[0]):
            c, d = a[i] - mean_a, b[i] - mean_b
            square_a += c * c
            square_b += d * d
            dot += g[i] * (c + d)
        root_a, root_b = np.sqrt(square_a / size + eps), np.sqrt(square_b / size + eps)
        product, roots = root_a * root_b, root_a + root_b
        if product == zero:  # values that are all 0 do not move
            out[:] = zero
            continue
        factor, slope = roots / (two * product), dot / (two * size * product * roots)
        total = zero
        for i in range(a.shape[0]):
            value = factor * g[i] - slope * ((a[i] - mean_a) + (b[i] - mean_b))
            out[i] = value
            total += value
        if centred:
            mean = total / size
            for i in range(a.shape[0]):
                out[i] -= mean


def _in_groups(tensor: Tensor) -> np.ndarray:
    """Return [rows, groups, values of the last axis]."""
    return tensor.reshape(len(tensor), -1, tensor.shape[-1]).numpy()
