"""The secant rule of norms: a group of values over the root of its mean square, less its mean or not.

Rows, `end` and `following` as in rules.py. Everything else about layer, group, instance and RMS norm is linear.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from layershap.explain.rules import next_point, smooth_kernels


class Standardise(torch.autograd.Function):
    """y = c u with c = x - mean(x), or x; u = 1 / r, r = sqrt(mean(c^2) + eps), over the last axis.

    With bars for the mean of both ends: M_k = u_bar g_k - 2 / (n r r' (r + r')) c_bar_k sum_i(g_i c_bar_i), and
    m = M - mean(M) where c is centred. Nothing is divided by a difference.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, centred: bool, eps: float, following: Tensor) -> Tensor:
        """Return y, of the shape of `inputs`."""
        ctx.save_for_backward(inputs, end, following)
        ctx.centred, ctx.eps = centred, eps
        return standardised(inputs, centred, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        kernels = smooth_kernels(inputs, gradients[0])
        if kernels:
            options = following.numpy(), ctx.centred, ctx.eps
            return kernels.standardise_backward(inputs, end, gradients[0], *options), None, None, None, None
        start, start_root = _parts(inputs, ctx.centred, ctx.eps)
        after, after_root = _parts(next_point(inputs, end, following), ctx.centred, ctx.eps)
        given, mean = gradients[0], (start + after) / 2
        product = start_root * after_root
        slope = 2 / (inputs.shape[-1] * product * (start_root + after_root)) * (given * mean).sum(-1, keepdim=True)
        result = (start_root + after_root) / (2 * product) * given - slope * mean
        if ctx.centred:
            result = result - result.mean(-1, keepdim=True)
        # values that are all 0 at both ends do not move
        return torch.nan_to_num(result, 0.0, 0.0, 0.0), None, None, None, None


def standardised(inputs: Tensor, centred: bool, eps: float) -> Tensor:
    """Return the values over the last axis, less their mean where `centred`, over the root of their mean square."""
    if has_torch_function_unary(inputs):  # for the secant rule it is one operation
        return handle_torch_function(standardised, (inputs,), inputs, centred, eps)
    norm = F.layer_norm if centred else F.rms_norm
    return norm(inputs, inputs.shape[-1:], eps=eps)


def _parts(inputs: Tensor, centred: bool, eps: float) -> tuple[Tensor, Tensor]:
    values = inputs - inputs.mean(-1, keepdim=True) if centred else inputs
    return values, (values.square().mean(-1, keepdim=True) + eps).sqrt()
