"""The explained output f as a function of the logits, and its exact secant along the segments of a path."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Output = Literal["margin", "logit", "probability"]


def choose_targets(logits: Tensor, target: int | None) -> Tensor:
    """Return the class explained for each image [N], on the processor.

    `target`, or class 1 of two, or the predicted one of more.
    """
    count, classes = logits.shape
    classes = max(classes, 2)  # one unit is the log odds of class 1
    if logits.shape[1] == 1 and target == 0:
        raise ValueError("target must be 1 for a head with one unit, not 0: its logit is that of class 1")
    if target is None:
        return torch.ones(count, dtype=torch.long, device="cpu") if classes == 2 else logits.argmax(1).cpu()
    if not 0 <= target < classes:
        raise ValueError(f"target must be a class from 0 to {classes - 1}, not {target}")
    return torch.full((count,), target, device="cpu")


def output_values(logits: Tensor, target: int, output: Output) -> Tensor:
    """Return f of logits [..., classes], without the last axis.

    margin: the target's logit minus the mean of the others (two classes: s_1 - s_0 for target 1). logit: the
    target's. probability: softmax. One unit is the log odds of class 1, whose probability is its sigmoid.
    """
    logits = _both(logits)
    if output == "probability":
        return logits.softmax(-1)[..., target]
    return logits @ _direction(logits, target, output)


def _both(logits: Tensor) -> Tensor:
    """Return logits of both classes where there is one unit."""
    return torch.cat([torch.zeros_like(logits), logits], -1) if logits.shape[-1] == 1 else logits


def _direction(logits: Tensor, target: int, output: Output) -> Tensor:
    classes = logits.shape[-1]
    fill = -1 / (classes - 1) if output == "margin" else 0.0
    direction = torch.full((classes,), fill, dtype=logits.dtype, device=logits.device)
    direction[target] = 1.0
    return direction


def output_multipliers(start: Tensor, end: Tensor, target: int, output: Output) -> Tensor:
    """Return v [segments, classes] with v . (end - start) = f(end) - f(start) exactly.

    `start`, `end`: logits [segments, classes] at the ends of each segment. For a probability, v is the
    gradient of softmax averaged along the straight segment in logit space (Gauss-Legendre); what rounding and
    quadrature leave is spread along the segment.
    """
    if start.shape[-1] == 1:
        # the step of the other logit is 0, and so is what it gets beside the share of the gradient
        return output_multipliers(_both(start), _both(end), target, output)[..., 1:]
    if output != "probability":
        return _direction(start, target, output).expand_as(start)
    step = end - start
    nodes, weights = np.polynomial.legendre.leggauss(8)
    gradient = torch.zeros_like(start)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        probability = (start + float(node) * step).softmax(-1)
        chosen = torch.zeros_like(probability)
        chosen[..., target] = 1.0
        gradient += float(weight) * probability[..., target, None] * (chosen - probability)
    change = end.softmax(-1)[..., target] - start.softmax(-1)[..., target]
    left = change - (gradient * step).sum(-1)
    length = (step**2).sum(-1)
    share = torch.where(length > 0, left / length.clamp(min=torch.finfo(length.dtype).tiny), 0.0)
    return gradient + share[..., None] * step
