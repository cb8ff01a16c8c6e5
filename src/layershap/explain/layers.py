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
from layershap.explain.secant import SecantMode

Path = Literal["layer", "image"]

ELEMENTS_AT_ONCE = 1_000_000


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
        logits = model(images)
        reference_logits = model(references)
        targets = choose_targets(logits, target)
        collected = []
        for index, image in enumerate(images):
            task = _Task(model, image, references, int(targets[index]), output, segments, names, keep_features)
            collected.append(_layer_path(task) if path == "layer" and segments > 1 else _image_path(task, path))
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


@dataclass
class _Moments:
    """Running sums over the references of one image and layer."""

    heatmaps: list[Tensor] = field(default_factory=list)
    own: Tensor | None = None
    reference: Tensor | None = None
    features: Tensor | None = None

    def add(self, multipliers: Tensor, points: Tensor, straight: bool, keep_features: bool) -> None:
        """Take in multipliers [paths, segments, C, H, W] and points [paths, segments + 1, C, H, W]."""
        if straight:
            # z_{k+1} - z_k is (z - z') / K, whatever k: only the mean multiplier counts
            mean = multipliers.mean(1)
            own = (mean * points[:, -1]).sum(1)
            reference = (mean * points[:, 0]).sum(1)
            values = mean * (points[:, -1] - points[:, 0])
            self.own = _plus(self.own, own.sum(0))
            self.reference = _plus(self.reference, reference.sum(0))
        else:
            values = (multipliers * (points[:, 1:] - points[:, :-1])).sum(1)
        self.heatmaps += list(values.sum(1))
        if keep_features:
            self.features = _plus(self.features, values.sum(0))


def _plus(total: Tensor | None, value: Tensor) -> Tensor:
    return value if total is None else total + value


def _image_path(task: _Task, path: Path) -> dict[str, _Moments]:
    """All layers from one backward pass over the points of the line in image space."""
    found = {name: _Moments() for name in task.names}
    # one segment: both paths have the same two points in every layer
    straight = path == "layer"
    for references in task.references.split(_paths_at_once(task, task.image)):
        points = _line(references, task.image, task.segments)
        mode = SecantMode(task.segments + 1)
        with torch.enable_grad(), mode:
            tensor = points.flatten(0, 1).requires_grad_()
            kept = {}
            for name, layer in zip(task.model.names, task.model.layers, strict=True):
                tensor = mode.current(layer(tensor))
                if name in found:
                    kept[name] = tensor
            logits = mode.current(task.model.head(tensor))
        gradients = torch.autograd.grad(logits, list(kept.values()), _seed(logits, task))
        for (name, features), gradient in zip(kept.items(), gradients, strict=True):
            _add(found[name], gradient, features.detach(), task, straight)
    return found


def _layer_path(task: _Task) -> dict[str, _Moments]:
    """Each layer with its own line, through its own tail of the network."""
    found = {name: _Moments() for name in task.names}
    own = task.image[None]
    others = task.references
    for index, name in enumerate(task.model.names):
        own = task.model.layers[index](own)
        others = task.model.layers[index](others)
        if name not in found:
            continue
        for part in others.split(_paths_at_once(task, own)):
            points = _line(part, own[0], task.segments)
            with torch.enable_grad(), SecantMode(task.segments + 1) as mode:
                leaf = points.flatten(0, 1).requires_grad_()
                logits = mode.current(_tail(task.model, mode, leaf, index + 1))
            (gradient,) = torch.autograd.grad(logits, leaf, _seed(logits, task))
            _add(found[name], gradient, leaf.detach(), task, straight=True)
    return found


def _paths_at_once(task: _Task, features: Tensor) -> int:
    """Return how many paths to follow in one batch: few where features are large, so that they stay in the cache."""
    return max(1, ELEMENTS_AT_ONCE // (features.numel() * (task.segments + 1)))


def _tail(model: Chain, mode: SecantMode, tensor: Tensor, start: int) -> Tensor:
    for layer in model.layers[start:]:
        tensor = mode.current(layer(tensor))
    return model.head(tensor)


def _line(references: Tensor, image: Tensor, segments: int) -> Tensor:
    """Return the points [paths, segments + 1, ...] from each reference to the image; both ends are exact."""
    points = [references]
    for k in range(1, segments):
        points.append(torch.lerp(references, image[None], k / segments))
    points.append(image[None].expand_as(references))
    return torch.stack(points, 1)


def _seed(logits: Tensor, task: _Task) -> Tensor:
    """Return the gradient at the logits: the output's multiplier at every segment's row, 0 at the last points."""
    rows = logits.detach().view(-1, task.segments + 1, logits.shape[1])
    seed = torch.zeros_like(rows)
    seed[:, :-1] = output_multipliers(rows, task.target, task.output)
    return seed.flatten(0, 1)


def _add(moments: _Moments, gradient: Tensor, features: Tensor, task: _Task, straight: bool) -> None:
    shape = (-1, task.segments + 1, *features.shape[1:])
    moments.add(gradient.view(shape)[:, :-1], features.view(shape), straight, task.keep_features)


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
