"""explain_layers: SHAP values of every feature of every layer of a chain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from layershap.explain.chain import Chain
from layershap.explain.outputs import Output, choose_targets, output_multipliers, output_values
from layershap.explain.result import LayerExplanation
from layershap.explain.rules import fused
from layershap.explain.secant import SecantMode

Path = Literal["layer", "image"]

REFERENCES_AT_ONCE = 16
LAYER_ELEMENTS = 2_000_000  # of the layer's features in one batch: large ones stay near the caches
IMAGE_ELEMENTS = 15_000_000  # of all layers' features in one batch; what is kept takes two to three times as much


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
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, LayerExplanation]:
    """Return, for each layer, the SHAP value of its features for each image, summed over maps.

    images [N, 3, H, W], references [J, 3, H, W]: float32 or float64, on the model's device. `path`:
    `layer` draws the straight line from a reference's features to the image's in each layer's own space (the paper's
    quantity; Banerjee, Chu 2022); `image` draws one in image space, shared by all layers (conductance; Dhamdhere et
    al. 2018). `segments`: pieces of each path; sums are exact for any number. `target`: class explained (default: 1
    of two classes, the predicted one of more). `layers`: names (default: all). `output`: see outputs.output_values.
    `keep_features`: keep every feature's value, not only their sum over maps. `progress`: called with (done, all).

    The model is used in eval mode and is afterwards as it was. Raises ValueError for arguments that do not fit,
    UnsupportedOperationError for an operation without a rule, InexactSumError where sums do not agree.
    """
    names = _check(model, images, references, segments, layers, path, output)
    with frozen(model), torch.no_grad():
        logits = torch.cat([model(part) for part in images.split(REFERENCES_AT_ONCE)])
        reference_logits = torch.cat([model(part) for part in references.split(REFERENCES_AT_ONCE)])
        targets = choose_targets(logits, target)
        collected = []
        for index, image in enumerate(images):
            task = _Task(model, image, references, int(targets[index]), output, segments, names, keep_features)
            collected.append(_explain_one(task, path))
            if progress:
                progress(index + 1, len(images))
        result = {}
        for name in names:
            parts = [found[name] for found in collected]
            f_images = torch.stack([output_values(row, int(t), output) for row, t in zip(logits, targets, strict=True)])
            f_references = torch.stack([output_values(reference_logits, int(t), output) for t in targets])
            result[name] = _finish(name, parts, f_images, f_references, segments, keep_features)
    return result


@dataclass
class _Task:
    """One image and what to do with it."""

    model: Chain
    image: Tensor
    references: Tensor
    target: int
    output: Output
    segments: int
    names: list[str]
    keep_features: bool


def _explain_one(task: _Task, path: Path) -> dict[str, "_Moments"]:
    """Follow the paths from all references, a few at a time."""
    found = {name: _Moments() for name in task.names}
    if path == "layer" and task.segments > 1:
        for references in task.references.split(REFERENCES_AT_ONCE):
            _layer_path(task, references, found)
        return found
    elements = _elements_of_all_layers(task)
    for references in task.references.split(_paths_at_once(elements, task.segments, IMAGE_ELEMENTS)):
        # with one segment both paths have the same two points in every layer
        _image_path(task, references, found, straight=path == "layer")
    return found


def _elements_of_all_layers(task: _Task) -> int:
    """Return how many numbers all layers put out for one image."""
    tensor, count = task.image[None], 0
    for layer in task.model.layers:
        tensor = layer(tensor)
        count += tensor.numel()
    return count


@dataclass
class _Moments:
    """Sums over the references of one image and layer."""

    heatmaps: list[Tensor] = field(default_factory=list)
    own: Tensor | None = None
    reference: Tensor | None = None
    features: Tensor | None = None

    def add(self, multipliers: Tensor, features: Tensor, paths: "Paths", straight: bool, keep_features: bool) -> None:
        """Take in multipliers and features of all rows, [rows, C, H, W]."""
        if straight:
            # z_b - z_a is (z - z') / K on every segment: only the mean multiplier counts
            mean = paths.by_path(multipliers).mean(1)
            self.own = _plus(self.own, (mean * features[-1]).sum((0, 1)))
            self.reference = _plus(self.reference, (mean * paths.by_path(features)[:, 0]).sum((0, 1)))
        if fused and not keep_features and fused.usable(multipliers, features):
            owner = paths.owner.numpy()
            self.heatmaps += list(fused.heatmaps(multipliers, features, paths.following.numpy(), owner, paths.count))
            return
        values = paths.by_path(multipliers * (features[paths.following] - features)).sum(1)
        self.heatmaps += list(values.sum(1))
        if keep_features:
            self.features = _plus(self.features, values.sum(0))


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    return value if total is None else total + value


class Paths:
    """Straight lines from some references to one image, as rows: the points of each path but its end, then the image.

    points [count * segments + 1, ...]; following, owner [rows]: see secant.py; the path that a row belongs to.
    """

    def __init__(self, references: Tensor, image: Tensor, segments: int):
        self.count, self.segments = len(references), segments
        share = torch.arange(segments, dtype=image.dtype, device=image.device) / segments
        share = share.view(1, -1, *([1] * image.dim()))
        # a + t (b - a): exactly a for t = 0, and constant where a = b
        lines = references[:, None] + share * (image - references)[:, None]
        self.points = torch.cat([lines.flatten(0, 1), image[None]])
        last = self.count * segments
        rows = torch.arange(last + 1)
        ends = rows % segments == segments - 1
        self.following = torch.where(ends, last, rows + 1).clamp(max=last).to(image.device)
        self.owner = (rows // segments).clamp(max=self.count - 1)

    def by_path(self, rows: Tensor) -> Tensor:
        """Return the rows without the image's own as [count, segments, ...]."""
        return rows[:-1].unflatten(0, (self.count, self.segments))


