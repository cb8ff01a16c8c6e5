"""Operations that consist of others: what each is, in terms that have rules.

Functions of the same arguments as torch's of that name. They are called while the secant rule watches, which then sees
their parts alone.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from layershap.explain.norms import standardised
from layershap.explain.operations import UnsupportedOperationError


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Over the last axes."""
    return _affine(_over_last(input, len(tuple(normalized_shape)), True, eps), weight, bias)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Over the last axes, without their mean."""
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    return _affine(_over_last(input, len(tuple(normalized_shape)), False, eps), weight, None)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Over all places of the maps of a group."""
    shape = input.shape[1:]
    grouped = input.flatten(2).unflatten(1, (num_groups, -1)).flatten(2)
    over = (-1, *([1] * (len(shape) - 1)))
    weight, bias = (None if value is None else value.view(over) for value in (weight, bias))
    return _affine(standardised(grouped, True, eps).flatten(1).unflatten(1, shape), weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    """Over the places of each map, or by what was kept in training."""
    if not use_input_stats:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return group_norm(input, input.shape[1], weight, bias, eps)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    """Of length 1 along an axis."""
    return input / norm(input, p, dim, True).clamp(min=eps)


def norm(input: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, *_: Any, **options: Any) -> Tensor:
    """Euclid's length over axes."""
    p = options.get("ord", p)
    if p not in (2, 2.0, "fro", None):
        raise UnsupportedOperationError(f"the {p}-norm: no exact rule is known")
    return (input * input).sum(tuple(range(input.dim())) if dim is None else dim, keepdim=keepdim).sqrt()


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two."""
    return other + F.relu(input - other)


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two."""
    return other - F.relu(other - input)


def baddbmm(input: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """A product added to something."""
    return input * beta + (left @ right) * alpha


def _over_last(tensor: Tensor, axes: int, centred: bool, eps: float) -> Tensor:
    if axes == 1:
        return standardised(tensor, centred, eps)
    shape = tensor.shape[tensor.dim() - axes :]
    return standardised(tensor.flatten(-axes), centred, eps).unflatten(-1, shape)


def _affine(tensor: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    tensor = tensor if weight is None else tensor * weight
    return tensor if bias is None else tensor + bias


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return scaled_dot_product_attention of the same arguments, from products and a softmax."""
    if dropout_p:
        raise UnsupportedOperationError("attention with dropout is random: call model.eval() first")
    if enable_gqa:
        repeated = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeated, -3), value.repeat_interleave(repeated, -3)
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1) @ value


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return torch.nn.functional.multi_head_attention_forward of the same arguments: [length, images, channels]."""
    if bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None:
        raise UnsupportedOperationError("multi-head attention with added keys: no exact rule is known")
    if training and dropout_p:
        raise UnsupportedOperationError("attention with dropout is random: call model.eval() first")
    weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)
    biases: Any = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    query, key, value = (
        # [length, images, channels] -> [images, heads, length, channels of a head]
        F.linear(given, weight, bias).unflatten(-1, (num_heads, -1)).movedim(0, -2)
        for given, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dim() == 3:
        attn_mask = attn_mask.unflatten(0, (-1, num_heads))
    if key_padding_mask is not None:
        key_padding_mask = key_padding_mask[..., None, None, :]
    for mask in (attn_mask, key_padding_mask):
        if mask is not None:
            scores = scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    shares = scores.softmax(-1)
    result = F.linear((shares @ value).movedim(-2, 0).flatten(-2), out_proj_weight, out_proj_bias)
    return result, (shares.mean(-3) if average_attn_weights else shares) if need_weights else None


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> Tensor:
    """Over axes, divided by their length less `correction`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    correction = 1 if correction is None else correction
    axes = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(input.shape[axis] for axis in axes)
    centred = input - input.mean(axes, keepdim=True)
    return (centred * centred).sum(axes, keepdim=keepdim) / (count - correction)


def std(*args: Any, **options: Any) -> Tensor:
    """Root of the variance."""
    return var(*args, **options).sqrt()


def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = 1
) -> tuple[Tensor, Tensor]:
    """Both, over the same axes."""
    axes = list(range(input.dim())) if dim is None or isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), input.mean(axes, keepdim=keepdim)


COMPOSITES: dict[str, Callable[..., Any]] = {
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "normalize": normalize,
    "norm": norm,
    "vector_norm": norm,
    "linalg_vector_norm": norm,
    "var": var,
    "std": std,
    "var_mean": var_mean,
    "maximum": maximum,
    "minimum": minimum,
    "baddbmm": baddbmm,
    "addmm": baddbmm,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": multi_head_attention,
}
