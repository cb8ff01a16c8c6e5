"""Where the heatmaps of many images lie on average."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from layershap.reporting.explained.stored import StoredMaps


def speaks_for(predicted: str, classes: Sequence[str]) -> int:
    """Return the sign of the values that speak for the decision.

    Of two classes, the second is explained in either case; of more, the predicted one.
    """
    return -1 if len(classes) == 2 and predicted == classes[0] else 1


def mean_place(
    stored: StoredMaps, images: Sequence[Mapping[str, Any]], layer: int, classes: Sequence[str]
) -> np.ndarray:  # fmt: skip
    """Return which share of what speaks for the decision lies at each place of a layer, on average [H, W]: sums to 1.

    `images`: rows of images.csv. Each image counts the same; one in which nothing speaks for its decision does not.
    All 0 where that is so for all.
    """
    places = []
    for row in images:
        (values,) = stored.maps(layer, [row["name"]])
        positive = (speaks_for(row["predicted"], classes) * values.astype(np.float64)).clip(min=0)
        if positive.any():
            places.append(positive / positive.sum())
    return np.mean(places, axis=0) if places else np.zeros(values.shape)


def masked_names(layers: pd.DataFrame) -> set[str]:
    """Return the names of the images that have a mask. `layers`: of plots/layers.csv."""
    if "mask_area" not in layers:
        return set()
    return set(layers.loc[layers["mask_area"].notna(), "image"])