def _image_path(task: _Task, references: Tensor, found: dict[str, _Moments], straight: bool) -> None:
    """All layers from one backward pass over the points of the lines in image space."""
    paths = Paths(references, task.image, task.segments)
    kept = {}
    with torch.enable_grad(), SecantMode(paths.following) as mode:
        tensor = paths.points.requires_grad_()
        for name, layer in zip(task.model.names, task.model.layers, strict=True):
            tensor = mode.current(layer(tensor))
            if name in found:
                kept[name] = tensor
        logits = mode.current(task.model.head(tensor))
    gradients = torch.autograd.grad(logits, list(kept.values()), _seed(logits, paths, task))
    for (name, features), gradient in zip(kept.items(), gradients, strict=True):
        found[name].add(gradient, features.detach(), paths, straight, task.keep_features)


def _layer_path(task: _Task, references: Tensor, found: dict[str, _Moments]) -> None:
    """Each layer with its own lines, through its own tail of the network."""
    own, others = task.image[None], references
    for index, name in enumerate(task.model.names):
        own, others = task.model.layers[index](own), task.model.layers[index](others)
        if name not in found:
            continue
        for part in others.split(_paths_at_once(own.numel(), task.segments, LAYER_ELEMENTS)):
            paths = Paths(part, own[0], task.segments)
            with torch.enable_grad(), SecantMode(paths.following) as mode:
                leaf = paths.points.requires_grad_()
                tensor = leaf
                for layer in task.model.layers[index + 1 :]:
                    tensor = mode.current(layer(tensor))
                logits = mode.current(task.model.head(tensor))
            (gradient,) = torch.autograd.grad(logits, leaf, _seed(logits, paths, task))
            found[name].add(gradient, leaf.detach(), paths, True, task.keep_features)


def _paths_at_once(elements: int, segments: int, budget: int) -> int:
    """Return how many paths to follow in one batch so that rows of `elements` numbers stay within `budget`."""
    return max(1, budget // (elements * segments))


def _seed(logits: Tensor, paths: Paths, task: _Task) -> Tensor:
    """Return the gradient at the logits: the output's multiplier at the row of every segment, 0 at the image's."""
    rows = logits.detach()
    seed = output_multipliers(rows, rows[paths.following], task.target, task.output).clone()
    seed[-1] = 0
    return seed


def _finish(
    name: str,
    parts: list[_Moments],
    f_images: Tensor,
    f_references: Tensor,
    segments: int,
    keep_features: bool,
) -> LayerExplanation:
    """Turn the sums over J references into means, errors and gaps; refuse sums that do not agree."""
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
    if keep_features:
        features = torch.stack([part.features / count for part in parts if part.features is not None])
    return LayerExplanation(heatmap, standard_error, own, reference, total, gap, expected, features, segments)


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
