"""How many segments each layer's lines need for a given change of its heatmaps."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from layershap.explain.sums import ImageSums

MOST_SEGMENTS = 256  # where doubling ends; one doubling is always tried


class ToleranceNotMetWarning(UserWarning):
    """Some heatmaps change by more than `tolerance` at the largest number of segments tried."""


def choose_segments(
    explain: Callable[..., ImageSums],
    images: Sequence[Tensor],
    references: Tensor,
    names: dict[int, str],
    segments: int,
    tolerance: float,
    together: bool,
) -> tuple[dict[int, int], dict[int, float]]:
    """Return for each layer the segments at which its heatmaps change by `tolerance` or less, and the change.

    `explain`(image, references, {layer: segments}) gives an image's sums. `names`: of the layers, by number.
    `together`: all layers have one number of segments. Doubling starts at `segments` and ends at MOST_SEGMENTS, or at
    2 `segments` where that is more; layers that still change by more are named in a ToleranceNotMetWarning.
    """
    most = max(MOST_SEGMENTS, 2 * segments)
    left = dict.fromkeys(names, segments)
    chosen, changes = dict(left), dict[int, Any].fromkeys(left, torch.inf)
    before: dict[int, Tensor] = {}
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
        if together and wrong:
            wrong = list(left)
        left = {index: left[index] * 2 for index in wrong if left[index] * 2 <= most}
    missed = [index for index in names if changes[index] > tolerance]
    if missed:
        warnings.warn(
            ", ".join(f"{names[index]} changes by {changes[index]:.2g}" for index in missed)
            + f" of its heatmap from {chosen[missed[0]] // 2} to {chosen[missed[0]]} segments, where trying ends: "
            f"tolerance {tolerance:g} is not met there; the sums are exact all the same",
            ToleranceNotMetWarning,
            stacklevel=3,
        )
    return chosen, changes
