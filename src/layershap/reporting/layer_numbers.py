"""What a layer's heatmap says in numbers: for each explained image, and as means over images."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from layershap.reporting.contact_sheet import Explained

MEANS = ("positive", "negative", "prefix", "error_share")


def layer_numbers(image: str, explained: "Explained") -> list[dict[str, Any]]:
    """Return a row per layer of one image: sums over the heatmap, what they must add up to, the size of its error.

    `explained`: by number and name of the layer. positive + negative + prefix = total; prefix: of the tokens before
    the grid, 0 in a layer without.
    """
    rows = []
    for (number, layer), found in explained.items():
        heatmap, error = found.heatmap[0], found.standard_error[0]
        rows.append(
            {
                "image": image,
                "layer": number,
                "name": layer,
                "total": float(found.total[0]),
                "change": float(found.total[0] - found.gap[0]),
                "gap": float(found.gap[0]),
                "positive": float(heatmap.clamp(min=0).sum()),
                "negative": float(heatmap.clamp(max=0).sum()),
                "prefix": 0.0 if found.prefix is None else float(found.prefix[0]),
                # how large the error is beside the map itself; one reference tells nothing of it
                "error_share": float(error.norm() / heatmap.norm().clamp(min=1e-12)),
                "segments": found.segments,
                "constant": int(heatmap.numel() > 1 and float(heatmap.max()) == float(heatmap.min())),
            }
        )
    return rows


def layer_sums(rows: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """Return what figures.layers_curve draws of one image's rows: the sums [layers] above 0, below 0, of prefix tokens.

    The last, NaN in a layer without, where some layer has such tokens.
    """
    positive, negative, prefix = (np.array([row[name] for row in rows]) for name in ("positive", "negative", "prefix"))
    return [positive, negative, *([np.where(prefix == 0, np.nan, prefix)] if prefix.any() else [])]


def means_shown(means: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the MEANS that say something of these rows: the prefix where some layer has one."""
    return [name for name in MEANS if name != "prefix" or any(row[name] for row in means)]


def layer_means(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per layer: means over the explained images, most segments, and the largest gap."""
    return [
        {
            "number": int(number),
            "name": name,
            **{column: float(part[column].mean()) for column in MEANS},
            "segments": int(part["segments"].max()),
            "gap": float(part["gap"].abs().max()),
        }
        for (number, name), part in rows.groupby(["layer", "name"], sort=True)
    ]
