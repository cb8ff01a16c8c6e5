"""The shares of a heatmap that lie inside a mask."""

import numpy as np

from layershap.data.masks import shares
from layershap.reporting.contact_sheet import Explained


def inside_numbers(explained: Explained, mask: np.ndarray, sign: int) -> list[dict[str, float]]:
    """Return columns of plots/layers.csv for each layer of one image.

    `mask` [H, W]: of the whole image. `sign`: of what speaks for the decision. inside_positive: share of the sum of
    that which lies inside; inside_size: of the sum of sizes; inside_peak: 1 where the largest value's place is inside
    by half or more, else 0. NaN where nothing speaks for the decision. inside_most: what a map of this resolution can
    have inside at most. mask_area: inside share of the image.
    """
    area = float(shares(mask, 1, 1)[0, 0])
    rows = []
    for found in explained.values():
        heatmap = sign * found.heatmap[0].numpy().astype(np.float64)
        inside = shares(mask, *heatmap.shape)
        positive, size = heatmap.clip(min=0), np.abs(heatmap)
        numbers = dict.fromkeys(("inside_positive", "inside_size", "inside_peak"), float("nan"))
        if positive.any():
            numbers = {
                "inside_positive": float((positive * inside).sum() / positive.sum()),
                "inside_size": float((size * inside).sum() / size.sum()),
                "inside_peak": float(inside.ravel()[heatmap.argmax()] >= 0.5),
            }
        rows.append({**numbers, "inside_most": float(inside.max()), "mask_area": area})
    return rows
