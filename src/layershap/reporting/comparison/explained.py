"""The images that were explained in both, and what is said of their heatmaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from layershap.reporting.comparison.agreement import Agreement, agreement, mean_known
from layershap.reporting.comparison.layers import Match, layers_of, matched
from layershap.reporting.explained.stored import StoredMaps
from layershap.workspace import paths
from layershap.workspace.compared.side import Side


@dataclass(frozen=True)
class Common:
    """An image that was explained in both; `first`, `second`: its rows of images.csv. `pixels`: a digest, or nothing.

    same_output: whether both maps explain the same output: with more than two classes it is that of the predicted one.
    """

    first: Mapping[str, str]
    second: Mapping[str, str]
    pixels: str
    same_output: bool

    @property
    def changed(self) -> bool:
        """Return whether the two models decided differently."""
        return self.first["predicted"] != self.second["predicted"]


@dataclass(frozen=True)
class Explained:
    """All that both explained: `images` that are common, `layers` side by side with how alike they are."""

    first: StoredMaps
    second: StoredMaps
    images: list[Common]
    layers: list[tuple[Match, Agreement]]


def compared_maps(
    first: Side, second: Side, one: pd.DataFrame | None, two: pd.DataFrame | None
) -> Explained | None:  # fmt: skip
    """Compare the heatmaps of all images explained in both; None where either has none, or no image is common.

    `one`, `two`: the tables of predictions, which know an image by its pixels; without them its path counts.
    """
    if first.file(paths.EXPLAINED_ARRAYS) is None or second.file(paths.EXPLAINED_ARRAYS) is None:
        return None
    maps, others = (StoredMaps(side.folder / paths.EXPLANATIONS) for side in (first, second))
    images = common_images(maps, others, one, two)
    if not images:
        return None
    pairs = matched(*(layers_of(side.folder / paths.EXPLANATIONS) for side in (first, second)))
    names = [(image.first["name"], image.second["name"]) for image in images if image.same_output]
    return Explained(maps, others, images, [(match, agreement(match, maps, others, names)) for match in pairs])


def common_images(
    first: StoredMaps, second: StoredMaps, one: pd.DataFrame | None, two: pd.DataFrame | None
) -> list[Common]:
    """Return the images explained in both: those decided differently first, then in the first's order."""
    known = [
        {} if table is None else dict(zip(table["path"], table["pixels"], strict=True)) for table in (one, two)
    ]  # fmt: skip
    classes = 2 if one is None else sum(name.startswith("p_") for name in one)
    others: dict[str, Mapping[str, str]] = {}
    for row in second.images:
        others.setdefault(known[1].get(row["path"], row["path"]), row)
    found = []
    for row in first.images:
        pixels = known[0].get(row["path"], row["path"])
        if (other := others.pop(pixels, None)) is not None:
            same = classes == 2 or row["predicted"] == other["predicted"]
            found.append(Common(row, other, pixels if row["path"] in known[0] else "", same))
    return sorted(found, key=lambda image: not image.changed)


def layer_table(layers: Sequence[tuple[Match, Agreement]]) -> list[dict[str, Any]]:
    """Return a row per pair of layers: title, and over the images the mean correlation and share beyond both errors.

    images: over how many of them the correlation is known.
    """
    return [
        {
            "title": match.title,
            "correlation": mean_known(found.correlation),
            "beyond": mean_known(found.beyond),
            "images": int(np.isfinite(found.correlation).sum()),
        }
        for match, found in layers
    ]
