"""The secant rule of each kind of operation, as functions whose backward pass brings multipliers, not derivatives.

The first arguments are the inputs at the rows, then the inputs at the end of all paths (`end`, one row). `following`
[rows]: the row of the point after each point of a path, or the number of rows for the end (see secant.py). a: a row's
own values; b: those of the point following it; m: a multiplier.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

try:
    from layershap.explain import fused, fused_smooth
except ImportError:  # without numba the torch versions do all
    fused = fused_smooth = None  # type: ignore[assignment]


class Clamp(torch.autograd.Function):
    """m <- m (r(b) - r(a)) / (b - a) for r the identity between two bounds, constant outside (relu, relu6, clamp)."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, end: Tensor, function: Callable[[Tensor], Tensor], following: Tensor
    ) -> Tensor:
        """Return function(inputs)."""
        ctx.save_for_backward(inputs, end, following)
        ctx.function = function
        return function(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        if fused and fused.usable(inputs, gradients[0]):
            ends = (inputs.new_tensor(end, dtype=torch.float64) for end in (-torch.inf, torch.inf))
            low, high = (float(ctx.function(end)) for end in ends)
            return fused.clamp_backward(inputs, end, gradients[0], following.numpy(), low, high), None, None, None
        outputs = ctx.function(inputs)
        after = next_point(inputs, end, following)
        step = after - inputs
        still = step == 0
        slope = (ctx.function(after) - outputs).div_(step.masked_fill_(still, 1.0))
        slope += still.logical_and_(inputs == outputs)
        return slope.mul_(gradients[0]), None, None, None


class Elementwise(torch.autograd.Function):
    """m <- m (r(b) - r(a)) / (b - a); where rounding would spoil the quotient, the mean derivative between a and b.

    The change of r over a step is known to eps max(|r(a)|, |r(b)|), whatever the size of the numbers. Where that is
    much of the change, the mean derivative is taken by Gauss-Legendre's rule with two nodes, if it is nearer: if its
    difference from the derivative half way, which is far more than its error, is less.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, end: Tensor, function: Callable[[Tensor], Tensor], smooth: bool, following: Tensor
    ) -> Tensor:
        """Return function(inputs); `smooth`: it is not piecewise linear."""
        ctx.save_for_backward(inputs, end, following)
        ctx.function, ctx.smooth = function, smooth
        return function(inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        mean_derivative = partial(_mean_derivative, ctx.function)
        before, last = ctx.function(inputs), ctx.function(end)
        kernels = smooth_kernels(inputs, gradients[0])
        if kernels:
            slope = kernels.slopes(inputs, end, before, last, following.numpy(), ctx.smooth, mean_derivative)
            return slope.mul_(gradients[0]), None, None, None, None
        step = next_point(inputs, end, following) - inputs
        behind = next_point(before, last, following)
        slope = behind - before
        eps = torch.finfo(inputs.dtype).eps
        rounding = torch.maximum(before.abs(), behind.abs()) * eps
        # piecewise linear: both are rounded alike, the quotient is right for any step but 0
        unsure = slope.abs() * eps ** (2 / 3) <= rounding if ctx.smooth else step == 0
        slope /= step.masked_fill(step == 0, 1.0)
        places = unsure.nonzero(as_tuple=True)
        if len(places[0]):
            slope[places] = mean_derivative(inputs[places], step[places], slope[places], rounding[places])
        return slope.mul_(gradients[0]), None, None, None, None


def _mean_derivative(
    function: Callable[[Tensor], Tensor], start: Tensor, step: Tensor, quotient: Tensor, rounding: Tensor
) -> Tensor:
    """Return the mean derivative over each step [n] where it is nearer than the quotient, else that."""
    nodes = start + step * step.new_tensor([[0.5], [0.5 - 12**-0.5], [0.5 + 12**-0.5]])
    with torch.enable_grad():
        nodes = nodes.requires_grad_()
        middle, left, right = torch.autograd.grad(function(nodes).sum(), nodes)[0]
    mean = (left + right) / 2
    near = (mean - middle).abs() * step.abs() <= rounding
    # no step: any finite number is exact
    return torch.where(near | (step == 0), torch.nan_to_num(mean, 0.0, 0.0, 0.0), quotient)


class MaxPool(torch.autograd.Function):
    """The change of each maximum goes to the place of the larger end: m (y_b - y_a) / (z_b - z_a) there.

    With c = max(y_a, y_b): m (c - y_a) to the argmax of b and m (y_b - c) to the argmax of a; one of them is 0.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, options: tuple[Any, ...], following: Tensor) -> Tensor:
        """Return max_pool2d(inputs, kernel, stride, padding, dilation, ceil_mode)."""
        ctx.save_for_backward(inputs, end, following)
        ctx.options = options
        return _over_images(lambda value: F.max_pool2d(value, *options), inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        kernel, stride, padding, dilation, _ = ctx.options
        if fused and fused.usable(inputs, gradients[0]) and _pair(dilation) == (1, 1) and inputs.dim() == 4:
            shapes = _pair(kernel), _pair(stride or kernel), _pair(padding)
            result = fused.max_pool_backward(inputs, end, gradients[0], following.numpy(), *shapes)
        else:

            def pool(tensor: Tensor) -> tuple[Tensor, Tensor]:
                return F.max_pool2d(tensor, *ctx.options, return_indices=True)

            result = _pool_multipliers(inputs, end, pool, gradients[0], following)
        return result, None, None, None


class AdaptiveMaxPool(torch.autograd.Function):
    """As MaxPool, for adaptive_max_pool2d."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, size: Any, following: Tensor) -> Tensor:
        """Return adaptive_max_pool2d(inputs, size)."""
        ctx.save_for_backward(inputs, end, following)
        ctx.size = size
        return _over_images(lambda value: F.adaptive_max_pool2d(value, size), inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors

        def pool(tensor: Tensor) -> tuple[Tensor, Tensor]:
            return F.adaptive_max_pool2d(tensor, ctx.size, return_indices=True)

        return _pool_multipliers(inputs, end, pool, gradients[0], following), None, None, None


class Extremes(torch.autograd.Function):
    """As MaxPool, for the maximum over the last axis."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, following: Tensor) -> Tensor:
        """Return the maxima, the axis kept."""
        ctx.save_for_backward(inputs, end, following)
        return inputs.amax(-1, keepdim=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        after = next_point(inputs, end, following)
        (start_out, start_place), (end_out, end_place) = inputs.max(-1, keepdim=True), after.max(-1, keepdim=True)
        place = torch.where(end_out >= start_out, end_place, start_place)
        step = (after - inputs).gather(-1, place)
        slope = torch.where(step == 0, 1.0, (end_out - start_out) / step.masked_fill(step == 0, 1.0))
        return torch.zeros_like(inputs).scatter_(-1, place, gradients[0] * slope), None, None


class Product(torch.autograd.Function):
    """m_u = m (v_a + v_b) / 2 and m_v = m (u_a + u_b) / 2."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, end_left: Tensor, end_right: Tensor, following: Tensor
    ) -> Tensor:
        """Return left * right."""
        ctx.save_for_backward(left, right, end_left, end_right, following)
        return left * right

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the multipliers of both factors."""
        left, right, end_left, end_right, following = ctx.saved_tensors
        half = gradients[0] / 2
        to_left = (half * (right + next_point(right, end_right, following))).sum_to_size(left.shape)
        to_right = (half * (left + next_point(left, end_left, following))).sum_to_size(right.shape)
        return to_left, to_right, None, None, None


def next_point(rows: Tensor, end: Tensor, following: Tensor) -> Tensor:
    """Return the values at the point following each row."""
    after = rows[following.clamp(max=len(rows) - 1)]
    after[following == len(rows)] = end[0]
    return after


def smooth_kernels(*tensors: Tensor) -> Any:
    """Return the module of compiled kernels where they take these tensors, else None."""
    return fused_smooth if fused and fused.usable(*tensors) else None


def middle(rows: Tensor, end: Tensor, following: Tensor) -> Tensor:
    """Return (a + b) / 2."""
    kernels = smooth_kernels(rows)
    if kernels:
        result: Tensor = kernels.middle(rows, end, following.numpy())
        return result
    return next_point(rows, end, following).add_(rows).div_(2)


def _pool_multipliers(
    inputs: Tensor, end: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]], given: Tensor, following: Tensor
) -> Tensor:
    after = next_point(inputs, end, following)
    if inputs.dim() > 4:  # [rows, images, channels, height, width]
        shape = inputs.shape
        inputs, after, given = (value.flatten(0, -4) for value in (inputs, after, given))
        return _shared(inputs, after, pool, given).view(shape)
    return _shared(inputs, after, pool, given)


def _shared(inputs: Tensor, after: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]], given: Tensor) -> Tensor:
    (start_out, start_place), (end_out, end_place) = pool(inputs), pool(after)
    place = torch.where(end_out >= start_out, end_place, start_place).flatten(2)
    step = torch.gather((after - inputs).flatten(2), 2, place)
    change = (end_out - start_out).flatten(2)
    still = step == 0
    # no step, no change: any share is exact; the derivative is 1
    slope = torch.where(still, 1.0, change / step.masked_fill(still, 1.0))
    result = torch.zeros_like(inputs, memory_format=torch.contiguous_format).flatten(2)
    return result.scatter_add_(2, place, given.flatten(2) * slope).view(inputs.shape)


def _over_images(pool: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Apply a pool that knows of one axis of images to inputs that may have rows before it."""
    if inputs.dim() <= 4:
        return pool(inputs)
    return pool(inputs.flatten(0, -4)).unflatten(0, inputs.shape[:-3])


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[-1])
