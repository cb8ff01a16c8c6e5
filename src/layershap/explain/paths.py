"""Straight lines from references to one image, followed through a chain: features and multipliers of every segment."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from layershap.explain.chain import Chain
from layershap.explain.outputs import Output, output_multipliers
from layershap.explain.secant import SecantMode, Trace


@dataclass(frozen=True)
class Explained:
    """What is explained: output of class `target`, as outputs.output_values defines it."""

    target: int
    output: Output


class Image:
    """One image followed through the chain once: what every layer and every nonlinear operation makes of it.

    image [3, H, W]; features: of each layer, [1, C, H, W]; positions: number of nonlinear operations before each layer;
    logits [1, classes].
    """

    def __init__(self, model: Chain, image: Tensor):
        self.image = image
        self.trace = Trace()
        features: list[Tensor] = []
        self.positions: list[int] = []
        with torch.enable_grad(), SecantMode(self.trace) as mode:
            tensor = image[None].clone().requires_grad_()
            for layer in model.layers:
                self.positions.append(len(self.trace.values))
                tensor = mode.current(layer(tensor))
                features.append(tensor)
            self.positions.append(len(self.trace.values))
            logits = mode.current(model.head(tensor))
        self.features = [tensor.detach() for tensor in features]
        self.logits = logits.detach()

    def elements(self) -> int:
        """Return how many numbers all layers put out."""
        return sum(features.numel() for features in self.features)


class Lines:
    """The points of straight lines from `references` [J, ...] to `end` [...], each but its end, in `segments` pieces.

    points [J * segments, ...]; following, owner [J * segments]: see secant.py; the line that a point belongs to.
    """

    def __init__(self, references: Tensor, end: Tensor, segments: int):
        self.count, self.segments = len(references), segments
        share = torch.arange(segments, dtype=end.dtype, device=end.device) / segments
        share = share.view(1, -1, *([1] * end.dim()))
        # a + t (b - a): exactly a for t = 0, and constant where a = b
        self.points = (references[:, None] + share * (end - references)[:, None]).flatten(0, 1)
        rows = torch.arange(self.count * segments, device=end.device)
        self.following = torch.where(rows % segments == segments - 1, self.count * segments, rows + 1)
        self.owner = rows // segments

    def by_line(self, rows: Tensor) -> Tensor:
        """Return rows as [lines, segments, ...]."""
        return rows.unflatten(0, (self.count, self.segments))


@dataclass(frozen=True)
class Followed:
    """A layer on some lines: features and multipliers [rows, C, H, W], the image's features `end` [1, C, H, W]."""

    layer: int
    lines: Lines
    features: Tensor
    multipliers: Tensor
    end: Tensor


def follow_image_path(
    model: Chain, image: Image, references: Tensor, segments: int, layers: list[int], explained: Explained
) -> tuple[list[Followed], Tensor]:
    """Follow lines in image space; return what each of `layers` makes of them, and the references' logits.

    One pass forward and one back for all layers.
    """
    lines = Lines(references, image.image, segments)
    kept: dict[int, Tensor] = {}
    with torch.enable_grad(), SecantMode(image.trace, lines.following) as mode:
        tensor = lines.points.requires_grad_()
        for index, layer in enumerate(model.layers):
            tensor = mode.current(layer(tensor))
            if index in layers:
                kept[index] = tensor
        logits = mode.current(model.head(tensor))
    multipliers = torch.autograd.grad(logits, list(kept.values()), _seed(logits, image, lines, explained))
    followed = [
        Followed(index, lines, features.detach(), found, image.features[index])
        for (index, features), found in zip(kept.items(), multipliers, strict=True)
    ]
    return followed, lines.by_line(logits.detach())[:, 0]


def follow_layer_path(
    model: Chain, image: Image, features: Tensor, layer: int, segments: int, explained: Explained
) -> Followed:
    """Follow lines from the references' `features` of a layer to the image's, through the tail of the network."""
    end = image.features[layer]
    lines = Lines(features, end[0], segments)
    with torch.enable_grad(), SecantMode(image.trace, lines.following, image.positions[layer + 1]) as mode:
        tensor = leaf = lines.points.requires_grad_()
        for module in model.layers[layer + 1 :]:
            tensor = mode.current(module(tensor))
        logits = mode.current(model.head(tensor))
    (multipliers,) = torch.autograd.grad(logits, leaf, _seed(logits, image, lines, explained))
    return Followed(layer, lines, leaf.detach(), multipliers, end)


def at_once(references: Tensor, elements: int, segments: int, budget: int) -> Iterator[Tensor]:
    """Yield the references, so many at once that all points of `elements` numbers each stay within `budget`."""
    yield from references.split(max(1, budget // (elements * segments)))


def _seed(logits: Tensor, image: Image, lines: Lines, explained: Explained) -> Tensor:
    start = logits.detach()
    end = torch.cat([start, image.logits])[lines.following]
    return output_multipliers(start, end, explained.target, explained.output).contiguous()
