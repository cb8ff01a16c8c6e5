"""Where the heatmaps look, layer by layer: means over the explained images that have a mask, with intervals."""

from typing import Any

import pandas as pd

from layershap.judging.intervals import share_interval, t_interval

# columns of plots/layers.csv
POSITIVE, SIZE, PEAK, MOST, AREA = "inside_positive", "inside_size", "inside_peak", "inside_most", "mask_area"


def inside_summary(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Return `inside` of metrics/explain.json; None where no explained image has a mask.

    `rows`: of plots/layers.csv. images: how many have a mask. mask_area: mean share of the image inside. layers: for
    each its number and name, and means with the ends of their 95 % intervals: positive and size (t interval over
    images; one image alone tells nothing: 0 to 1) and peak (Wilson's); most: what maps of its resolution can have
    inside. Images in which nothing speaks for the decision at a layer are left out there, and a layer in which that
    is so for all of them is left out; layer images: the others' count.
    """
    if AREA not in rows:
        return None
    masked = rows[rows[AREA].notna()]
    layers = []
    for (number, name), part in masked.groupby(["layer", "name"], sort=True):
        known = part[part[POSITIVE].notna()]
        count = len(known)
        if not count:
            continue
        numbers: dict[str, Any] = {"number": int(number), "name": str(name), "images": count}
        for key, column in (("positive", POSITIVE), ("size", SIZE)):
            low, high = t_interval(known[column].tolist()) if count > 1 else (0.0, 1.0)
            numbers |= {key: float(known[column].mean()), f"{key}_low": low, f"{key}_high": high}
        peaks = int(known[PEAK].sum())
        low, high = share_interval(peaks, count)
        peak = {"peak": peaks / count, "peak_low": low, "peak_high": high}
        layers.append({**numbers, **peak, "most": float(known[MOST].mean())})
    images = masked.drop_duplicates("image")
    return {"images": len(images), "mask_area": float(images[AREA].mean()), "layers": layers}
