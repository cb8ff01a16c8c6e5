"""The sums over lines, of one image and layer."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from layershap.chain.layouts import Layout
from layershap.explain.paths import Followed, Lines
from layershap.explain.rules import fused, next_point


@dataclass
class Sums:
    """Sums over the references of one image and layer."""

    straight: bool
    keep_features: bool
    layout: Layout
    heatmaps: list[Tensor] = field(default_factory=list)
    own: Tensor | None = None
    reference: Tensor | None = None
    features: Tensor | None = None

    def add_nothing(self, same: Tensor, features: Tensor) -> None:
        """Count the references that are the image itself, where `same` [J]; `features` [1, ...]."""
        nothing = torch.zeros_like(self.layout.maps(features)[0])
        others = iter(self.heatmaps)
        self.heatmaps = [nothing[0].clone() if equal else next(others) for equal in same.tolist()]
        if self.straight:
            self.own, self.reference = _plus(self.own, nothing[0]), _plus(self.reference, nothing[0])
        if self.keep_features:
            self.features = _plus(self.features, nothing)

    def add(self, found: Followed) -> None:
        """Take in what a layer made of some lines, or of a piece of one, which comes after the piece behind it."""
        lines = found.lines
        multipliers, features, last = (self.layout.maps(t) for t in (found.multipliers, found.features, found.end))
        if self.straight and found.ends:
            # z_b - z_a is (z - z') / K on every segment: only the mean multiplier counts
            start, end = (self.layout.maps(tensor) for tensor in found.ends)
            mean = lines.by_line(multipliers).mean(1).mul_(lines.each / lines.segments)
            self.own = _plus(self.own, (mean * end).sum((0, 1)))
            self.reference = _plus(self.reference, mean.mul_(start).sum((0, 1)))
            del mean  # before the next large tensors
        if fused and not self.keep_features and fused.usable(multipliers, features):
            tables = lines.following.numpy(), lines.owner.numpy(), lines.count
            self._add_heatmaps(lines, fused.heatmaps(multipliers, features, last, *tables))
            return
        step = next_point(features, last, lines.following) - features
        values = lines.by_line(multipliers * step).sum(1)
        self._add_heatmaps(lines, values.sum(1))
        if self.keep_features:
            self.features = _plus(self.features, values.sum(0))

    def _add_heatmaps(self, lines: Lines, values: Tensor) -> None:
        if lines.last == lines.segments:
            self.heatmaps += list(values)
        else:
            self.heatmaps[-1] = self.heatmaps[-1] + values[0]


@dataclass(frozen=True)
class ImageSums:
    """One image's sums by layer, its class, its logits [1, classes] and those of its references [J, classes]."""

    sums: dict[int, Sums]
    target: int
    logits: Tensor
    reference_logits: Tensor


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    return value if total is None else total + value
