"""How far the two sums of one operation differ: what comes in, and what goes out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from layershap.explain.watched import Call


def relative_gap(row: Call, end: Call, generator: torch.Generator) -> tuple[float, float]:
    """Return how far both sums of a call differ, relative to the root of the summed squares, and what may be.

    Rounding is in proportion to the values, not to their change: a tenth of the values counts too.
    """
    if [value.row().shape for value in row.outputs] != [value.row().shape for value in end.outputs]:
        return torch.inf, 0.0
    outputs, given, right = [], [], _Sum()
    for held, after in zip(row.outputs, end.outputs, strict=True):
        before, behind = held.row(), after.row().detach()
        random = torch.randn(behind.shape, generator=generator, dtype=torch.float64, device="cpu").to(before)
        random.masked_fill_(~(before.isfinite() & behind.isfinite()), 0.0)  # as under a mask
        right.add(random, before.detach(), behind)
        if before.requires_grad:
            outputs.append(before)
            given.append(random)
    tensors = [held.tensor for held in row.inputs]
    try:
        with torch.enable_grad():
            found = (
                torch.autograd.grad(outputs, tensors, given, retain_graph=True, allow_unused=True) if outputs else ()
            )
    except RuntimeError:  # a rule that fails
        return torch.inf, 0.0
    left = _Sum()
    for held, after, multipliers in zip(row.inputs, end.inputs, found or [None] * len(tensors), strict=True):
        before = held.row().detach()
        left.add(
            torch.zeros_like(before) if multipliers is None else held.row(multipliers), before, after.row().detach()
        )
    scale = (left.changes + right.changes) ** 0.5 + 0.1 * (left.values + right.values) ** 0.5
    coarsest = max(torch.finfo(held.tensor.dtype).eps for held in (*row.inputs, *row.outputs))
    gap = abs(left.total - right.total)
    return (gap / scale if gap else 0.0), max(1e-9, 1000 * coarsest)


@dataclass
class _Sum:
    """m (b - a), summed in float64; the squares of its terms, and of m times the values."""

    total: float = 0.0
    changes: float = 0.0
    values: float = 0.0

    def add(self, multipliers: Tensor, before: Tensor, after: Tensor) -> None:
        """Add one tensor's; what is infinite at either end does not count."""
        m, a, b = (value.double() for value in (multipliers, before, after))
        finite = a.isfinite() & b.isfinite()
        change = torch.where(finite, m * (b - a), 0.0)
        self.total += float(change.sum())
        self.changes += float(change.square().sum())
        self.values += float(torch.where(finite, m * torch.maximum(a.abs(), b.abs()), 0.0).square().sum())
