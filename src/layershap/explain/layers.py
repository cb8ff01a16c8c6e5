"""explain_layers: SHAP values of every feature of every layer of a chain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from layershap.chain import Chain
from layershap.explain.outputs import Output, choose_targets, output_values
from layershap.explain.paths import Explained, Followed, Lines, Point, batches, follow_image_path, follow_layer_path
from layershap.explain.result import LayerExplanation
from layershap.explain.rules import fused, next_point

Path = Literal["layer", "image"]

REFERENCES_AT_ONCE = 16
LAYER_ELEMENTS = 2_000_000  # of the layer's features in one batch: large ones stay near the caches
IMAGE_ELEMENTS = 15_000_000  # of all layers' features in one batch; what is kept takes about twice as much
FEWEST_ROWS = 4  # a batch of the image path has no fewer points: single ones leave the cores idle
PILOTS = 4  # references on which the number of segments is chosen
MOST_SEGMENTS = 256  # where the choice of segments ends


class InexactSumError(ArithmeticError):
    """A layer's values do not add up to f(x) - E f: the result is not shown."""


def explain_layers(
    model: Chain,
    images: Tensor,
    references: Tensor,
    *,
    target: int | None = None,
    path: Path = "layer",
    segments: int = 4,
    layers: Sequence[str] | None = None,
    output: Output = "margin",
    keep_features: bool = False,
    keep_references: bool = False,
    tolerance: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, LayerExplanation]:
    """Return, for each layer, the SHAP value of its features for each image, summed over maps.

    images [N, 3, H, W], references [J, 3, H, W]: float32 or float64, on the model's device. `path`:
    `layer` draws the straight line from a reference's features to the image's in each layer's own space (the paper's
    quantity; Banerjee, Chu 2022); `image` draws one in image space, shared by all layers (conductance; Dhamdhere et
    al. 2018). `segments`: pieces of each path; sums are exact for any number. `target`: class explained (default: 1
    of two classes, the predicted one of more). `layers`: names (default: all). `output`: see outputs.output_values.
    `keep_features`: keep every feature's value, not only their sum over maps. `keep_references`: keep the heatmap
    against each single reference. `tolerance`: double the segments until
    no image's heatmap changes by more than this share of its L2 norm, tried on the first references; each layer has
    its own number on path `layer`, all have one on path `image`. `progress`: called with (done, all).

    The model is used in eval mode and is afterwards as it was. Raises ValueError for arguments that do not fit,
    UnsupportedOperationError for an operation without a rule, InexactSumError where sums do not agree.
    """
    names = _check(model, images, references, segments, layers, path, output, tolerance)
    indices = [model.names.index(name) for name in names]
    with frozen(model), torch.no_grad():
        plain, plain_references = (
            torch.cat([model(part) for part in tensor.split(REFERENCES_AT_ONCE)]) for tensor in (images, references)
        )
        explain = partial(_explain_image, model, path=path, target=target, output=output)
        numbers, changes = dict.fromkeys(indices, segments), dict.fromkeys(indices)
        if tolerance is not None:
            numbers, changes = _choose_segments(explain, images, references[:PILOTS], numbers, path, tolerance)
        every = []
        for number, image in enumerate(images, 1):
            every.append(explain(image, references, numbers, keep_features=keep_features))
            _check_followed(every[-1].logits, plain[number - 1 : number], f"image {number - 1}")
            _check_followed(every[-1].reference_logits, plain_references, "the references")
            if progress:
                progress(number, len(images))
    return {
        name: _finish(
            name, [one.sums[index] for one in every], every, output, numbers[index], changes[index], keep_references
        )
        for name, index in zip(names, indices, strict=True)
    }


@dataclass(frozen=True)
class _Explained:
    """One image's sums by layer, its class, its logits [1, classes] and those of its references [J, classes]."""

    sums: "dict[int, _Sums]"
    target: int
    logits: Tensor
    reference_logits: Tensor


def _explain_image(
    model: Chain,
    image: Tensor,
    references: Tensor,
    segments: dict[int, int],
    *,
    path: Path,
    target: int | None,
    output: Output,
    keep_features: bool = False,
) -> _Explained:
    """Explain the layers that are the keys of `segments`."""
    end = Point.of(model, image)
    explained = Explained(int(choose_targets(end.logits, target)), output)
    sums = {index: _Sums(straight=path == "layer", keep_features=keep_features) for index in segments}
    # a line without length contributes exactly nothing; batches of another size would round otherwise
    same = (references == image).flatten(1).all(1)
    logits = end.logits.repeat(len(references), 1)
    if not same.all():
        others = references[~same]
        # with one segment the lines in a layer's own space and in image space have the same two points
        shared = {index: sums[index] for index, number in segments.items() if path == "image" or number == 1}
        single = {index: sums[index] for index in segments if index not in shared}
        if shared:
            number = max(segments[index] for index in shared)
            logits[~same] = _image_path(model, image, end, others, number, shared, explained)
        if single:
            logits[~same] = _layer_path(model, end, others, segments, single, explained)
    for index, part in sums.items():
        part.add_nothing(same, end.features[index][0])
    return _Explained(sums, explained.target, end.logits, logits)


