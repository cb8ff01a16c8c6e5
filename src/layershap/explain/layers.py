"""explain_layers: SHAP values of every feature of every layer of a chain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from layershap.chain import Chain
from layershap.chain.layouts import Layout
from layershap.explain.checks import check_arguments, check_followed, plain_logits
from layershap.explain.explanations import Explanations
from layershap.explain.frozen_copy import frozen_copy
from layershap.explain.full_precision import full_precision
from layershap.explain.levels import Levels
from layershap.explain.outputs import Output, choose_targets
from layershap.explain.paths import Explained, Lines, Point, batches, follow_image_path, follow_layer_path
from layershap.explain.result import LayerExplanation
from layershap.explain.segments import choose_segments
from layershap.explain.sums import ImageSums, Sums

Path = Literal["layer", "image"]

REFERENCES_AT_ONCE = 16
LAYER_ELEMENTS = 2_000_000  # of the layer's features in one batch: large ones stay near the caches
IMAGE_ELEMENTS = 15_000_000  # of all layers' features in one batch; what is kept takes about twice as much
IMAGE_KEPT = 100_000_000  # of what operations take in, in one batch: attention keeps far more than its layers show
LAYER_KEPT = 250_000_000  # the same for points of several lines in a layer's own space
FEWEST_ROWS = 4  # a batch of the image path has no fewer points: single ones leave the cores idle
FEWEST_PIECE = 8  # points of a line in a layer's own space that are followed at once
PILOTS = 4  # references on which the number of segments is chosen


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
    more_references: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Explanations:
    """Return, for each layer, the SHAP value of its features for each image, summed over maps.

    images [N, 3, H, W], references [J, 3, H, W]: float32 or float64, on the model's device. `path`:
    `layer` draws the straight line from a reference's features to the image's in each layer's own space (the paper's
    quantity; Banerjee, Chu 2022); `image` draws one in image space, shared by all layers (conductance; Dhamdhere et
    al. 2018). `segments`: pieces of each path; sums are exact for any number. `target`: class explained (default: 1
    of two classes, the predicted one of more). `layers`: names (default: all). `output`: see outputs.output_values.
    A layer gives maps [N, C, H, W], also with the channels last, or tokens of a grid [N, T, C] (see layouts.py).
    `keep_features`: keep every feature's value, not only their sum over maps. `keep_references`: keep the heatmap
    against each single reference. `tolerance`: double the segments until
    no image's heatmap changes by more than this share of its L2 norm, tried on the first references; each layer has
    its own number on path `layer`, all have one on path `image`; where 256 segments do not reach it, a
    ToleranceNotMetWarning says so. `more_references` [M, 3, H, W]: compared with as well, with one segment, all layers
    in one pass: cheap, and what a map is unsure of is mostly its references (see levels.py). `progress`: called with
    (done, all).

    The model is explained in eval mode and full precision (no autocast, TF32 or bfloat16), as a copy that shares its
    weights: it stays as it was, and several threads may explain with one model. Raises ValueError for arguments and
    layers that do not fit, UnsupportedOperationError for an operation without a rule, InexactSumError where sums do
    not agree.
    """
    found = []
    for one in explain_each(
        model,
        images,
        references,
        target=target,
        path=path,
        segments=segments,
        layers=layers,
        output=output,
        keep_features=keep_features,
        keep_references=keep_references,
        tolerance=tolerance,
        more_references=more_references,
    ):
        found.append(one)
        if progress:
            progress(len(found), len(images))
    joined = {name: LayerExplanation.joined([one[name] for one in found]) for name in found[0]}
    return Explanations(joined, output)


def explain_each(
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
    more_references: Tensor | None = None,
) -> Iterator[Explanations]:
    """Return an iterator over what explain_layers returns, one image after the other, each [1, ...].

    For many images: memory does not grow with their number. Errors as there; those of arguments come at once.
    """
    names = check_arguments(model, images, references, segments, layers, path, output, tolerance, more_references)
    model = frozen_copy(model)
    layer_names = {model.names.index(name): name for name in names}
    follow = partial(_explain_image, model, path=path, target=target, output=output)
    explain = partial(follow, keep_features=keep_features)
    one_segment = dict.fromkeys(layer_names, 1)
    with _engine(images.device):
        references = references.clone()  # those made in inference mode cannot be followed
        more = references[:0] if more_references is None else more_references.clone()
        every = torch.cat([references, more])
        plain = torch.cat([plain_logits(model, part, names) for part in every.split(REFERENCES_AT_ONCE)])
        numbers: dict[int, int] = dict.fromkeys(layer_names, segments)
        changes: dict[int, float] = {}
        if tolerance is not None:
            numbers, changes = choose_segments(
                follow, list(images), references[:PILOTS], layer_names, segments, tolerance, path == "image"
            )
        if max(numbers.values()) == 1:  # one level
            references, more = every, every[:0]

    def each() -> Iterator[Explanations]:
        for number, image in enumerate(images):
            # entered for each image, so that nothing is changed while the caller has its turn
            with _engine(images.device):
                few = explain(image, references, numbers)
                found = Levels(few)
                if len(more):
                    with_one = explain(image, references, one_segment)
                    found = Levels(few, with_one, explain(image, more, one_segment))
                check_followed(few.logits, plain_logits(model, image[None], names), f"image {number}")
                check_followed(found.reference_logits, plain, "the references")
                result = {
                    name: found.explanation(index, name, output, numbers[index], changes.get(index), keep_references)
                    for index, name in layer_names.items()
                }
            yield Explanations(result, output)

    return each()


@contextmanager
def _engine(device: torch.device) -> Iterator[None]:
    """Where a model is followed: without gradients but those of the engine, and in full precision."""
    with torch.inference_mode(False), torch.no_grad(), full_precision(device):
        yield


def _explain_image(
    model: Chain,
    image: Tensor,
    references: Tensor,
    segments: Mapping[int, int],
    *,
    path: Path,
    target: int | None,
    output: Output,
    keep_features: bool = False,
) -> ImageSums:
    """Explain the layers that are the keys of `segments`."""
    image = image.clone()
    end = Point.of(model, image)
    explained = Explained(int(choose_targets(end.logits, target)), output)
    size = image.shape[-2:]
    sums = {index: Sums(path == "layer", keep_features, Layout.of(end.features[index], *size)) for index in segments}
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
        part.add_nothing(same, end.features[index])
    return ImageSums(sums, explained.target, end.logits, logits)


def _image_path(
    model: Chain,
    image: Tensor,
    point: Point,
    references: Tensor,
    segments: int,
    sums: Mapping[int, Sums],
    explained: Explained,
) -> Tensor:
    """Fill `sums` from lines in image space; return the references' logits."""
    logits = []
    take = {index: part.add for index, part in sums.items()}
    kept = max(1, point.trace.elements())
    rows = max(FEWEST_ROWS, min(IMAGE_ELEMENTS // point.elements(), IMAGE_KEPT // kept))
    if segments > rows:  # pieces: what the first point of one takes in is kept beside the next
        rows = max(1, min(rows, IMAGE_KEPT // kept - 1))
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
    segments: Mapping[int, int],
    sums: Mapping[int, Sums],
    explained: Explained,
) -> Tensor:
    """Fill `sums` from lines in each layer's own space; return the references' logits."""
    logits = []
    for features in references.split(REFERENCES_AT_ONCE):
        for index, layer in enumerate(model.layers):
            features = layer(features)
            if index not in sums:
                continue
            kept = max(1, point.trace.elements(point.positions[index + 1]))
            rows = max(1, min(LAYER_ELEMENTS // features[0].numel(), LAYER_KEPT // kept))
            # less one: what the first point of a piece takes in is kept beside
            piece = max(1, min(FEWEST_PIECE, IMAGE_KEPT // kept - 1))
            for part, pieces in batches(features, segments[index], rows, piece):
                end = point
                for first, last in pieces:
                    lines = Lines(part, point.features[index][0], segments[index], first, last)
                    end, found = follow_layer_path(model, end, lines, index, explained)
                    sums[index].add(found)
        logits.append(model.head(features))
    return torch.cat(logits)
