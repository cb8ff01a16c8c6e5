"""The rule of a quotient of two tensors that depend on the path."""

from typing import Any

import torch
from torch import Tensor

from layershap.explain.rules import next_point


class Quotient(torch.autograd.Function):
    """y = u / v: with means over both ends, m_u = m / v and m_v = -m y / v.

    From u = y v: the change of u is (mean y) (change of v) + (mean v) (change of y). Unlike a product with 1 / v it
    holds where v is all but 0 at one end, as the sums of an attention without softmax are. Where v changes its sign,
    its mean may be 0, and it is a product with 1 / v.
    """

    @staticmethod
    def forward(
        ctx: Any, upper: Tensor, lower: Tensor, end_upper: Tensor, end_lower: Tensor, following: Tensor
    ) -> Tensor:
        """Return upper / lower."""
        ctx.save_for_backward(upper, lower, end_upper, end_lower, following)
        return upper / lower

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the multipliers of both."""
        upper, lower, end_upper, end_lower, following = ctx.saved_tensors
        after_upper, after_lower = next_point(upper, end_upper, following), next_point(lower, end_lower, following)
        one_sign = lower * after_lower > 0
        share = torch.where(one_sign, 2 / (lower + after_lower), (1 / lower + 1 / after_lower) / 2)
        slope = torch.where(
            one_sign,
            (upper / lower + after_upper / after_lower) / (lower + after_lower),
            (upper + after_upper) / (2 * lower * after_lower),
        )
        to_upper = (gradients[0] * share).sum_to_size(upper.shape)
        return to_upper, (-gradients[0] * slope).sum_to_size(lower.shape), None, None, None
