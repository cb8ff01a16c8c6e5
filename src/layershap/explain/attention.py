"""The secant rules of attention: softmax and its kin, products of two tensors that both depend on the path.

Rows, `end` and `following` as in rules.py; `dim` is counted from the last axis, below 0. L: the logarithmic mean of p
and p', L_i = (p_i - p'_i) / (ln p_i - ln p'_i), and p_i where they are equal. With it, the change of a logit divides
exactly into that of the logarithm of the probability and that of the normalisation, at any distance; and adding a
number to all logits changes nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from layershap.explain.rules import middle, next_point, smooth_kernels


class Softmax(torch.autograd.Function):
    """m_i = L_i (g_i - G) with G = sum(g L) / sum(L)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, dim: int, following: Tensor) -> Tensor:
        """Return softmax(inputs, dim)."""
        outputs = inputs.softmax(dim)
        ctx.save_for_backward(inputs, end, outputs, following)
        ctx.dim = dim
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, outputs, following = ctx.saved_tensors
        kernels = smooth_kernels(inputs, gradients[0])
        if kernels:
            tensors = (inputs, end, outputs, end.softmax(ctx.dim), gradients[0])
            moved = (tensor.movedim(ctx.dim, -1) for tensor in tensors)
            return kernels.softmax_backward(*moved, following.numpy()).movedim(-1, ctx.dim), None, None, None
        share, mean = _logarithmic_means(inputs, next_point(inputs, end, following), ctx.dim)
        centre = (gradients[0] * share).sum(ctx.dim, keepdim=True)
        return mean * (gradients[0] - centre), None, None, None


class LogSoftmax(torch.autograd.Function):
    """m_k = g_k - (L_k / sum L) sum(g)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, dim: int, following: Tensor) -> Tensor:
        """Return log_softmax(inputs, dim)."""
        ctx.save_for_backward(inputs, end, following)
        ctx.dim = dim
        return inputs.log_softmax(dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        share, _ = _logarithmic_means(inputs, next_point(inputs, end, following), ctx.dim)
        return gradients[0] - share * gradients[0].sum(ctx.dim, keepdim=True), None, None, None


class LogSumExp(torch.autograd.Function):
    """m_k = g L_k / sum L."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, end: Tensor, dim: int, following: Tensor) -> Tensor:
        """Return logsumexp(inputs, dim), the axis kept."""
        ctx.save_for_backward(inputs, end, following)
        ctx.dim = dim
        return inputs.logsumexp(dim, keepdim=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the multipliers of the inputs."""
        inputs, end, following = ctx.saved_tensors
        share, _ = _logarithmic_means(inputs, next_point(inputs, end, following), ctx.dim)
        return share * gradients[0], None, None, None


class Bilinear(torch.autograd.Function):
    """m_u = what f(., (v_a + v_b) / 2) brings back for g, m_v likewise; f is linear in each of both."""

    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        end_left: Tensor,
        end_right: Tensor,
        function: Callable[[Tensor, Tensor], Tensor],
        following: Tensor,
    ) -> Tensor:
        """Return function(left, right), of all rows."""
        ctx.save_for_backward(left, right, end_left, end_right, following)
        ctx.function = function
        return function(left, right)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        """Return the multipliers of both factors."""
        left, right, end_left, end_right, following = ctx.saved_tensors
        means = [middle(left, end_left, following), middle(right, end_right, following)]
        if ctx.function is torch.matmul and left.dim() == right.dim() > 2:  # without the product itself
            to_left = (gradients[0] @ means[1].mT).sum_to_size(left.shape)
            to_right = (means[0].mT @ gradients[0]).sum_to_size(right.shape)
            return to_left, to_right, None, None, None, None
        means = [mean.requires_grad_() for mean in means]
        with torch.enable_grad():
            to_left, to_right = torch.autograd.grad(ctx.function(*means), means, gradients[0])
        return to_left, to_right, None, None, None, None


def _logarithmic_means(start: Tensor, end: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return L / sum L and L of softmax at both ends; 0 where both are 0, as under a mask.

    Stably: L = max(p, p') (1 - e^-d) / d with d = |ln p - ln p'|.
    """
    before, after = start.log_softmax(dim), end.log_softmax(dim)
    distance = (before - after).abs()
    factor = torch.where(distance > 0, -torch.expm1(-distance) / distance.masked_fill(distance == 0, 1.0), 1.0)
    largest = torch.maximum(before, after)
    masked = largest == -torch.inf
    mean = (largest.exp() * factor).masked_fill(masked, 0.0)
    return mean / mean.sum(dim, keepdim=True), mean
