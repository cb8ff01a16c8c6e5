"""How good the explanations of each layer are: sparse, alike from layer to layer, faithful, and made by the weights."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from layershap.explain import Chain, LayerExplanation, explain_layers
from layershap.explain.faithfulness import replacement_curve, sensitivity_n
from layershap.explain.frozen_copy import frozen_copy
from layershap.explain.outputs import Output, choose_targets, output_values
from layershap.study.edges import correlation

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of a layer's features replaced
SUBSETS = 16  # of a tenth of the features, for sensitivity-n
SUBSET = 0.1
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the feature layers, from the last down, beside the head

Row = tuple[str, str, float]  # layer, measure, value


def quality(
    model: Chain,
    randomised: Mapping[str, Chain],
    image: Tensor,
    references: Tensor,
    generator: torch.Generator,
    output: Output,
    **options: Any,
) -> Iterator[Row]:
    """Yield the numbers of one image [1, 3, H, W] at every layer; `options`: as of explain_layers.

    `randomised`: by name, copies of the model whose upper part has other weights (see randomise).
    """
    with torch.no_grad():
        target = int(choose_targets(frozen_copy(model)(image), None))
    options = {"target": target, "output": output, **options}
    explained = explain_layers(model, image, references, keep_features=True, **options)
    names = list(explained)
    for name, above in zip(names, [*names[1:], None], strict=True):
        heatmap = explained[name].heatmap[0]
        yield name, "agreeing share", agreeing_share(heatmap)
        yield name, "gini", gini(heatmap)
        if above is not None:
            yield name, "agreement", agreement(heatmap, explained[above].heatmap[0])
    yield from _faithfulness(model, explained, image, references, generator, target, output)
    for depth, other in randomised.items():
        for name, found in explain_layers(other, image, references, **options).items():
            pair = explained[name].heatmap[0].abs().numpy(), found.heatmap[0].abs().numpy()
            yield name, f"likeness {depth}", correlation(*pair)


def agreeing_share(heatmap: Tensor) -> float:
    """Return the part of all |values| that have the sign of their sum: 1 where nothing cancels, 0.5 where nearly all
    does; NaN for a map of zeros."""
    above, below = float(heatmap.clamp(min=0).sum()), -float(heatmap.clamp(max=0).sum())
    return max(above, below) / (above + below) if above + below > 0 else float("nan")


def gini(heatmap: Tensor) -> float:
    """Return Gini's coefficient of |values|: 0 where all are alike, near 1 where one pixel holds all (Hurley, Rickard
    2009, as a measure of sparseness); NaN for a map of zeros."""
    sizes = heatmap.abs().double().flatten().sort().values.numpy()
    if sizes.sum() == 0:
        return float("nan")
    place = np.arange(1, len(sizes) + 1)
    return float(((2 * place - len(sizes) - 1) * sizes).sum() / (len(sizes) * sizes.sum()))


def agreement(one: Tensor, other: Tensor) -> float:
    """Return the correlation of two maps [H, W] at the lower of their resolutions."""
    shape = (min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1]))
    return correlation(*(F.adaptive_avg_pool2d(map_[None].double(), shape).numpy() for map_ in (one, other)))


def randomise(model: Chain, depth: float, generator: torch.Generator) -> Chain:
    """Return a copy whose head and last `depth` of feature layers have their weights shuffled, tensor by tensor.

    The cascade of Adebayo et al. (2018); shuffled, not drawn, so that the size of the signal stays about the same.
    """
    copy = deepcopy(model)
    count = round(depth * len(copy.layers))
    with torch.no_grad():
        for module in [copy.head, *copy.layers[len(copy.layers) - count :]]:
            for parameter in module.parameters():
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy


def _faithfulness(
    model: Chain,
    explained: Mapping[str, LayerExplanation],
    image: Tensor,
    references: Tensor,
    generator: torch.Generator,
    target: int,
    output: Output,
) -> Iterator[Row]:
    model = frozen_copy(model)
    with torch.no_grad():
        features, others = image, references
        logits = model(torch.cat([image, references]))
        values = output_values(logits, target, output)
        sign = 1.0 if values[0] >= values[1:].mean() else -1.0
        for index, (name, layer) in enumerate(zip(model.names, model.layers, strict=True)):
            features, others = layer(features), layer(others)
            value = explained[name].features
            assert value is not None
            value = value[0]
            order = torch.randperm(value.numel(), generator=generator).view_as(value).float()
            rankings = {"deletion": sign * value, "least first": -sign * value, "random": order}
            curves = {
                kind: sign
                * replacement_curve(model, index, features, others, ranking, SHARES, target, output).double().numpy()
                for kind, ranking in rankings.items()
            }
            yield name, "deletion gain", area(curves["random"] - curves["deletion"], SHARES)
            yield name, "insertion gain", area(curves["least first"] - curves["random"], SHARES)
            for kind, curve in curves.items():
                for share, height in zip(SHARES, curve, strict=True):
                    yield name, f"{kind} {share:g}", float(height)
            masks = random_subsets(value, generator)
            yield name, "sensitivity-n", sensitivity_n(model, index, features, others, value, masks, target, output)


def random_subsets(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return masks [SUBSETS, *values.shape], each of exactly the share SUBSET of the features."""
    count = round(SUBSET * values.numel())
    masks = torch.zeros((SUBSETS, values.numel()), dtype=torch.bool)
    for mask in masks:
        mask[torch.randperm(values.numel(), generator=generator)[:count]] = True
    return masks.view(SUBSETS, *values.shape)


def area(heights: np.ndarray, places: Sequence[float]) -> float:
    """Return the area under a curve, by the trapezoidal rule."""
    return float(np.trapezoid(heights, places))