def _choose_segments(
    explain: Callable[..., _Explained],
    images: Tensor,
    references: Tensor,
    segments: dict[int, int],
    path: Path,
    tolerance: float,
) -> tuple[dict[int, int], dict[int, Any]]:
    """Return for each layer the segments at which its heatmaps change by `tolerance` or less, and the change."""
    chosen, changes = dict(segments), dict[int, Any].fromkeys(segments, torch.inf)
    before: dict[int, Tensor] = {}
    left = dict(segments)
    while left:
        found = [explain(image, references, left).sums for image in images]
        maps = {index: torch.stack([torch.stack(sums[index].heatmaps).mean(0) for sums in found]) for index in left}
        for index, map_ in maps.items():
            if before:
                norm = map_.flatten(1).norm(dim=1).clamp(min=torch.finfo(map_.dtype).tiny)
                changes[index] = float(((map_ - before[index]).flatten(1).norm(dim=1) / norm).max())
            chosen[index] = left[index]
        before = maps
        wrong = [index for index in left if changes[index] > tolerance]
        if path == "image" and wrong:
            wrong = list(left)
        left = {index: left[index] * 2 for index in wrong if left[index] * 2 <= MOST_SEGMENTS}
    return chosen, changes


@dataclass
class _Sums:
    """Sums over the references of one image and layer."""

    straight: bool
    keep_features: bool
    heatmaps: list[Tensor] = field(default_factory=list)
    own: Tensor | None = None
    reference: Tensor | None = None
    features: Tensor | None = None

    def add_nothing(self, same: Tensor, features: Tensor) -> None:
        """Count the references that are the image itself, where `same` [J]; `features` [C, H, W]."""
        nothing = torch.zeros_like(features)
        others = iter(self.heatmaps)
        self.heatmaps = [nothing[0].clone() if equal else next(others) for equal in same.tolist()]
        if self.straight:
            self.own, self.reference = _plus(self.own, nothing[0]), _plus(self.reference, nothing[0])
        if self.keep_features:
            self.features = _plus(self.features, nothing)

    def add(self, found: Followed) -> None:
        """Take in what a layer made of some lines, or of a piece of one, which comes after the piece behind it."""
        lines, multipliers = found.lines, found.multipliers
        if self.straight:
            # z_b - z_a is (z - z') / K on every segment: only the mean multiplier counts
            mean = lines.by_line(multipliers).mean(1)
            self.own = _plus(self.own, (mean * found.end).sum((0, 1)))
            self.reference = _plus(self.reference, (mean * lines.by_line(found.features)[:, 0]).sum((0, 1)))
        if fused and not self.keep_features and fused.usable(multipliers, found.features):
            tables = lines.following.numpy(), lines.owner.numpy(), lines.count
            self._add_heatmaps(lines, fused.heatmaps(multipliers, found.features, found.end, *tables))
            return
        step = next_point(found.features, found.end, lines.following) - found.features
        values = lines.by_line(multipliers * step).sum(1)
        self._add_heatmaps(lines, values.sum(1))
        if self.keep_features:
            self.features = _plus(self.features, values.sum(0))

    def _add_heatmaps(self, lines: Lines, values: Tensor) -> None:
        if lines.last == lines.segments:
            self.heatmaps += list(values)
        else:
            self.heatmaps[-1] = self.heatmaps[-1] + values[0]


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    return value if total is None else total + value


