"""Does f follow the values? Features of one layer are replaced by a reference's, and f is followed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from layershap.chain import Chain
from layershap.explain.outputs import Output, output_values

ROWS = 32  # points of the tail evaluated at once


def replacement_curve(
    model: Chain,
    layer: int,
    features: Tensor,
    references: Tensor,
    ranking: Tensor,
    shares: Sequence[float],
    target: int,
    output: Output = "margin",
) -> Tensor:
    """Return f, mean over references, after the first `share` of the ranking was replaced, for each of `shares`.

    features [1, C, H, W] of an image at the output of `layer` (counted from 0), references [J, C, H, W]; ranking
    [C, H, W]: replaced from the largest value down. Share 0 gives f(x) and share 1 gives mean f(x'), both exactly as
    the tail does. Deletion and insertion as in Petsiuk et al. (2018), in a layer's own space: insertion is this curve
    of the least important features first, read from its end.
    """
    order = ranking.flatten().argsort(descending=True, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    place = place.view_as(ranking)
    masks = torch.stack([place < round(share * len(order)) for share in shares])
    return _replaced(model, layer, features, references, masks, target, output).mean(1)


@torch.no_grad()
def sensitivity_n(
    model: Chain,
    layer: int,
    features: Tensor,
    references: Tensor,
    values: Tensor,
    masks: Tensor,
    target: int,
    output: Output = "margin",
) -> float:
    """Return the correlation of what subsets of features are said to give with what f loses without them.

    values [C, H, W]: the SHAP values, means over the references. masks [M, C, H, W]: the subsets, all of n features;
    1 for values that f follows exactly. NaN where either does not vary. Ancona et al. (2018), with the references'
    features for zero.
    """
    lost = output_values(model.tail(features, layer + 1), target, output) - _replaced(
        model, layer, features, references, masks, target, output
    ).mean(1)
    said = (masks * values).flatten(1).sum(1)
    pair = torch.stack([said, lost]).double()
    if (pair.std(1) == 0).any():
        return float("nan")
    return float(torch.corrcoef(pair)[0, 1])


@torch.no_grad()
def _replaced(
    model: Chain, layer: int, features: Tensor, references: Tensor, masks: Tensor, target: int, output: Output
) -> Tensor:
    """Return f [M, J] of the image's features with those under each mask [M, C, H, W] taken from each reference."""
    found = []
    each = max(1, ROWS // len(references))
    for part in masks.split(each):
        mixed = torch.where(part[:, None], references, features)
        values = output_values(model.tail(mixed.flatten(0, 1), layer + 1), target, output)
        found.append(values.unflatten(0, mixed.shape[:2]))
    return torch.cat(found)
