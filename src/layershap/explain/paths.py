"""Straight lines from references to one image, followed through a chain: features and multipliers of every segment."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from layershap.chain import Chain
from layershap.explain.outputs import Output, output_multipliers
from layershap.explain.rows import Tap
from layershap.explain.secant import SecantMode, Trace, UnsupportedOperationError


@dataclass(frozen=True)
class Explained:
    """What is explained: output of class `target`, as outputs.output_values defines it."""

    target: int
    output: Output


@dataclass(frozen=True)
class Point:
    """What a chain makes of one image, the point in which lines end.

    features: of each layer, [1, C, H, W]; trace: what every nonlinear operation takes in; positions: number of these
    operations before each layer, and before the head; logits [1, classes].
    """

    features: list[Tensor]
    trace: Trace
    positions: list[int]
    logits: Tensor

    @classmethod
    def of(cls, model: Chain, image: Tensor) -> "Point":
        """Follow `image` [3, H, W] through the chain."""
        trace = Trace()
        features: list[Tensor] = []
        positions: list[int] = []
        with torch.enable_grad(), SecantMode(trace) as mode:
            tensor = image[None].clone().requires_grad_()
            for layer in model.layers:
                positions.append(len(trace.values))
                tensor = mode.current(layer(tensor))
                features.append(tensor)
            positions.append(len(trace.values))
            logits = mode.current(model.head(tensor))
        return cls([tensor.detach() for tensor in features], trace, positions, logits.detach())

    def elements(self) -> int:
        """Return how many numbers all layers put out."""
        return sum(features.numel() for features in self.features)


class Lines:
    """The points of straight lines from `references` [J, ...] to `end` [...], cut into `segments`.

    Of each line the points from number `first` up to, not including, `last` (default: its end): points [rows, ...];
    following, owner [rows]: see secant.py; the line that a point belongs to.
    """

    def __init__(self, references: Tensor, end: Tensor, segments: int, first: int = 0, last: int | None = None):
        self.last = segments if last is None else last
        self.references, self.end = references, end
        self.count, self.segments, self.first = len(references), segments, first
        self.each = self.last - first
        share = torch.arange(first, self.last, dtype=end.dtype, device=end.device) / segments
        share = share.view(1, -1, *([1] * end.dim()))
        # a + t (b - a): exactly a for t = 0, and constant where a = b
        self.points = (references[:, None] + share * (end - references)[:, None]).flatten(0, 1)
        rows = torch.arange(self.count * self.each, device=end.device)
        self.following = torch.where(rows % self.each == self.each - 1, len(rows), rows + 1)
        self.owner = rows // self.each

    def by_line(self, rows: Tensor) -> Tensor:
        """Return rows as [lines, points of a line, ...]."""
        return rows.unflatten(0, (self.count, self.each))


@dataclass(frozen=True)
class Followed:
    """A layer on some lines: features, multipliers [rows, C, H, W]; `end` [1, C, H, W]: where the lines end.

    ends: where the layer's course is straight, the features where the whole lines begin [lines, C, H, W] and end [1, C,
    H, W]; else None.
    """

    layer: int
    lines: Lines
    features: Tensor
    multipliers: Tensor
    end: Tensor
    ends: tuple[Tensor, Tensor] | None = None

    @classmethod
    def in_image_space(cls, layer: int, lines: Lines, features: Tensor, multipliers: Tensor, end: Tensor) -> "Followed":
        """Return a layer on lines in image space: its own course is straight where these have one segment."""
        return cls(layer, lines, features, multipliers, end, (features, end) if lines.segments == 1 else None)


def follow_image_path(
    model: Chain, end: Point, lines: Lines, explained: Explained, take: Mapping[int, Callable[[Followed], None]]
) -> tuple[Point, Tensor]:
    """Follow lines in image space to `end`; give what a layer makes of them to its function in `take`.

    One pass forward and one back for all layers; a layer's multipliers are not kept once they are taken. Returns the
    first point of the first line and the logits at the first point of every line.
    """
    first = Trace(moves=end.trace.moves) if lines.first else None
    outputs: list[Tensor] = []

    def take_output(tensor: Tensor) -> Tensor:
        outputs.append(tensor)
        return tensor

    with torch.enable_grad(), SecantMode(end.trace, lines.following, first=first) as mode:
        logits = _through(model, 0, lines.points.requires_grad_(), mode, take_output)
    start = [output.detach()[:1].clone() for output in outputs] if first else []
    lowest, *others = sorted(take)
    for index in others:
        outputs[index].register_hook(_taker(take[index], index, lines, outputs[index].detach(), end.features[index]))
    leaf, found = outputs[lowest], logits.detach()
    outputs.clear()  # memory is free for the layers below
    multipliers = _multipliers(logits, leaf, _seed(found, end, lines, explained))
    take[lowest](Followed.in_image_space(lowest, lines, leaf.detach(), multipliers, end.features[lowest]))
    begin = Point(start, first, end.positions, found[:1]) if first else end
    return begin, lines.by_line(found)[:, 0]


def _through(model: Chain, start: int, points: Tensor, mode: SecantMode, take: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the logits of points [rows, ...] that enter layer `start`.

    Every layer's output [rows, ...] goes to `take`, and on as it comes back.
    """

    def through(tensor: Tensor, taken: Callable[[Tensor], Tensor]) -> Tensor:
        for layer in model.layers[start:]:
            tensor = taken(mode.current(layer(tensor)))
        return mode.current(model.head(tensor))

    if not mode.trace.moves:
        return through(points, take)

    def taken(tensor: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():  # it is no operation of the network's
            return Tap.apply(tensor, take)

    return torch.vmap(lambda point: through(point[None], taken)[0])(points)


def _taker(
    take: Callable[[Followed], None], index: int, lines: Lines, features: Tensor, end: Tensor
) -> Callable[[Tensor], None]:
    held = [features]  # emptied at use, so that memory is free for the layers below

    def hook(multipliers: Tensor) -> None:
        take(Followed.in_image_space(index, lines, held.pop(), multipliers, end))

    return hook


def follow_layer_path(
    model: Chain, end: Point, lines: Lines, layer: int, explained: Explained
) -> tuple[Point, Followed]:
    """Follow lines in the space of a layer's features to those of `end`, through the tail of the network.

    Returns the first point of the first line, and the layer on the lines.
    """
    position = end.positions[layer + 1]
    first = Trace(end.trace.values[:position], end.trace.moves) if lines.first else None
    leaf = lines.points.requires_grad_()
    with torch.enable_grad(), SecantMode(end.trace, lines.following, position, first) as mode:
        logits = _through(model, layer + 1, leaf, mode, lambda tensor: tensor)
    found, points = logits.detach(), leaf.detach()
    multipliers = _multipliers(logits, leaf, _seed(found, end, lines, explained))
    followed = Followed(layer, lines, points, multipliers, end.features[layer], (lines.references, lines.end[None]))
    if first is None:
        return end, followed
    features = [*end.features[:layer], points[:1].clone(), *end.features[layer + 1 :]]
    return Point(features, first, end.positions, found[:1]), followed


def batches(
    references: Tensor, segments: int, rows: int, piece: int = 1
) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
    """Yield some references and the pieces (first, last) of their lines to follow at once, about `rows` points.

    Where a line has more points than `rows`, it is followed alone and in pieces, from its end to its beginning; a piece
    has no fewer than `piece` points.
    """
    longest = min(max(rows, piece), segments)
    for part in references.split(max(1, rows // segments)):
        edges = [*range(segments, 0, -longest), 0]
        yield part, [(first, last) for last, first in pairwise(edges)]


def _multipliers(logits: Tensor, leaf: Tensor, seed: Tensor) -> Tensor:
    try:
        return torch.autograd.grad(logits, leaf, seed)[0]
    except RuntimeError as error:
        if "checkpoint" not in str(error).lower():
            raise
        raise UnsupportedOperationError(
            "a module computes a part of itself again to save memory (torch.utils.checkpoint), where no exact rule can "
            "follow: turn that off in it, as by set_grad_checkpointing(False) or memory_efficient=False"
        ) from error


def _seed(logits: Tensor, end: Point, lines: Lines, explained: Explained) -> Tensor:
    after = torch.cat([logits, end.logits])[lines.following]
    return output_multipliers(logits, after, explained.target, explained.output).contiguous()
