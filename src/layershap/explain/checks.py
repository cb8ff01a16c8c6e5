"""What is asked of arguments before work is done, and of values before they are shown."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layershap.chain import Chain
from layershap.chain.layouts import Layout
from layershap.explain.operations import DIAGNOSE


class InexactSumError(ArithmeticError):
    """A layer's values do not add up to f(x) - E f: the result is not shown."""


def check_arguments(
    model: Chain,
    images: Tensor,
    references: Tensor,
    segments: int,
    layers: Sequence[str] | None,
    path: str,
    output: str,
    tolerance: float | None,
    more_references: Tensor | None,
) -> list[str]:
    """Return the names of the layers to explain, in order; raise ValueError for arguments that do not fit."""
    if not isinstance(model, Chain):
        raise ValueError(f"model must be a Chain(layers, head), not {type(model).__name__}")
    compared = {"references": references}
    if more_references is not None:
        compared["more_references"] = more_references
    for name, tensor in {"images": images, **compared}.items():
        if tensor.dim() != 4 or not len(tensor):
            raise ValueError(f"{name} must be [N, channels, height, width], not {tuple(tensor.shape)}")
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"{name} must be float32 or float64, not {tensor.dtype}: sums are not exact otherwise; "
                "use .float() on the model, the images and the references"
            )
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} must be finite numbers")
    for name, tensor in (*compared.items(), *model.named_parameters()):
        if tensor.is_floating_point() and (tensor.dtype, tensor.device) != (images.dtype, images.device):
            raise ValueError(
                f"{name} and images differ: {tensor.dtype} on {tensor.device}, and {images.dtype} on {images.device}; "
                "use .to(device, dtype) so that the model, the images and the references are alike"
            )
    for name, tensor in compared.items():
        if images.shape[1:] != tensor.shape[1:]:
            raise ValueError(f"images and {name} differ: {tuple(images.shape[1:])} and {tuple(tensor.shape[1:])}")
    if segments < 1:
        raise ValueError(f"segments must be at least 1, not {segments}")
    if tolerance is not None and not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, not {tolerance}")
    if path not in ("layer", "image"):
        raise ValueError(f"path must be 'layer' or 'image', not {path!r}")
    if output not in ("margin", "logit", "probability"):
        raise ValueError(f"output must be 'margin', 'logit' or 'probability', not {output!r}")
    if layers is None:
        return list(model.names)
    unknown = sorted(set(layers) - set(model.names))
    if unknown:
        raise ValueError(f"no layer {', '.join(map(repr, unknown))}; there are {', '.join(model.names)}")
    return [name for name in model.names if name in set(layers)]


def plain_logits(model: Chain, tensor: Tensor, names: Sequence[str]) -> Tensor:
    """Return the model's own logits; raise ValueError where a layer of `names` gives no maps, or the head no logits."""
    count = len(tensor)
    found: Any = tensor
    for name, layer in zip(model.names, model.layers, strict=True):
        found = layer(found)
        if not isinstance(found, Tensor):
            raise ValueError(
                f"layer {name!r} gives a {type(found).__name__}; a layer of a Chain must give one tensor: "
                "let the module return the one that the next layer takes"
            )
        if name in names:
            try:
                if len(found) != count:
                    raise ValueError("the first axis is not that of the images")
                Layout.of(found, *tensor.shape[-2:])
            except ValueError:
                raise ValueError(
                    f"layer {name!r} gives {list(found.shape)}, not maps [{count}, channels, height, width] nor tokens "
                    f"[{count}, tokens, channels] of a grid: put it into the head, or leave it out by layers=[...]"
                ) from None
    found = model.head(found)
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != count:
        given = list(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(
            f"the head must give logits [{count}, classes], not {given}: flatten or index them in the head"
        )
    return found


def check_followed(found: Tensor, expected: Tensor, what: str) -> None:
    """Raise where logits [N, classes], met on a line, are not the model's own."""
    tolerance = 1e-3 if found.dtype == torch.float32 else 1e-8
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        row, place = divmod(int((found - expected).abs().argmax()), found.shape[1])
        number = f" (number {row})" if len(found) > 1 else ""
        raise InexactSumError(
            f"the model gives {float(expected[row, place]):.9g} as logit {place} of {what}{number}, but "
            f"{float(found[row, place]):.9g} when they are followed: "
            f"one of its layers does not treat every image of a batch alike, or computes in less than {found.dtype}; "
            f"{DIAGNOSE}"
        )


def check_gap(name: str, gap: Tensor, f_image: Tensor, f_references: Tensor) -> None:
    """Raise where the sum is off by more than rounding: relative to the mean |f(x) - f(x'_j)| and to |f|.

    gap, f_image: numbers; f_references [J].
    """
    scale = (f_image - f_references).abs().mean() + (f_image.abs() + f_references.abs().mean()) * 0.1
    tolerance = 1e-3 if gap.dtype == torch.float32 else 1e-8
    if not gap.abs() <= tolerance * scale:
        raise InexactSumError(
            f"layer {name}: the values sum to {float(gap):.3g} more than f(x) - E f "
            f"({float(scale):.3g} in size); use float64; {DIAGNOSE}"
        )
