"""What an image is compared with: training images, their mean, or the image itself without detail."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLUR = 1 / 12  # standard deviation of the blur, of the image's height


def choose_references(labels: Sequence[int], count: int, seed: int) -> list[int]:
    """Return `count` positions in `labels`, drawn without replacement, as many of each class as can be.

    The order is mixed class by class (0, 1, 0, 1, ...), so that any beginning of the list is balanced too. Raises
    ValueError where there are fewer labels than `count`.
    """
    numbers = np.asarray(labels)
    if not 1 <= count <= len(numbers):
        raise ValueError(f"references must be from 1 to the {len(numbers)} training images, not {count}")
    generator = np.random.default_rng(seed)
    pools = [list(generator.permutation(np.flatnonzero(numbers == label))) for label in np.unique(numbers)]
    chosen: list[int] = []
    while len(chosen) < count:
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(int(pool.pop()))
    return chosen


def mean_reference(batches: Iterable[Tensor]) -> Tensor:
    """Return the mean [1, 3, H, W] of all images in `batches` of [N, 3, H, W]; ValueError where there are none."""
    total, count = None, 0
    for batch in batches:
        part = batch.sum(0, dtype=torch.float64)
        total = part if total is None else total + part
        count += len(batch)
        kind = batch.dtype
    if total is None:
        raise ValueError("a mean needs at least one image")
    return (total / count).to(kind)[None]


def blurred_reference(image: Tensor) -> Tensor:
    """Return `image` [1, 3, H, W] blurred by a Gaussian of H / 12 pixels: it has the image's colours but no outlines.

    The blurred baseline of Fong and Vedaldi (2017). Beyond its border the image is mirrored.
    """
    height, width = image.shape[-2:]
    sigma = max(height * BLUR, 0.5)
    reach = min(int(3 * sigma + 0.5), height - 1, width - 1)  # as far as mirroring goes
    place = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-0.5 * (place / sigma) ** 2)
    line = (weights / weights.sum()).repeat(image.shape[1], 1, 1, 1)
    padded = F.pad(image, [reach] * 4, mode="reflect")
    rows = F.conv2d(padded, line, groups=image.shape[1])
    return F.conv2d(rows, line.mT, groups=image.shape[1])
