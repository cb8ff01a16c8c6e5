"""What a layer's heatmap says in numbers: for each explained image, and as means over images."""

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from layershap.reporting.contact_sheet import Explained

MEANS = ("positive", "negative", "error_share")


def layer_numbers(image: str, explained: "Explained") -> list[dict[str, Any]]:
    """Return a row per layer of one image: sums over the heatmap, what they must add up to, the size of its error.

    `explained`: by number and name of the layer.
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
                # how large the error is beside the map itself; one reference tells nothing of it
                "error_share": float(error.norm() / heatmap.norm().clamp(min=1e-12)),
                "segments": found.segments,
                "constant": int(heatmap.numel() > 1 and float(heatmap.max()) == float(heatmap.min())),
            }
        )
    return rows


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
