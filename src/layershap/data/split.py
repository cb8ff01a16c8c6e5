"""Dividing images into train, val and test: stratified, seeded, the same picture never in two of them."""

from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from layershap.data.tables import SPLITS
from layershap.workspace import params as settings
from layershap.workspace.errors import InputError


def split_images(images: pd.DataFrame, split: settings.Split) -> pd.DataFrame:
    """Return path, label and split of every image, in the order of `images` (the table of fetch).

    The source's own splits are kept; val is cut from train where it brings none. Otherwise pictures (equal pixels
    count as one) are drawn at random within each class and group. Raises InputError for a class with too few images.
    """
    result = images[["path", "label"]].assign(split=images["split"])
    if not (images["split"] != "").any():
        result["split"] = "train"
        _move(images, result, split.test, "test", split.seed)
    if not (result["split"] == "val").any():
        _move(images, result, split.val, "val", split.seed)
    for label in sorted(set(result["label"])):
        missing = [part for part in SPLITS if not ((result["label"] == label) & (result["split"] == part)).any()]
        if missing:
            raise InputError(f"class {label}: too few images, none is left for {', '.join(missing)}; add images")
    return result


def _move(images: pd.DataFrame, result: pd.DataFrame, share: float, part: str, seed: int) -> None:
    """Move `share` of the training pictures to `part`."""
    pool = images[result["split"] == "train"]
    pictures = pool.drop_duplicates("pixels")
    strata = pictures["label"] + "/" + pictures["group"]
    rare = strata.map(strata.value_counts()) < 2 / min(share, 1 - share)
    strata = strata.where(~rare, pictures["label"])
    try:
        _, moved = train_test_split(
            pictures["pixels"].to_numpy(), test_size=share, stratify=strata.to_numpy(), random_state=seed
        )
    except ValueError as error:
        counts = pictures["label"].value_counts().to_dict()
        raise InputError(f"too few images to cut {share:g} of them for {part}: {counts} ({error})") from None
    result.loc[pool.index[pool["pixels"].isin(set(moved))], "split"] = part


def split_metrics(images: pd.DataFrame, result: pd.DataFrame) -> dict[str, Any]:
    """Return the counts by split and class, and how many pictures stand in more than one split."""
    shared = result.assign(pixels=images["pixels"]).groupby("pixels")["split"].nunique()
    counts = result.groupby(["split", "label"]).size()
    return {
        "pictures_in_two_splits": int((shared > 1).sum()),
        **{
            part: {label: int(counts.get((part, label), 0)) for label in sorted(set(result["label"]))}
            for part in SPLITS
        },
    }