def _image_path(
    model: Chain,
    image: Tensor,
    point: Point,
    references: Tensor,
    segments: int,
    sums: dict[int, _Sums],
    explained: Explained,
) -> Tensor:
    """Fill `sums` from lines in image space; return the references' logits."""
    logits = []
    take = {index: part.add for index, part in sums.items()}
    rows = max(FEWEST_ROWS, IMAGE_ELEMENTS // point.elements())
    for part, pieces in batches(references, segments, rows):
        end = point
        for first, last in pieces:
            lines = Lines(part, image, segments, first, last)
            end, found = follow_image_path(model, end, lines, explained, take)
        logits.append(found)
    return torch.cat(logits)


def _layer_path(
    model: Chain,
    point: Point,
    references: Tensor,
    segments: dict[int, int],
    sums: dict[int, _Sums],
    explained: Explained,
) -> Tensor:
    """Fill `sums` from lines in each layer's own space; return the references' logits."""
    logits = []
    for features in references.split(REFERENCES_AT_ONCE):
        for index, layer in enumerate(model.layers):
            features = layer(features)
            if index in sums:
                rows = LAYER_ELEMENTS // features[0].numel()
                for part in features.split(max(1, rows // segments[index])):
                    sums[index].add(follow_layer_path(model, point, part, index, segments[index], explained))
        logits.append(model.head(features))
    return torch.cat(logits)


def _finish(
    name: str,
    parts: list[_Sums],
    every: list[_Explained],
    output: Output,
    segments: int,
    change: float | None,
    keep_references: bool,
) -> LayerExplanation:
    """Turn the sums over J references into means, errors and gaps; refuse sums that do not agree."""
    f_images = torch.stack([output_values(one.logits[0], one.target, output) for one in every])
    f_references = torch.stack([output_values(one.reference_logits, one.target, output) for one in every])
    single = torch.stack([torch.stack(part.heatmaps) for part in parts])
    count = single.shape[1]
    heatmap = single.mean(1)
    deviation = ((single - heatmap[:, None]) ** 2).sum(1)
    standard_error = (deviation / (count * (count - 1))).sqrt() if count > 1 else torch.full_like(heatmap, torch.nan)
    total = heatmap.sum((1, 2))
    expected = f_references.mean(1)
    gap = total - (f_images - expected)
    _check_gap(name, gap, f_images, f_references)
    own = reference = features = None
    if parts[0].own is not None:
        own = torch.stack([part.own / count for part in parts if part.own is not None])
        reference = torch.stack([part.reference / count for part in parts if part.reference is not None])
    if parts[0].keep_features:
        features = torch.stack([part.features / count for part in parts if part.features is not None])
    by_reference = single if keep_references else None
    return LayerExplanation(
        heatmap, standard_error, own, reference, total, gap, expected, features, segments, change, by_reference
    )


def _check_followed(found: Tensor, expected: Tensor, what: str) -> None:
    """Raise where logits [N, classes], met on a line, are not the model's own."""
    tolerance = 1e-3 if found.dtype == torch.float32 else 1e-8
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        raise InexactSumError(
            f"the model gives {expected.tolist()} for {what}, but {found.tolist()} when these are followed: "
            f"one of its layers does not treat every image of a batch alike"
        )


def _check_gap(name: str, gap: Tensor, f_images: Tensor, f_references: Tensor) -> None:
    """Raise where the sum is off by more than rounding: relative to the mean |f(x) - f(x'_j)| and to |f|."""
    scale = (f_images[:, None] - f_references).abs().mean(1) + (f_images.abs() + f_references.abs().mean(1)) * 0.1
    tolerance = 1e-3 if gap.dtype == torch.float32 else 1e-8
    wrong = ~(gap.abs() <= tolerance * scale)
    if wrong.any():
        index = int(wrong.nonzero()[0])
        raise InexactSumError(
            f"layer {name}, image {index}: the values sum to {float(gap[index]):.3g} more than f(x) - E f "
            f"({float(scale[index]):.3g} in size); use float64 or report the layer's operations"
        )


def _check(
    model: Chain,
    images: Tensor,
    references: Tensor,
    segments: int,
    layers: Sequence[str] | None,
    path: str,
    output: str,
    tolerance: float | None,
) -> list[str]:
    if not isinstance(model, Chain):
        raise ValueError(f"model must be a Chain(layers, head), not {type(model).__name__}")
    for name, tensor in (("images", images), ("references", references)):
        if tensor.dim() != 4 or not len(tensor):
            raise ValueError(f"{name} must be [N, channels, height, width], not {tuple(tensor.shape)}")
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} must be finite floating-point numbers ({tensor.dtype})")
    if images.shape[1:] != references.shape[1:] or images.dtype != references.dtype:
        raise ValueError(
            f"images and references differ: {tuple(images.shape[1:])} {images.dtype} and "
            f"{tuple(references.shape[1:])} {references.dtype}"
        )
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


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and parameters without gradients inside; everything as it was afterwards."""
    training = {module: module.training for module in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        model.eval()
        model.requires_grad_(False)
        yield
    finally:
        for module, flag in training.items():
            module.training = flag
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
